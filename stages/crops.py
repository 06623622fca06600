"""Draws stored frames and other crops of them side by side into one image for inspection."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.core import takedown
from pipeline.core.errors import InputError
from pipeline.core.manifest import read_manifest
from pipeline.core.shards import ShardReader
from stages import _cli

if TYPE_CHECKING:
    import numpy as np

SIDE = 128  # pixels of a cell


def labelled(name: str, picture: np.ndarray) -> np.ndarray:
    """An image (SIDE, SIDE, 3) under its name, with a white border on the right: (SIDE + 18, SIDE + 4, 3)."""
    import cv2
    import numpy as np

    label = np.full((18, picture.shape[1], 3), 255, np.uint8)
    cv2.putText(label, name, (3, 13), cv2.FONT_HERSHEY_SIMPLEX, .4, (0, 0, 0), 1, cv2.LINE_AA)
    return np.pad(np.concatenate([label, picture]), ((0, 0), (0, 4), (0, 0)), constant_values=255)


def chosen(frames: Path, count: int) -> list[tuple[int, int]]:
    """The first frame of `count` clips spread over the index: its shard and row. InputError: all are on the take-down list."""
    import numpy as np
    import pandas as pd

    index = pd.read_parquet(frames / "index.parquet", columns=["person", "video", "shard"])
    index["row"] = index.groupby("shard").cumcount()
    listed = takedown.read(Path(takedown.NAME), frames.parent / takedown.NAME)
    first = index.drop_duplicates(["person", "video"])
    first = first[[not takedown.covers(listed, p, v) for p, v in zip(first["person"], first["video"])]]
    if first.empty:
        raise InputError(f"{frames}: every clip is on the take-down list; there is nothing to show")
    spread = np.unique(np.linspace(0, len(first) - 1, min(count, len(first))).round().astype(int))
    return [(int(shard), int(row)) for shard, row in first.iloc[spread][["shard", "row"]].to_numpy()]


def cells(image: np.ndarray, face: np.ndarray, found: np.ndarray | None, names: Sequence[str]) -> list[np.ndarray]:
    """The stored frame and each preset of it; a preset that cannot be cut is grey and gets a printed line."""
    import numpy as np

    from pipeline.core import image_ops
    from pipeline.frames import crops

    out = [labelled("stored", image_ops.crop(image, (0, 0, len(image), len(image)), SIDE))]
    for name in names:
        try:
            picture = crops.recrop(image, face, found, crops.preset(name), SIDE)
        except InputError as problem:
            print(f"{name}: {problem}")
            picture = np.full((SIDE, SIDE, 3), 128, np.uint8)
        out.append(labelled(name, picture))
    return out


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = _cli.parser(__doc__, "frames", "out")
    _cli.add(made, "landmarks", required=False, help="for presets that are turned with the eyes")
    made.add_argument("--preset", nargs="+", help="of crops.yaml; all if not given")
    made.add_argument("--count", type=int, default=8, help="clips to show")
    return made


def main(words: Sequence[str] | None = None) -> None:
    """Writes OUT/crops.png."""
    args = parser().parse_args(words)
    import numpy as np
    import pandas as pd

    from pipeline.core import image_ops
    from pipeline.frames import crops
    from pipeline.landmarks import detect_landmarks

    args.preset = args.preset or list(crops.load())
    for name in args.preset:
        crops.preset(name)
    read_manifest(args.frames, "frames")
    if args.landmarks:
        read_manifest(args.landmarks, "landmarks")
    reader, rows = ShardReader(args.frames), []
    for shard, row in chosen(args.frames, args.count):
        place = pd.read_parquet(args.frames / "index.parquet", filters=[("shard", "==", shard)]).iloc[row]
        image = image_ops.from_png(reader.read(shard, *(int(place[name]) for name in ("offset", "length", "crc"))))
        found = np.load(args.landmarks / f"{shard:05d}.npy", mmap_mode="r")[row] if args.landmarks else None
        rows.append(np.concatenate(cells(image, place[detect_landmarks.FACE].to_numpy(np.float64), found, args.preset), 1))
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "crops.png").write_bytes(image_ops.to_png(np.concatenate(rows)))
    print(f"{args.out / 'crops.png'}: {len(rows)} clips, {len(args.preset)} crops of each")


if __name__ == "__main__":
    _cli.run(main)
