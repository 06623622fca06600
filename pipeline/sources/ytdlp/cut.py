"""Cuts sections of a long video into clips at 25 frames a second, cropped around the face, with ffmpeg in a limited process.

Frame n is the one shown n / 25 s after the zero of the video's clock, whatever its own frame rate: the last frame with a time
stamp up to then (before the first frame: the first). Frames are never blended.
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
EARLIER = 2.0  # seconds before a section at which reading begins, so that decoding starts at an earlier key frame


@dataclass(frozen=True)
class Clip:
    """One section in its stored form."""

    video: bytes  # mp4, H.264, 25 frames a second
    boxes: np.ndarray  # (n, 4) float32: x0, y0, x1, y1 of the face in each frame, in its pixels; NaN where none is given
    audio: bytes  # m4a, b"" for none
    damaged: bool  # whether the decoder reported errors


@dataclass(frozen=True)
class Source:
    """A video from which sections are cut."""

    path: Path
    audio: Path | None  # a file with audio, the same one or another; None: no audio is kept
    width: int  # as a player shows it
    height: int
    seconds: float  # time of its last frame


def source(path: Path, audio: Path | None, limits: video.Limits) -> Source:
    """Probes a video. RejectedItem: unreadable, too large, timeout."""
    facts = video.probe(path, limits)
    height, width = video.decode(path, [0], limits, 1 << 16).images.shape[1:3]
    return Source(path, audio, int(width), int(height), float(facts.times[-1]))


def cut(of: Source, track: Track, margin: float, quality: int, limits: video.Limits, folder: Path) -> Clip:
    """The clip of a track; `margin`: around the boxes, as a share of their sides. Equal files give equal bytes.

    It has fewer frames where the video ends early. RejectedItem: `too-short`, the video ends before half of them; `too-small`,
    the boxes are outside the frame; `corrupt`, ffmpeg fails; `timeout`. Temporary files are in `folder`.
    """
    shape = of.width, of.height
    boxes = track.pixels(*shape)
    x0, y0, x1, y1 = window(boxes, shape, margin)
    if (track.first + len(boxes) / 2) / RATE > of.seconds + 1 / RATE:
        raise RejectedItem("too-short", f"the video ends at {of.seconds:.1f} s, the utterance lasts from "
                                        f"{track.first / RATE:.1f} to {track.last / RATE:.1f} s")
    with tempfile.TemporaryDirectory(prefix="cut-", dir=folder) as place:
        target = Path(place) / "clip.mp4"
        count, damaged = _ffmpeg(_frames(of.path, target, track, (x0, y0, x1, y1), quality, limits), target, limits)
        if not count:
            raise RejectedItem("corrupt", "no frame of it can be decoded")
        audio = _audio(of.audio, target.with_suffix(".m4a"), track.first / RATE, count / RATE, limits) if of.audio else b""
        inside = boxes[:count] - np.array([x0, y0, x0, y0])
        return Clip(target.read_bytes(), inside.astype(np.float32), audio, damaged)


def window(boxes: np.ndarray, shape: tuple[int, int], margin: float) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 that contain all boxes, enlarged by `margin` of their sides on each side; even and inside the frame."""
    step = margin * (boxes[:, 2:] - boxes[:, :2])
    low, high = np.nanmin(boxes[:, :2] - step, 0), np.nanmax(boxes[:, 2:] + step, 0)
    most = np.array(shape) // 2 * 2
    first = np.clip(np.floor(low / 2) * 2, 0, most)
    last = np.clip(np.ceil(high / 2) * 2, 0, most)
    if (last - first < 16).any():
        raise RejectedItem("too-small", f"its boxes cover less than 16 pixels of the {shape[0]}x{shape[1]} frame")
    return int(first[0]), int(first[1]), int(last[0]), int(last[1])


def _frames(path: Path, target: Path, track: Track, box: tuple[int, int, int, int], quality: int,
            limits: video.Limits) -> list[str]:
    """ffmpeg's arguments. `fps` counts whole frames from 0 of the video's clock, so no rounded start time shifts a frame."""
    x0, y0, x1, y1 = box
    chain = [f"fps=fps={RATE}:round=up:start_time=0", f"trim=start_frame={track.first}", "setpts=N",
             "scale=iw*sar:ih:flags=area+accurate_rnd+full_chroma_int", "setsar=1", "format=yuv420p",
             f"crop={x1 - x0}:{y1 - y0}:{x0}:{y0}"]
    return ["-copyts", "-noaccurate_seek", *_read(path, max(track.first / RATE - EARLIER, 0), limits), "-map", "0:V:0",
            "-vf", ",".join(chain), "-frames:v", str(len(track.boxes)), "-c:v", "libx264", "-preset", "veryfast",
            "-crf", str(quality), "-g", str(RATE), "-bf", "0", "-threads:v", "1", "-flags:v", "+bitexact", *_write(target)]


def _audio(path: Path, target: Path, start: float, seconds: float, limits: video.Limits) -> bytes:
    """The section's audio packets, copied (the cut is accurate to a packet, about 20 ms); b"" if there are none."""
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
    """Runs ffmpeg: number of frames written, and whether it reported errors. RejectedItem: no output. OSError: disk full."""
    try:
        done = sandbox.run([video.program(), *QUIET, *arguments], seconds=limits.seconds, memory=limits.memory,
                           clock=4 * limits.seconds, largest=LARGEST, folder=target.parent)
    except RejectedItem as problem:
        raise RejectedItem(problem.status, f"cutting {problem}") from None
    if not target.is_file() or done.returncode:
        fileio.need_room(target.parent)
        raise RejectedItem("corrupt", f"it cannot be cut (ffmpeg exited with code {done.returncode})")
    counted = re.findall(rb"^frame=(\d+)$", done.stdout, re.MULTILINE)
    return int(counted[-1]) if counted else 0, bool(done.stderr.strip())
