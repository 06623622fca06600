"""Probes a video, chooses frames and decodes them. Files are opened only in a limited process."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from pipeline.core.config import Strict
from pipeline.core.ledger import RejectedItem
from pipeline.media import filetype, sandbox
from pipeline.media import probe_exec as inside

# Containers that hold the frames themselves. Playlists and scripts (hls, dash, concat, imf, …) name other files: never read.
FORMATS = ("mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,mxf,nut,ivf,yuv4mpegpipe,h264,hevc,"
           "m4v,mjpeg,dv,rm,wtv,gif,av1,obu,dirac,vc1,swf,3dostr,bink,smk,nsv,gxf,dhav,h263,h261,cavsvideo")
RATE = 25  # frames a second of VoxCeleb's numbering (frame f is shown at f / 25 s of the video's clock), and of our videos
_SHOWN = re.compile(r"pts_time:(\S+) .* s:(\d+)x(\d+) ")


class Limits(Strict):
    """Limits for one file. A file that exceeds one becomes a ledger row."""

    seconds: int  # of processor time; four times that in wall time
    memory: int  # MiB of address space
    pixels: int  # width x height
    frames: int  # frames in the file


@dataclass(frozen=True)
class Probe:
    """Properties of a readable video."""

    times: np.ndarray  # (n,) float64, seconds after the first frame, ascending; one per frame
    width: int  # as coded, before rotation
    height: int
    codec: str
    declared: float  # length in the header, seconds

    @property
    def cut(self) -> bool:
        """Whether the file ends well before the length in its header (an incomplete download)."""
        step = self.times[-1] / max(len(self.times) - 1, 1)
        return bool(self.times[-1] + step < .9 * self.declared - .5)


def probe(path: Path, limits: Limits) -> Probe:
    """Reads the packets of the first video stream. RejectedItem: empty, corrupt, no-stream, too-large, timeout."""
    if not path.is_file() or path.stat().st_size == 0:
        raise RejectedItem("empty", "the file has no bytes")
    with path.open("rb") as file:
        refuse(file.read(filetype.HEAD))
    command = [sys.executable, "-I", "-B", str(inside.__file__), os.path.abspath(path), str(limits.pixels),
               str(limits.frames), FORMATS]
    done = _limited(command, limits, 32 * limits.frames + sandbox.PRINTED)
    try:
        facts = json.loads(done.stdout)
    except ValueError:
        raise RejectedItem("corrupt", f"probing the file exited with code {done.returncode}") from None
    if facts["status"] != "ok":
        raise RejectedItem(facts["status"], facts["reason"])
    if not facts["times"]:
        raise RejectedItem("corrupt", "its video stream has no frame")
    return Probe(np.array(facts["times"]), facts["width"], facts["height"], facts["codec"], facts["declared"])


def refuse(head: bytes) -> None:
    """RejectedItem `corrupt` when a file with these first bytes is not a video."""
    if what := filetype.kind(head):
        raise RejectedItem("corrupt", f"not a readable video ({what})")


def spread(times: np.ndarray, count: int) -> np.ndarray:
    """`count` distinct frame indices, evenly spread in time (also at a variable frame rate); all if there are fewer."""
    n = len(times)
    if n <= count:
        return np.arange(n)
    end = times[-1] + (times[-1] - times[0]) / (n - 1)
    wanted = times[0] + (np.arange(count) + .5) / count * (end - times[0])
    numbers = np.clip(np.searchsorted(times, wanted + 1e-9, side="right") - 1, 0, n - 1)  # the frame shown at that time
    for k in range(1, count):
        numbers[k] = max(numbers[k], numbers[k - 1] + 1)
    return np.minimum(numbers, n - count + np.arange(count))


@dataclass(frozen=True)
class Decoded:
    """Chosen frames as a player shows them: rotated, square pixels."""

    numbers: np.ndarray  # (N,) int64, index of the frame in the file, from 0
    seconds: np.ndarray  # (N,) float64, presentation time
    images: np.ndarray  # (N, H, W, 3) uint8 RGB
    scale: float  # pixels of `images` per pixel of the video, <= 1


def decode(path: Path, numbers: Sequence[int] | np.ndarray, limits: Limits, longest: int) -> Decoded:
    """Decodes the frames with these ascending indices; frames with a side above `longest` pixels are scaled down (area filter).

    Returns fewer where the file is truncated. RejectedItem: corrupt (no frame, or the frame size changes), too-small, timeout.
    """
    done = _limited(_command(path, numbers, limits, longest), limits, 3 * longest**2 * len(numbers))
    shown = _SHOWN.findall(done.stderr.decode(errors="replace"))
    sizes = {(int(width), int(height)) for _, width, height in shown}
    if len(sizes) > 1:
        raise RejectedItem("corrupt", "the frame size changes within the video")
    source = sizes.pop() if sizes else (1, 1)
    scale = min(1.0, longest / max(source))
    width, height = (int(side * scale + .5) for side in source)
    if not width * height:
        raise RejectedItem("too-small", f"a frame of {source[0]}x{source[1]} pixels is too narrow")
    n = min(len(shown), len(numbers), len(done.stdout) // (height * width * 3))
    if not n:
        raise RejectedItem("corrupt", f"no frame can be decoded (ffmpeg exited with code {done.returncode})")
    images = np.frombuffer(done.stdout, np.uint8, n * height * width * 3).reshape(n, height, width, 3)
    try:
        seconds = np.array([float(at) for at, _, _ in shown[:n]])
    except ValueError:
        raise RejectedItem("corrupt", "a frame has no presentation time") from None
    return Decoded(np.asarray(numbers[:n], np.int64), seconds, images, scale)


def _command(path: Path, numbers: Sequence[int] | np.ndarray, limits: Limits, longest: int) -> list[str]:
    """ffmpeg's command line: chosen frames, square pixels, at most `longest`, raw RGB to a pipe, times in the log."""
    import ffmpeg

    chosen = "+".join(f"eq(n,{number})" for number in numbers)
    area = "area+accurate_rnd+full_chroma_int"
    side = f"if(gt(max(iw,ih),{longest}),floor({{}}*{longest}/max(iw,ih)+0.5),{{}})"
    video = ffmpeg.input("file:" + os.path.abspath(path), protocol_whitelist="file,pipe", format_whitelist=FORMATS,
                         max_pixels=limits.pixels, threads=1)["V:0"]
    video = (video.filter("select", chosen).filter("scale", "iw*sar", "ih", flags=area).filter("setsar", 1)
             .filter("showinfo", checksum=0)
             .filter("scale", side.format("iw", "iw"), side.format("ih", "ih"), flags=area).filter("format", "rgb24"))
    output = video.output("pipe:", format="rawvideo", fps_mode="passthrough", **{"frames:v": len(numbers)})
    command = output.global_args("-nostdin", "-nostats", "-hide_banner", "-loglevel", "info", "-filter_threads", "1",
                                 "-filter_complex_threads", "1")
    return list(command.compile(cmd=program()))


@cache
def program() -> str:
    """The path of ffmpeg."""
    import imageio_ffmpeg

    return str(imageio_ffmpeg.get_ffmpeg_exe())


def _limited(command: list[str], limits: Limits, most: int = sandbox.PRINTED) -> subprocess.CompletedProcess[bytes]:
    """Runs a command under `limits`. `most`: bytes kept of its output. RejectedItem: timeout."""
    try:
        return sandbox.run(command, seconds=limits.seconds, memory=limits.memory, clock=4 * limits.seconds, most=most)
    except RejectedItem as problem:
        raise RejectedItem(problem.status, f"reading {problem}") from None
