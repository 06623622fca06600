"""Drawn frames as the stage `adapt` leaves them, and a reader of real ones, both of plain colours."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from pipeline.core.manifest import write_manifest
from pipeline.core.shards import ShardWriter

SIZE, FRAMES = 16, 4


def images(folder: Path, people: Sequence[str], shade: int) -> None:
    """results/{dataset}/{method}/{T}/images: FRAMES frames a person, each a step lighter."""
    import pandas as pd
    from PIL import Image

    folder.mkdir(parents=True)
    writer, index = ShardWriter(folder), []
    for person in people:
        for row in range(FRAMES):
            png = io.BytesIO()
            Image.fromarray(np.full((SIZE, SIZE, 3), shade + 9 * row, np.uint8)).save(png, "PNG")
            index.append({"person": person, "row": row, **writer.add(f"{person}-{row:06d}.png", png.getvalue())})
    writer.close()
    pd.DataFrame(index).to_parquet(folder / "index.parquet", index=False)
    write_manifest(folder, "images", {})


def real(monkeypatch, people: Sequence[str]) -> None:
    """pipeline.episodes.Faces gives a grey that gets lighter from row to row, ten frames a second."""

    class Faces:
        def __init__(self, frames, landmarks, split, size):
            self.size, self.seconds = size, np.arange(8) / 10
            self.subjects = [SimpleNamespace(person=p, video="v", sources=[4, 5], holdout=[2, 0, 3, 1]) for p in people]

        def images(self, rows):
            return np.stack([np.full((3, self.size, self.size), 0.4 + 0.05 * row, np.float32) for row in rows])

        poses = images

        def points(self, rows):
            return np.zeros((len(rows), 68, 2)) + np.asarray(rows)[:, None, None]

    monkeypatch.setitem(sys.modules, "pipeline.episodes", SimpleNamespace(Faces=Faces))
