"""Reads a video as a stream of frames, 25 per second, as a player shows them; memory does not grow with its length."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eval.reenact.media import pipes
from pipeline.core.ledger import RejectedItem
from pipeline.media import video
from pipeline.media.video import RATE

COSTS = 10  # processor seconds allowed to decode one second of video


@dataclass(frozen=True)
class Part:
    """A stretch of a video, and the size that its frames are scaled to."""

    path: Path
    start: float  # seconds
    seconds: float  # at most to the video's end
    width: int  # even: H.264 in 4:2:0 has no odd sides
    height: int
    first: float = 0.0  # seconds of the file before its first frame; `start` counts from there
    jumps: bool = False  # whether the file's timestamps may jump

    @property
    def count(self) -> int:
        """Number of frames at 25 per second."""
        return max(round(self.seconds * RATE), 1)


def part(path: Path, start: float, seconds: float | None, longest: int, limits: video.Limits) -> Part:
    """The stretch of a video, scaled down to a longer side of `longest`. RejectedItem: as video.probe, and `too-short`."""
    facts = video.probe(path, limits)
    height, width = video.decode(path, [0], limits, longest).images.shape[1:3]
    end = float(facts.times[-1]) + float(facts.times[-1]) / max(len(facts.times) - 1, 1)
    if start >= max(end, 1 / RATE):
        raise RejectedItem("too-short", f"it ends at {end:.1f} s, before the start at {start:g} s")
    lasts = end - start if seconds is None else min(seconds, end - start)
    return Part(path, start, lasts, *(max(side // 2, 1) * 2 for side in (width, height)))


def reading(of: Part, limits: video.Limits) -> list[str]:
    """ffmpeg's arguments that open this stretch of the video and nothing else."""
    at = int(1e6 * (of.first + of.start)) / 1e6  # rounded down: rounded up, it would miss that frame
    return ["-threads", "1", "-max_pixels", str(limits.pixels), "-protocol_whitelist", "file,pipe", "-format_whitelist",
            video.FORMATS, "-ss", f"{at:.6f}", "-t", f"{of.count / RATE:.3f}", "-i", "file:" + os.path.abspath(of.path)]


def entire(of: Part, number: int) -> list[str]:
    """ffmpeg's last arguments if the video is its input `number`: if timestamps jump, all streams are read and discarded.

    For such files ffmpeg counts from the first selected stream, not from the start of the file: video and audio would shift.
    """
    return ["-map", f"{number}:v", "-map", f"{number}:a?", "-c", "copy", "-f", "null", "-"] if of.jumps else []


@contextmanager
def pictures(of: Part, limits: video.Limits, every: int = 1) -> Iterator[Iterator[np.ndarray]]:
    """The frames in turn, or each `every`-th, (H, W, 3) uint8 RGB; fewer than `of.count` if the file breaks off.

    If the video has another frame rate, frame n is the one on screen n / 25 s after the start, within half a frame.
    """
    chain = [f"fps=fps={RATE}/{every}:start_time=0", f"scale={of.width}:{of.height}:flags=area+accurate_rnd+full_chroma_int",
             "setsar=1", "format=rgb24"]
    command = [video.program(), "-nostdin", "-nostats", "-hide_banner", "-loglevel", "quiet", "-filter_threads", "1",
               *reading(of, limits), "-map", "0:V:0", "-vf", ",".join(chain), "-frames:v", str(-(-of.count // every)), "-f",
               "rawvideo", "pipe:1", *entire(of, 0)]
    seconds = limits.seconds + round(COSTS * of.count / RATE)
    with pipes.program(command, seconds=seconds, memory=limits.memory) as process:
        def frames() -> Iterator[np.ndarray]:
            while True:
                frame = np.empty((of.height, of.width, 3), np.uint8)
                if not pipes.read(process, frame.reshape(-1).data, 4 * limits.seconds):
                    return
                yield frame

        yield frames()
