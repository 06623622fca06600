"""Reads a media file's metadata: `python -I container_exec.py PATH FORMATS` prints one JSON object.

Run as a process of its own, like pipeline/media/probe_exec.py: an untrusted file can hang or kill only this process, which
eval/reenact/media/video_writer.py starts under limits.
"""

from __future__ import annotations

import json
import sys
from itertools import islice
from typing import Any

PACKETS = 100  # of audio, some two seconds: the first ones are damaged in a file cut out of a longer one


def look(path: str, formats: str) -> dict[str, Any]:
    """Metadata of the container, codec of decodable audio, duration in seconds, first and jumps; or a reason."""
    import av
    from av import time_base
    from av.error import FFmpegError

    try:
        container = av.open("file:" + path, options={"protocol_whitelist": "file,pipe", "format_whitelist": formats},
                            metadata_errors="replace")
    except FFmpegError as error:
        return {"reason": f"not a readable video ({error.strerror})"}
    with container:
        return {"metadata": dict(container.metadata), "sound": _audio(container),
                "seconds": (container.duration or 0) / time_base, **_beginning(container)}


def _beginning(container: Any) -> dict[str, Any]:
    """first: seconds of the file before its first frame; jumps: whether its timestamps may jump (MPEG-TS, MPEG-PS, …)."""
    from av import time_base
    from av.format import Flags

    starts = [float(one.start_time * one.time_base) for one in container.streams.video
              if one.start_time is not None and not one.disposition & one.disposition.attached_pic]
    first = starts[0] - (container.start_time or 0) / time_base if starts else 0.0
    return {"first": max(first, 0.0), "jumps": bool(container.format.flags & Flags.ts_discont.value)}


def _audio(container: Any) -> str:
    """Codec of the first audio stream; "" if there is none or it cannot be decoded."""
    from av.error import FFmpegError

    stream = next(iter(container.streams.audio), None)
    if stream is None or stream.codec_context is None:
        return ""
    try:
        decoded = any(_decodes(packet) for packet in islice(container.demux(stream), PACKETS))
    except FFmpegError:  # the file ends here
        decoded = False
    return str(stream.codec_context.name) if decoded else ""


def _decodes(packet: Any) -> bool:
    from av.error import FFmpegError

    try:
        return bool(packet.decode())
    except FFmpegError:
        return False


if __name__ == "__main__":
    print(json.dumps(look(sys.argv[1], sys.argv[2])))
