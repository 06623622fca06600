"""The 68 points of stored frames: found clip by clip, compared with a renderer's own, written shard by shard."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline import landmarks, store, video
from pipeline.shelf import Record

Item = tuple[str, int, int]  # clip, first row of the index, last row + 1

Predict = Callable[[np.ndarray, np.ndarray], np.ndarray | None]  # image (H, W, 3) uint8, face box (4,) -> points (68, 2)
LEDGER = {"clip": "str", "frame": "int64", "status": "str"}
FACE = ["face_x0", "face_y0", "face_x1", "face_y1"]


@cache
def _open(frames: Path) -> tuple[store.ShardReader, pd.DataFrame]:
    """Once a process: a table of a million rows does not travel with every clip."""
    return store.ShardReader(frames), pd.read_parquet(frames / "index.parquet")


def clips(index: pd.DataFrame) -> list[Item]:
    """The clips of an index sorted by them."""
    rows = pd.Series(range(len(index))).groupby(index["clip"].to_numpy(), sort=False)
    return [(str(clip), int(part.iloc[0]), int(part.iloc[-1]) + 1) for clip, part in rows]


def find(item: Item, frames: Path, predict: Predict) -> Record:
    """The points of one clip's frames: (n, 68, 2) float32 in pixels of the stored frame, NaN where none are found."""
    reader, index = _open(frames)
    points = []
    for row in index.iloc[item[1]:item[2]].to_dict("records"):
        image = video.from_png(reader.read(row["shard"], row["offset"], row["length"], row["crc"]))
        found = predict(image, np.array([row[name] for name in FACE]))
        points.append(np.full((68, 2), np.nan) if found is None else found)
    return {"points": np.array(points, np.float32)}


def publish(out: Path, index: pd.DataFrame, records: Iterable[Record]) -> np.ndarray:
    """Writes {shard}.npy and ledger.parquet; returns all points (n, 68, 2) in the order of the index."""
    points = np.concatenate([record["points"] for record in records])
    for shard in sorted(index["shard"].unique()):
        np.save(out / f"{shard:05d}.npy", points[(index["shard"] == shard).to_numpy()])
    status = np.where(np.isnan(points).any((1, 2)), "no-face", "ok")
    table = index[["clip", "frame"]].assign(status=status).astype(LEDGER)
    table.to_parquet(out / "ledger.parquet", index=False)
    return points


def oracle(index: pd.DataFrame, videos: Path, size: int) -> np.ndarray | None:
    """A renderer's own points of each stored frame (n, 68, 2), NaN where a video has none; None when no video has any.

    They lie beside the video as VIDEO.points.npy, one row a picture of the video, in its pixels.
    """
    truth = np.full((len(index), 68, 2), np.nan)
    for (person, name), rows in index.reset_index(drop=True).groupby(["person", "video"], sort=False):
        path = videos / str(person) / f"{name}.points.npy"
        if path.is_file():
            whole = np.load(path)
            for k, row in zip(rows.index, rows.to_dict("records")):
                truth[k] = video.to_crop(whole[row["frame"]], [row["x0"], row["y0"], row["x1"], row["y1"]], size)
    return None if np.isnan(truth).all() else truth


def error(points: np.ndarray, truth: np.ndarray | None) -> dict[str, Any] | None:
    """Mean inter-ocular error of all 68 points, of the inner 51 (without the jaw), and the frames it is taken over."""
    if truth is None:
        return None
    both = ~np.isnan(points).any((1, 2)) & ~np.isnan(truth).any((1, 2))
    if not both.any():
        return None
    nme = landmarks.nme(points[both], truth[both])
    return {"all": round(float(nme.mean()), 6), "inner": round(float(nme[:, 17:].mean()), 6), "n": int(both.sum())}


def found(points: np.ndarray) -> dict[str, int]:
    """How many frames there are, and how many have points."""
    return {"frames": len(points), "with_landmarks": int((~np.isnan(points).any((1, 2))).sum())}

