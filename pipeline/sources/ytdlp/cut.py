"""Sections of a long video as small clips at 25 pictures a second, cropped to where the face is. ffmpeg in a limited process.

Picture n of the numbering is what is on screen n / 25 s after the zero of the video's clock, whatever its own rate: the last
picture that was due by then (before the first one: the first one). Nothing is blended.
"""

from __future__ import annotations

import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.core import fileio
from pipeline.core.ledger import RejectedItem
from pipeline.media import sandbox, video
from pipeline.media.video import RATE
from pipeline.sources.voxceleb.utterances import Track

QUIET = ("-nostdin", "-nostats", "-hide_banner", "-loglevel", "error", "-filter_threads", "1", "-progress", "pipe:1")
LARGEST = 2**30  # bytes of a clip
EARLIER = 2.0  # seconds before a section at which reading begins: the key frame before is found, what it shows is shown


@dataclass(frozen=True)
class Clip:
    """One section as it is stored."""

    video: bytes  # mp4, H.264, 25 pictures a second
    boxes: np.ndarray  # (n, 4) float32: x0, y0, x1, y1 of the face in each picture, in its pixels; NaN where none is given
    sound: bytes  # m4a, b"" for none
    damaged: bool  # the decoder reported errors


@dataclass(frozen=True)
class Source:
    """A video that sections are cut from."""

    path: Path
    sound: Path | None  # a file with sound, the same one or another; None: none is kept
    width: int  # as a player shows it
    height: int
    seconds: float  # when its last picture is due


def source(path: Path, sound: Path | None, limits: video.Limits) -> Source:
    """Looks into a video. RejectedItem: it cannot be read, too large, timeout."""
    facts = video.probe(path, limits)
    height, width = video.decode(path, [0], limits, 1 << 16).images.shape[1:3]
    return Source(path, sound, int(width), int(height), float(facts.times[-1]))


def cut(of: Source, track: Track, margin: float, quality: int, limits: video.Limits, folder: Path) -> Clip:
    """The pictures of a track; `margin`: around the boxes, as a share of their sides. The same file gives the same bytes.

    Fewer pictures where the video ends early. RejectedItem: `too-short`, it ends before half of them; `too-small`, the boxes
    lie
    outside the picture; `corrupt`, ffmpeg fails; timeout. Temporary files lie in `folder`.
    """
    shape = of.width, of.height
    boxes = track.pixels(*shape)
    x0, y0, x1, y1 = window(boxes, shape, margin)
    if (track.first + len(boxes) / 2) / RATE > of.seconds + 1 / RATE:
        raise RejectedItem("too-short", f"the video ends at {of.seconds:.1f} s, its pictures are from "
                                        f"{track.first / RATE:.1f} to "
                                    f"{track.last / RATE:.1f} s")
    with tempfile.TemporaryDirectory(prefix="cut-", dir=folder) as place:
        target = Path(place) / "clip.mp4"
        count, damaged = _ffmpeg(_pictures(of.path, target, track, (x0, y0, x1, y1), quality, limits), target, limits)
        if not count:
            raise RejectedItem("corrupt", "no picture of it can be decoded")
        heard = _sound(of.sound, target.with_suffix(".m4a"), track.first / RATE, count / RATE, limits) if of.sound else b""
        inside = boxes[:count] - np.array([x0, y0, x0, y0])
        return Clip(target.read_bytes(), inside.astype(np.float32), heard, damaged)


def window(boxes: np.ndarray, shape: tuple[int, int], margin: float) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1, even and inside the picture: all boxes, enlarged by `margin` of their width and height on each side."""
    step = margin * (boxes[:, 2:] - boxes[:, :2])
    low, high = np.nanmin(boxes[:, :2] - step, 0), np.nanmax(boxes[:, 2:] + step, 0)
    most = np.array(shape) // 2 * 2
    first = np.clip(np.floor(low / 2) * 2, 0, most)
    last = np.clip(np.ceil(high / 2) * 2, 0, most)
    if (last - first < 16).any():
        raise RejectedItem("too-small", f"its boxes cover less than 16 pixels of the {shape[0]}x{shape[1]} picture")
    return int(first[0]), int(first[1]), int(last[0]), int(last[1])


def _pictures(path: Path, target: Path, track: Track, box: tuple[int, int, int, int], quality: int,
              limits: video.Limits) -> list[str]:
    """`fps` counts from 0 on the video's own clock, in whole numbers: no rounding of a start moves a picture."""
    x0, y0, x1, y1 = box
    chain = [f"fps=fps={RATE}:round=up:start_time=0", f"trim=start_frame={track.first}", "setpts=N",
             "scale=iw*sar:ih:flags=area+accurate_rnd+full_chroma_int", "setsar=1", "format=yuv420p",
             f"crop={x1 - x0}:{y1 - y0}:{x0}:{y0}"]
    return ["-copyts", "-noaccurate_seek", *_read(path, max(track.first / RATE - EARLIER, 0), limits), "-map", "0:V:0",
            "-vf", ",".join(chain), "-frames:v", str(len(track.boxes)), "-c:v", "libx264", "-preset", "veryfast",
            "-crf", str(quality), "-g", str(RATE), "-bf", "0", "-threads:v", "1", "-flags:v", "+bitexact", *_write(target)]


def _sound(path: Path, target: Path, start: float, seconds: float, limits: video.Limits) -> bytes:
    """The section's packets of sound as they are (the cut is off by some 20 ms, a packet's length); b"" if there are none."""
    arguments = [*_read(path, start, limits), "-t", f"{seconds:.2f}", "-map", "0:a:0", "-c:a", "copy", *_write(target)]
    try:
        _ffmpeg(arguments, target, limits)
    except RejectedItem as problem:
        if problem.status == "timeout":
            raise
        return b""
    return target.read_bytes()


def _read(path: Path, start: float, limits: video.Limits) -> list[str]:
    return ["-threads", "1", "-max_pixels", str(limits.pixels), "-protocol_whitelist", "file,pipe", "-format_whitelist",
            video.FORMATS, "-seek_timestamp", "1", "-ss", f"{start:.2f}", "-i", "file:" + os.path.abspath(path)]


def _write(target: Path) -> list[str]:
    return ["-map_metadata", "-1", "-map_chapters", "-1", "-fflags", "+bitexact", "-movflags", "+faststart", "-f", "mp4", "-y",
            "file:" + os.path.abspath(target)]


def _ffmpeg(arguments: list[str], target: Path, limits: video.Limits) -> tuple[int, bool]:
    """How many pictures it wrote, and whether it reported errors. RejectedItem: it made nothing. OSError: the disk is full."""
    try:
        done = sandbox.run([video.program(), *QUIET, *arguments], seconds=limits.seconds, memory=limits.memory,
                         clock=4 * limits.seconds, largest=LARGEST, folder=target.parent)
    except RejectedItem as problem:
        raise RejectedItem(problem.status, f"cutting {problem}") from None
    if not target.is_file() or done.returncode:
        fileio.need_room(target.parent)
        raise RejectedItem("corrupt", f"it cannot be cut (ffmpeg ended with code {done.returncode})")
    counted = re.findall(rb"^frame=(\d+)$", done.stdout, re.MULTILINE)
    return int(counted[-1]) if counted else 0, bool(done.stderr.strip())
