"""Self-reenactment on hold-out frames of people unseen in training: a real frame beside the one drawn from its landmarks."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from eval import distances, intervals
from eval.cache import Cache
from eval.metric import Metric, OfSets, PerFrame, load
from eval.stored import Recipe, Stored
from pipeline.config import Refused, Strict


class Config(Strict):
    """The section `score` of params.yaml."""

    metrics: list[str]  # columns of Table 1, in this order
    level: float  # of the intervals
    resamples: int  # of the people, for means
    set_resamples: int  # of the people, for distances between sets
    workers: int  # processes; each scores a person at a time on one thread


@dataclass(frozen=True)
class Cell:
    """Where one cell of the table lies: the generated frames and the real ones."""

    images: Path
    frames: Path
    landmarks: Path
    split: Path


class Pairs(NamedTuple):
    """One test person's hold-out frames, real and generated side by side."""

    person: str
    rows: np.ndarray  # (n,) int64, rows of the frames' index
    real: np.ndarray  # (n, 3, H, W) float32 RGB [0, 1], multiples of 1/255
    fake: np.ndarray  # (n, 3, H, W)
    points: np.ndarray  # (n, 68, 2) float32 landmarks of the real frames, pixels


class Scored(NamedTuple):
    """What came out for one person."""

    person: str
    rows: np.ndarray  # (n,)
    columns: dict[str, np.ndarray]  # per-frame metrics: (n,) float64, NaN = failed
    features: dict[str, tuple[np.ndarray, np.ndarray]]  # set metrics: real and generated (m, d)
    facts: dict[str, dict[str, Any]]
    missing: dict[str, str]  # metrics that cannot be computed here and why


class Generated:
    """The frames that `adapt` drew; refused unless they are exactly the hold-out frames of every test person."""

    def __init__(self, folder: Path) -> None:
        import pandas as pd

        from pipeline.store import ShardReader

        self.folder, self._reader = folder, ShardReader(folder)
        index = pd.read_parquet(folder / "index.parquet")
        self._places = {(r["person"], r["row"]): (r["shard"], r["offset"], r["length"], r["crc"])
                        for r in index.to_dict("records")}
        if not self._places:
            raise Refused(f"{folder}: holds no frame; remove it and run `dvc repro`")

    def size(self) -> int:
        """Height and width of the frames, pixels (of the first; `frames` holds all of a person to one size)."""
        person, row = next(iter(self._places))
        return int(self.frames(person, [row]).shape[-1])

    def check(self, subjects: Sequence[Any]) -> None:
        """Refused when a hold-out frame is missing or a frame is not one: a partial set would be another benchmark."""
        due = {(s.person, int(row)) for s in subjects for row in s.holdout}
        missing, more = due - self._places.keys(), self._places.keys() - due
        if missing or more:
            person, row = sorted(missing or more)[0]
            raise Refused(f"{self.folder}: {len(missing)} of {len(due)} hold-out frames are missing, {len(more)} are foreign "
                          f"(first: {person}, row {row}); remove the folder and run `dvc repro`")

    def frames(self, person: str, rows: Sequence[int]) -> np.ndarray:
        """(n, 3, H, W) float32 RGB [0, 1]."""
        from PIL import Image

        images = [np.asarray(Image.open(io.BytesIO(self._reader.read(*self._places[person, int(row)]))).convert("RGB"))
                  for row in rows]
        if len(shapes := {image.shape for image in images}) > 1:
            raise Refused(f"{self.folder}: frames of {person} differ in size ({sorted(shapes)}); remove it and run `dvc repro`")
        return np.stack(images).transpose(0, 3, 1, 2).astype(np.float32) / 255


def pairs(cell: Cell, person: str) -> Pairs:
    """One person's pairs. The real frames are brought to the size of the generated ones and to 8 bits, as those were."""
    generated, faces = _open(cell)
    subject = next(s for s in faces.subjects if s.person == person)
    rows = np.asarray(subject.holdout, np.int64)
    real = (np.rint(faces.images(rows) * 255) / 255).astype(np.float32)
    return Pairs(person, rows, real, generated.frames(person, rows.tolist()), faces.points(rows))


def people(cell: Cell) -> list[str]:
    """The test people, in the split's order, after the check that the generated set is whole."""
    generated, faces = _open(cell)
    generated.check(faces.subjects)
    return [subject.person for subject in faces.subjects]


@lru_cache(maxsize=1)
def _open(cell: Cell) -> tuple[Generated, Any]:
    from pipeline.episodes import Faces

    generated = Generated(cell.images)
    return generated, Faces(frames=cell.frames, landmarks=cell.landmarks, split=cell.split, size=generated.size())


def score(person: str, *, cell: Cell, config: Config, cache: Path | None) -> Scored:
    """Every metric over one person's pairs, on one thread: the values depend on no batch, order or number of processes."""
    import torch

    torch.set_num_threads(1)
    p = pairs(cell, person)
    shared = Cache(cache)  # one for all: a network that several metrics need runs once a frame
    found = [load(name, shared) for name in config.metrics]
    missing = {metric.name: why for metric in found if (why := metric.missing() or _other_detector(metric, cell))}
    out = Scored(person, p.rows, {}, {}, {}, missing)
    for metric in found:
        if metric.name in missing:
            continue
        if isinstance(metric, PerFrame):
            out.columns[metric.name] = metric.per_frame(p.real, p.fake, p.points)
        elif isinstance(metric, OfSets):
            out.features[metric.name] = metric.features(p.real), metric.features(p.fake)
        out.facts[metric.name] = metric.facts() | ({} if metric.landmarks is None else {"detector": _detector(cell)})
    return out


def _detector(cell: Cell) -> dict[str, Any]:
    """Name and file hashes of what found the data set's landmarks."""
    from pipeline.store import read_manifest

    found: dict[str, Any] = read_manifest(cell.landmarks, "landmarks")["detector"]
    return found


def _other_detector(metric: Metric, cell: Cell) -> str | None:
    """Why landmarks of this data set cannot be compared with the metric's own, or None."""
    if not metric.landmarks or (name := _detector(cell)["name"]) == metric.landmarks:
        return None
    return (f"it finds landmarks by {metric.landmarks} and the data set's are by {name}: two detectors' points must not be "
            f"compared; put the column that ends in {name} into score.metrics")


def summary(stored: Stored, recipe: Recipe, cache: Path | None = None) -> dict[str, dict[str, float | int | None]]:
    """Column -> value, low, high, n_people, n_frames, n_failed and, for distances between sets, the floor. NaN is None.

    metrics.json of a cell from its per-frame results alone. `cache` keeps distances over resampled people by their content.
    """
    out: dict[str, dict[str, float | int | None]] = {}
    for name in recipe.order:
        metric = load(name, Cache(cache))
        if name in stored.columns:
            found = intervals.of_mean(stored.columns[name], stored.person, level=recipe.level, resamples=recipe.means,
                                      seed=recipe.seed, bounds=metric.range)
            out[name] = {**found._asdict(), "n_failed": len(stored.person) - found.n_frames}
        elif name in stored.features and isinstance(metric, OfSets):
            found = distances.spread(metric, stored, recipe).interval
            out[name] = {**found._asdict(), "n_failed": 0, "floor": distances.floor(metric, stored)}
        else:
            raise Refused(f"{name}: the per-frame results have no such column; remove the cell's folder and run `dvc repro`")
    return {name: {key: intervals.plain(value) for key, value in cell.items()} for name, cell in out.items()}
