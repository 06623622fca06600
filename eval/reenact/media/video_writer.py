"""Pictures out as an mp4 that plays everywhere, 25 a second, with the sound of another file and text in its metadata."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from eval.reenact.media import container_exec, pipes, video_reader
from pipeline.core import fileio
from pipeline.core.errors import InputError
from pipeline.core.ledger import RejectedItem
from pipeline.media import filetype, sandbox, video
from pipeline.media.video import RATE

LARGEST = 2**36  # bytes of a film: some days of it
QUALITY = "18"  # CRF: losses that are not seen
COSTS = 10  # processor seconds that a second of film may take to encode
SOUND = ["-c:a", "aac", "-b:a", "160k", "-ac", "2", "-shortest"]
# RGB becomes BT.709 in the limited range, and says so: players guess otherwise, by the size.
COLOURS = ["-vf", "scale=out_color_matrix=bt709:out_range=tv,format=yuv420p", "-colorspace", "bt709", "-color_primaries",
           "bt709", "-color_trc", "bt709", "-color_range", "tv"]


@contextmanager
def film(out: Path, size: tuple[int, int], sound: video_reader.Part | None, metadata: Mapping[str, str], seconds: float,
         limits: video.Limits) -> Iterator[Callable[[np.ndarray], None]]:
    """A function that takes the pictures in turn, (H, W, 3) uint8 RGB of `size` (width, height), both even.

    `seconds`: how long it is going to be. The file comes to `out` when the context ends well; before and otherwise nothing is
    there. The sound begins and ends with the pictures, silence where it has none. InputError: it cannot be written.
    """
    if not out.parent.is_dir():
        raise InputError(f"{out}: there is no folder {out.parent}; make it first")
    part = out.with_name(f".{out.name}.{secrets.token_hex(4)}.part")  # its own: another run may be writing the same film
    command = _command(part, size, sound, metadata, seconds, limits)
    try:
        with pipes.program(command, seconds=limits.seconds + round(COSTS * seconds), memory=limits.memory,
                           largest=LARGEST) as process:
            def write(picture: np.ndarray) -> None:
                if picture.shape != (size[1], size[0], 3) or picture.dtype != np.uint8:
                    raise ValueError(f"a film of {size} got a picture {picture.dtype} {picture.shape}")
                if not pipes.write(process, np.ascontiguousarray(picture).reshape(-1).data, 4 * limits.seconds):
                    _failed(out, process.wait())

            yield write
            assert process.stdin
            process.stdin.close()
            if code := _ended(process, 4 * limits.seconds + seconds):
                _failed(out, code)
        os.replace(part, out)
    finally:
        part.unlink(missing_ok=True)


def _ended(process: subprocess.Popen[bytes], seconds: float) -> int:
    """Its exit code; that of a kill where it does not end in time."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return -signal.SIGKILL


def _failed(out: Path, code: int) -> None:
    fileio.need_room(out.parent)
    raise InputError(f"{out}: ffmpeg ended with code {code} while writing it; is the folder writable?")


def _command(part: Path, size: tuple[int, int], sound: video_reader.Part | None, metadata: Mapping[str, str],
             seconds: float, limits: video.Limits) -> list[str]:
    command = [video.program(), "-nostats", "-hide_banner", "-loglevel", "quiet", "-filter_threads", "1", "-f", "rawvideo",
               "-pix_fmt", "rgb24", "-s", f"{size[0]}x{size[1]}", "-r", str(RATE), "-i", "pipe:0"]
    command += ["-map_metadata", "-1", "-map", "0:v:0"] if sound is None else [
        *video_reader.reading(sound, limits), "-map_metadata", "-1", "-map", "0:v:0", "-map", "1:a:0", *SOUND,
        "-af", f"aresample=async=1:first_pts=0,apad=whole_dur={seconds:.3f}"]  # silence up to the end, not for ever
    text = [argument for name, value in metadata.items() for argument in ("-metadata", f"{name}={value}")]
    return [*command, "-map_chapters", "-1", *COLOURS, "-c:v", "libx264", "-preset", "veryfast", "-crf", QUALITY, "-threads:v",
            "1", "-fflags", "+bitexact", "-flags:v", "+bitexact", "-movflags", "+faststart", *text, "-t",
            f"{seconds:.3f}", "-f", "mp4", "-y",
            "file:" + os.path.abspath(part), *(video_reader.entire(sound, 1) if sound else [])]


def about(path: Path, limits: video.Limits) -> dict[str, Any]:
    """What a container says of itself: metadata (name -> text), sound (codec, "" where none can be decoded), seconds, and
    how it begins: first, jumps (of stream.Part).

    RejectedItem: empty, corrupt, timeout.
    """
    if not path.is_file() or path.stat().st_size == 0:
        raise RejectedItem("empty", "there is no such file, or it has no bytes")
    with path.open("rb") as file:
        video.refuse(file.read(filetype.HEAD))
    command = [sys.executable, "-I", "-B", str(container_exec.__file__), os.path.abspath(path), video.FORMATS]
    done = sandbox.run(command, seconds=limits.seconds, memory=limits.memory, clock=4 * limits.seconds)
    try:
        facts: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        raise RejectedItem("corrupt", f"the reader of the file ended with code {done.returncode}") from None
    if "reason" in facts:
        raise RejectedItem("corrupt", facts["reason"])
    return facts
