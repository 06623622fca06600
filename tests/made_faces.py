"""A small made data set on disk: frames, landmarks and split, with landmarks that say which frame they are of."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline import split
from pipeline.core import fileio, image_ops
from pipeline.core.manifest import write_manifest
from pipeline.core.shards import ShardWriter
from pipeline.frames import extract
from pipeline.landmarks import detect_landmarks

SPLIT = split.Config(test_people=1, sources=4, holdout=3, least=3)


def face(size: float = 64.0) -> np.ndarray:
    """68 points of a symmetric face in a picture of `size` pixels: (68, 2)."""
    def ring(n: int, x: float, y: float, a: float, b: float) -> np.ndarray:
        turn = np.pi + np.arange(n) * 2 * np.pi / n
        return np.c_[x + a * np.cos(turn), y + b * np.sin(turn)]

    turn, line = np.linspace(np.pi, 0, 17), np.linspace(0, 1, 5)
    arch = .03 * np.sin(line * np.pi)
    parts = [np.c_[.5 + .3 * np.cos(turn), .45 + .4 * np.sin(turn)], np.c_[.25 + .2 * line, .3 - arch],
             np.c_[.55 + .2 * line, .3 - arch], np.c_[np.full(4, .5), np.linspace(.4, .55, 4)],
             np.c_[.44 + .12 * line, .58 + arch / 3], ring(6, .36, .4, .06, .03), ring(6, .64, .4, .06, .03),
             ring(12, .5, .7, .12, .07), ring(8, .5, .7, .09, .04)]
    return np.concatenate(parts) * size - .5


def write(root: Path, people: int = 3, videos: int = 2, count: int = 8, size: int = 64, blind: int = 1,
          tested: int = 1) -> Path:
    """root/frames, landmarks, split: red = row number in the picture; the last `blind` frames of a clip have no landmarks."""
    rng, members = np.random.default_rng(0), []
    for person in range(people):
        for clip in range(videos):
            for number in range(count):
                image = rng.integers(60, 200, (size, size, 3), dtype=np.uint8)
                image[..., 0] = len(members) % 256
                missing = number >= count - blind
                marks = np.full((68, 2), np.nan) if missing else face(size) + rng.normal(0, .5, (68, 2))
                members.append((f"p{person}", f"v{clip}", number, image_ops.to_png(image), marks))
    return keep(root, members, size, SPLIT.model_copy(update={"test_people": tested}))


def keep(root: Path, members: Iterable[tuple[str, str, int, bytes, np.ndarray]], size: int, chosen: split.Config,
         reserved: Collection[str] | None = None) -> Path:
    """root/frames, landmarks, split of (person, video, number, PNG, landmarks), sorted; `reserved`: see pipeline/split.py."""
    for name in ("frames", "landmarks", "split"):
        (root / name).mkdir(parents=True)
    index, marks = [], []
    writer = ShardWriter(root / "frames", max_items=20)
    for person, clip, number, png, points_of in members:
        place = writer.add(f"{person}/{clip}/{number:06d}.png", png)
        index.append({"clip": f"{person}/{clip}", "person": person, "video": clip, "frame": number,
                      "seconds": number / 25, **place, **dict.fromkeys(list(extract.INDEX)[9:], 0.0)})
        marks.append(points_of)
    writer.close()
    table = pd.DataFrame(index).astype(extract.INDEX)
    table.to_parquet(root / "frames/index.parquet", index=False)
    write_manifest(root / "frames", "frames", {"size": size})
    found, parts = np.array(marks, np.float32), [root / f"landmarks-{shard:05d}" for shard in table["shard"].unique()]
    for shard, part in enumerate(parts):
        part.mkdir()
        detect_landmarks.write(part, shard, table[table["shard"] == shard], found[table["shard"] == shard], {})
    detect_landmarks.publish(root / "landmarks", parts)
    write_manifest(root / "landmarks", "landmarks", {})
    made = split.make(table, ~np.isnan(found).any((1, 2)), chosen, 0, reserved=reserved)
    made.train.to_parquet(root / "split/train.parquet", index=False)
    fileio.write_json(root / "split/test.json", made.test)
    write_manifest(root / "split", "split", {"people": int(made.train["person"].nunique()), "videos": len(made.train),
                                                   "test_people": len(made.test), "excluded": len(made.excluded)})
    return root
