"""Writes frames as a widely playable mp4, 25 per second, with the audio of another file and text in its metadata."""

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

LARGEST = 2**36  # bytes of a video: several days
QUALITY = "18"  # CRF: visually lossless
COSTS = 10  # processor seconds allowed to encode one second of video
AUDIO = ["-c:a", "aac", "-b:a", "160k", "-ac", "2", "-shortest"]
# RGB becomes BT.709 in the limited range, and is tagged so: otherwise players guess by the size.
COLOURS = ["-vf", "scale=out_color_matrix=bt709:out_range=tv,format=yuv420p", "-colorspace", "bt709", "-color_primaries",
           "bt709", "-color_trc", "bt709", "-color_range", "tv"]


@contextmanager
def film(out: Path, size: tuple[int, int], audio: video_reader.Part | None, metadata: Mapping[str, str], seconds: float,
         limits: video.Limits) -> Iterator[Callable[[np.ndarray], None]]:
    """A function that writes the next frame, (H, W, 3) uint8 RGB of `size` (width, height), both even.

    `seconds`: total duration. The file appears as `out` only when the context ends without error. Audio starts and ends with
    the frames, padded with silence. InputError: the file cannot be written.
    """
    if not out.parent.is_dir():
        raise InputError(f"{out}: there is no folder {out.parent}; make it first")
    part = out.with_name(f".{out.name}.{secrets.token_hex(4)}.part")  # unique: another run may be writing the same video
    command = _command(part, size, audio, metadata, seconds, limits)
    try:
        with pipes.program(command, seconds=limits.seconds + round(COSTS * seconds), memory=limits.memory,
                           largest=LARGEST) as process:
            def write(frame: np.ndarray) -> None:
                if frame.shape != (size[1], size[0], 3) or frame.dtype != np.uint8:
                    raise ValueError(f"expected a frame uint8 {(size[1], size[0], 3)}, got {frame.dtype} {frame.shape}")
                if not pipes.write(process, np.ascontiguousarray(frame).reshape(-1).data, 4 * limits.seconds):
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
    """The exit code of the process; that of SIGKILL if it does not end in time."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return -signal.SIGKILL


def _failed(out: Path, code: int) -> None:
    fileio.need_room(out.parent)
    raise InputError(f"{out}: ffmpeg ended with code {code} while writing it; is the folder writable?")


def _command(part: Path, size: tuple[int, int], audio: video_reader.Part | None, metadata: Mapping[str, str],
             seconds: float, limits: video.Limits) -> list[str]:
    command = [video.program(), "-nostats", "-hide_banner", "-loglevel", "quiet", "-filter_threads", "1", "-f", "rawvideo",
               "-pix_fmt", "rgb24", "-s", f"{size[0]}x{size[1]}", "-r", str(RATE), "-i", "pipe:0"]
    command += ["-map_metadata", "-1", "-map", "0:v:0"] if audio is None else [
        *video_reader.reading(audio, limits), "-map_metadata", "-1", "-map", "0:v:0", "-map", "1:a:0", *AUDIO,
        "-af", f"aresample=async=1:first_pts=0,apad=whole_dur={seconds:.3f}"]  # silence to the end, not without end
    text = [argument for name, value in metadata.items() for argument in ("-metadata", f"{name}={value}")]
    return [*command, "-map_chapters", "-1", *COLOURS, "-c:v", "libx264", "-preset", "veryfast", "-crf", QUALITY, "-threads:v",
            "1", "-fflags", "+bitexact", "-flags:v", "+bitexact", "-movflags", "+faststart", *text, "-t",
            f"{seconds:.3f}", "-f", "mp4", "-y",
            "file:" + os.path.abspath(part), *(video_reader.entire(audio, 1) if audio else [])]


def about(path: Path, limits: video.Limits) -> dict[str, Any]:
    """metadata (name -> text), sound (audio codec, "" if none can be decoded), seconds, and first, jumps (video_reader.Part).

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
