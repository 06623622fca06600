"""Detects the 68 landmarks of stored frames clip by clip, writes them shard by shard, compares them with a renderer's own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.core import fileio, image_ops, tables
from pipeline.core.shards import Place, ShardReader
from pipeline.core.tables import runs
from pipeline.landmarks import landmark_image
from pipeline.parallel.sharded_map import Plan, Record, Shard

Item = tuple[str, int, int, int]  # clip, its shard of the frames, first of its rows among the shard's, last + 1
# n images (H, W, 3) uint8, face boxes (n, 4) -> points (n, 68, 2), NaN where a box is no face; images are independent
Predict = Callable[[Sequence[np.ndarray], np.ndarray], np.ndarray]
LEDGER = {"clip": "str", "frame": "int64", "status": "str"}
FACE = ["face_x0", "face_y0", "face_x1", "face_y1"]
FACTS = "facts.json"  # counts and error of one shard


@cache
def _reader(frames: Path) -> ShardReader:
    return ShardReader(frames)


@lru_cache(2)
def _rows(frames: Path, shard: int) -> pd.DataFrame:
    """The index rows of one shard; workers neither receive nor read the table of millions of rows."""
    return pd.read_parquet(frames / "index.parquet", filters=[("shard", "==", shard)])


def plan(index: pd.DataFrame) -> Plan[Item]:
    """One task per shard of the frames; its items are the clips. `index` has the columns clip and shard."""
    start = np.union1d(runs(index["clip"]), runs(index["shard"]))
    clip, shard = index["clip"].iloc[start], index["shard"].to_numpy()[start]
    stop = np.r_[start[1:], len(index)]
    first = np.searchsorted(shard, np.arange(shard[-1] + 2))  # first clip of each shard

    def items(number: int) -> list[Item]:
        part = slice(first[number], first[number + 1])
        low = start[part.start] if part.start < part.stop else 0
        return [(str(name), number, int(a - low), int(b - low)) for name, a, b in zip(clip[part], start[part], stop[part])]

    return Plan(np.diff(first).tolist(), items)


def find(item: Item, frames: Path, predict: Predict) -> Record:
    """The landmarks of one clip's frames: (n, 68, 2) float32 in pixels of the stored frame, NaN where none are found."""
    _, shard, start, stop = item
    rows = _rows(frames, shard).iloc[start:stop]
    places = rows[list(Place.__annotations__)].itertuples(index=False)
    images = [image_ops.from_png(_reader(frames).read(*place)) for place in places]
    return {"points": np.asarray(predict(images, rows[FACE].to_numpy(np.float64)), np.float32)}


def lost(item: Item, reason: str) -> Record:
    """The record of a clip whose workers died: no landmarks."""
    return {"points": np.full((item[3] - item[2], 68, 2), np.nan, np.float32), "status": np.array("corrupt")}


def write(folder: Path, number: int, rows: pd.DataFrame, points: np.ndarray, facts: dict[str, Any]) -> None:
    """Writes NUMBER.npy, ledger.parquet and facts.json of one shard from `rows` of the index and their points (n, 68, 2)."""
    np.save(folder / f"{number:05d}.npy", np.asarray(points, np.float32))
    found = ~np.isnan(points).any((1, 2))
    table = rows[["clip", "frame"]].assign(status=np.where(found, "ok", "no-face")).astype(LEDGER)
    table.to_parquet(folder / "ledger.parquet", index=False)
    fileio.write_json(folder / FACTS, {"frames": len(points), "with_landmarks": int(found.sum())} | facts)


def finish(shard: Shard[Item], records: Iterable[Record], folder: Path, frames: Path, videos: Path, size: int) -> None:
    """Writes the files of one shard; facts.json has the error against a renderer's points and the hashes of the weights."""
    found = list(records)
    rows = _rows(frames, shard.number)
    points = np.concatenate([np.zeros((0, 68, 2), np.float32), *(record["points"] for record in found)])
    hashes = sorted({str(record["sha256"]) for record in found if "sha256" in record})
    write(folder, shard.number, rows, points, {"error": error(points, oracle(rows, videos, size)), "sha256": hashes})


def publish(out: Path, folders: Sequence[Path]) -> dict[str, Any]:
    """Joins the shards' arrays and ledger.parquet in `out`; returns counts, mean error, and the hashes of the weights."""
    for number, folder in enumerate(folders):
        fileio.link(folder / f"{number:05d}.npy", out / f"{number:05d}.npy")
    tables.join((folder / "ledger.parquet" for folder in folders), out / "ledger.parquet")
    facts = [json.loads((folder / FACTS).read_text()) for folder in folders]
    return {"frames": sum(fact["frames"] for fact in facts),
            "with_landmarks": sum(fact["with_landmarks"] for fact in facts),
            "oracle_nme": mean([fact["error"] for fact in facts if fact.get("error")]),
            "sha256": sorted({text for fact in facts for text in fact.get("sha256", [])})}


def oracle(rows: pd.DataFrame, videos: Path, size: int) -> np.ndarray | None:
    """A renderer's own points of stored frames (n, 68, 2), NaN where a video has none; None when no video has any.

    They are stored beside the video as VIDEO.points.npy, one row per frame of the video, in its pixels.
    """
    truth = np.full((len(rows), 68, 2), np.nan)
    for (person, name), part in rows.reset_index(drop=True).groupby(["person", "video"], sort=False):
        path = videos / str(person) / f"{name}.points.npy"
        if path.is_file():
            whole = np.load(path)
            for k, row in zip(part.index, part.to_dict("records")):
                truth[k] = image_ops.to_crop(whole[row["frame"]], [row["x0"], row["y0"], row["x1"], row["y1"]], size)
    return None if np.isnan(truth).all() else truth


def error(points: np.ndarray, truth: np.ndarray | None) -> list[float] | None:
    """Inter-ocular error summed over frames that have both: of all 68 points, of the inner 51 (no jaw); number of frames."""
    if truth is None:
        return None
    both = ~np.isnan(points).any((1, 2)) & ~np.isnan(truth).any((1, 2))
    nme = landmark_image.nme(points[both], truth[both])
    return [float(nme.mean(1).sum()), float(nme[:, 17:].mean(1).sum()), int(both.sum())]


def mean(errors: Sequence[Sequence[float]]) -> dict[str, Any] | None:
    """Mean error of all points and of the inner ones over all shards, and the number of frames; None if there are none."""
    whole, inner, count = (sum(part) for part in zip(*errors)) if errors else (0, 0, 0)
    return {"all": round(whole / count, 6), "inner": round(inner / count, 6), "n": count} if count else None
