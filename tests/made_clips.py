"""Small videos made on the spot, and a detector that takes their red discs for faces."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import cv2
import numpy as np
import pandas as pd

from pipeline.frames import clips, extract
from pipeline.frames.extract import Config
from pipeline.media.video import Limits
from pipeline.parallel import executor, sharded_map

LIMITS = Limits(seconds=20, memory=2048, pixels=2_000_000, frames=2000)
CONFIG = Config(size=64, per_shard=4, per_clip=8, least=4, crop="fsth", faces="detect", confidence=.9, min_face=20,
                second_face=.5, second_share=.2, inside=.85, longest=1280, limits=LIMITS)


def picture(discs: Sequence[tuple[float, float, float]] = ((80, 60, 20),), width: int = 160, height: int = 120,
            tone: int = 60) -> np.ndarray:
    """Red discs (x, y, radius; pixels) on a grey picture."""
    image = np.full((height, width, 3), tone, np.uint8)
    for x, y, radius in discs:
        cv2.circle(image, (round(x * 16), round(y * 16)), round(radius * 16), (230, 20, 20), -1, cv2.LINE_AA, 4)
    return image


def write(path: Path, pictures: Sequence[np.ndarray], *, rate: int = 25, ticks: Sequence[int] | None = None,
          rotation: int = 0, codec: str = "libx264") -> Path:
    """One video; `ticks` are presentation times in 1/1000 s where the frame rate varies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "8", "g": "5"} if codec == "libx264" else {}
        if rotation:
            stream.set_display_rotation(rotation)
        if ticks is not None:
            stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for number, pixels in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(pixels, "rgb24")
            if ticks is not None:
                frame.pts, frame.time_base = ticks[number], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def sound(path: Path) -> Path:
    """A file with sound only."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def cut(path: Path, target: Path, share: float) -> Path:
    """The first `share` of a file's bytes."""
    data = path.read_bytes()
    target.write_bytes(data[:int(share * len(data))])
    return target


def detect(images: np.ndarray) -> list[np.ndarray]:
    """Boxes of red discs, the largest first: (k, 5) an image."""
    found = []
    for image in images.astype(int):
        red = ((image[..., 0] > 140) & (image[..., 1] < 100)).astype(np.uint8)
        _, _, stats, _ = cv2.connectedComponentsWithStats(red)
        boxes = [(x, y, x + w, y + h, .99) for x, y, w, h, area in stats[1:] if area > 30]
        found.append(np.array(sorted(boxes, key=lambda box: box[0] - box[2]), float).reshape(-1, 5))
    return found


def detect_slowly(images: np.ndarray) -> list[np.ndarray]:
    """As `detect`; SLOW seconds a clip, to be killed meanwhile."""
    time.sleep(float(os.environ.get("SLOW", "0")))
    return detect(images)


def publish(out: Path, work: Path, items: Sequence[extract.Item], shelves: clips.Shelves, workers: int = 1,
            find: extract.Detect = detect) -> pd.DataFrame:
    """The frames stage's work on these clips, as the stage does it; the ledger."""
    out.mkdir(exist_ok=True)
    job = sharded_map.Work(partial(extract.pack, clips=shelves, config=CONFIG, detect=find), extract.lost, extract.finish)
    folders = sharded_map.make(job, sharded_map.cut(items, CONFIG.per_shard), work, executor.local(workers), "test")
    return extract.publish(out, list(folders))


def talking(n: int = 20, x: float = 80, step: float = .3) -> list[np.ndarray]:
    return [picture([(x + step * k, 60, 20)], tone=40 + 3 * (k % 40)) for k in range(n)]
