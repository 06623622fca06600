"""Probes one video file: `python -I probe_exec.py PATH MAX_PIXELS MAX_FRAMES FORMATS` prints one JSON object.

A separate script: an untrusted file can hang or kill only this process, which pipeline/media/video.py starts under limits. It
decodes only the first frame, and only after accepting the size in the header.
"""

from __future__ import annotations

import json
import sys
from typing import Any


def probe(path: str, max_pixels: int, max_frames: int, formats: str) -> dict[str, Any]:
    """Presentation times, declared length and size of the first video stream, or a status with a reason."""
    import av
    from av.error import FFmpegError

    try:
        container = av.open("file:" + path, options={"protocol_whitelist": "file,pipe", "format_whitelist": formats},
                            metadata_errors="replace")  # titles that are not UTF-8 are accepted
    except FFmpegError as error:
        return {"status": "corrupt", "reason": f"not a readable video ({error.strerror})"}
    with container:
        streams = [stream for stream in container.streams.video if not stream.disposition & stream.disposition.attached_pic]
        if not streams:
            return {"status": "no-stream", "reason": "the file has no video stream"}
        stream = streams[0]
        if stream.codec_context is None:
            return {"status": "no-stream", "reason": "the codec of its video stream is unknown"}
        width, height = stream.codec_context.width, stream.codec_context.height
        if width * height > max_pixels:
            return {"status": "too-large", "reason": f"{width}x{height} pixels, more than the {max_pixels} allowed"}
        stream.codec_context.options = {"max_pixels": str(max_pixels)}
        stream.thread_type = "NONE"
        facts = _packets(container, stream, max_frames)
        if facts["frames"] > max_frames:
            return {"status": "too-large", "reason": f"more than the {max_frames} frames allowed; cut the video"}
        return {"status": "ok", "width": width, "height": height, "codec": stream.codec_context.name} | facts


def _packets(container: Any, stream: Any, max_frames: int) -> dict[str, Any]:
    """Presentation times of all frames; decodes only the first."""
    from av import time_base
    from av.error import FFmpegError

    times: list[float | None] = []
    decoded = False
    try:
        for packet in container.demux(stream):
            if not packet.size or packet.is_discard or packet.is_corrupt:
                continue
            if not decoded:
                decoded = bool(_decode(stream.codec_context, packet))
            stamp = packet.pts if packet.pts is not None else packet.dts
            times.append(None if stamp is None else float(stamp * packet.time_base))
            if len(times) > max_frames:
                break
    except FFmpegError:
        pass  # the file is truncated here; frames before it count
    decoded = decoded or bool(_decode(stream.codec_context, None))
    if times and not decoded:
        return {"status": "corrupt", "reason": "no frame can be decoded", "frames": 0}
    length = stream.duration * stream.time_base if stream.duration else (container.duration or 0) / time_base
    rate = float(stream.average_rate or 25)
    if None in times:  # raw streams have no time stamps
        times = [number / rate for number in range(len(times))]
    known = sorted(time for time in times if time is not None)
    start = known[0] if known else 0.0
    return {"times": [time - start for time in known], "frames": len(known), "declared": float(length)}


def _decode(codec: Any, packet: Any) -> list[Any]:
    from av.error import FFmpegError

    try:
        return list(codec.decode(packet))
    except FFmpegError:
        return []


if __name__ == "__main__":
    print(json.dumps(probe(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])))
