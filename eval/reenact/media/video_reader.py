"""A video as a stream of pictures, 25 a second, as a player shows them: however long it is, it does not fill the memory."""

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

COSTS = 10  # processor seconds that a second of video may take to decode


@dataclass(frozen=True)
class Part:
    """A stretch of a video, and the size its pictures are brought to."""

    path: Path
    start: float  # seconds
    seconds: float  # up to the video's end at most
    width: int  # even: H.264 in 4:2:0 has no odd sides
    height: int
    first: float = 0.0  # seconds of the file before its first picture; `start` counts from there
    jumps: bool = False  # whether the file's clock may

    @property
    def count(self) -> int:
        """Pictures at 25 a second."""
        return max(round(self.seconds * RATE), 1)


def part(path: Path, start: float, seconds: float | None, longest: int, limits: video.Limits) -> Part:
    """Looks into a video; sides above `longest` pixels are scaled down. RejectedItem as video.probe, and `too-short`."""
    facts = video.probe(path, limits)
    height, width = video.decode(path, [0], limits, longest).images.shape[1:3]
    end = float(facts.times[-1]) + float(facts.times[-1]) / max(len(facts.times) - 1, 1)
    if start >= max(end, 1 / RATE):
        raise RejectedItem("too-short", f"it ends at {end:.1f} s, before the {start:g} s at which it should begin")
    lasts = end - start if seconds is None else min(seconds, end - start)
    return Part(path, start, lasts, *(max(side // 2, 1) * 2 for side in (width, height)))


def reading(of: Part, limits: video.Limits) -> list[str]:
    """ffmpeg's arguments that open this stretch of the video and nothing else."""
    at = int(1e6 * (of.first + of.start)) / 1e6  # rounded up, it would be after that picture
    return ["-threads", "1", "-max_pixels", str(limits.pixels), "-protocol_whitelist", "file,pipe", "-format_whitelist",
            video.FORMATS, "-ss", f"{at:.6f}", "-t", f"{of.count / RATE:.3f}", "-i", "file:" + os.path.abspath(of.path)]


def entire(of: Part, number: int) -> list[str]:
    """ffmpeg's last arguments where the video is its input `number`: where clocks jump, all streams are read and thrown away.

    There it counts from the first stream that is asked for, not from the start of the file: pictures and sound would part.
    """
    return ["-map", f"{number}:v", "-map", f"{number}:a?", "-c", "copy", "-f", "null", "-"] if of.jumps else []


@contextmanager
def pictures(of: Part, limits: video.Limits, every: int = 1) -> Iterator[Iterator[np.ndarray]]:
    """The pictures in turn, or each `every`-th, (H, W, 3) uint8 RGB; fewer than `of.count` where the file breaks off.

    Where the video has another rate, picture n is the one on screen n / 25 s after the start, give or take half a picture.
    """
    chain = [f"fps=fps={RATE}/{every}:start_time=0", f"scale={of.width}:{of.height}:flags=area+accurate_rnd+full_chroma_int",
             "setsar=1", "format=rgb24"]
    command = [video.program(), "-nostdin", "-nostats", "-hide_banner", "-loglevel", "quiet", "-filter_threads", "1",
               *reading(of, limits), "-map", "0:V:0", "-vf", ",".join(chain), "-frames:v", str(-(-of.count // every)), "-f",
               "rawvideo", "pipe:1", *entire(of, 0)]
    seconds = limits.seconds + round(COSTS * of.count / RATE)
    with pipes.program(command, seconds=seconds, memory=limits.memory) as process:
        def turn() -> Iterator[np.ndarray]:
            while True:
                picture = np.empty((of.height, of.width, 3), np.uint8)
                if not pipes.read(process, picture.reshape(-1).data, 4 * limits.seconds):
                    return
                yield picture

        yield turn()
