"""Self-reenactment on hold-out frames of people unseen in training: a real frame beside the one drawn from its landmarks."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from eval.scoring import set_distances
from eval.scoring.feature_cache import Cache
from eval.scoring.metric import Metric, OfSets, PerFrame, load
from eval.scoring.per_frame import Recipe, Scored, Stored
from eval.scoring.real_frames import Floor, Real
from eval.statistics import intervals
from pipeline import driving_pairs
from pipeline.core.config import Strict
from pipeline.core.errors import InputError


class Config(Strict):
    """The section `score` of params.yaml."""

    metrics: list[str]  # columns of Table 1, in this order
    level: float  # of the intervals
    resamples: int  # of the people, for means
    set_resamples: int  # of the people, for distances between sets
    workers: int  # processes; each scores a person at a time on one thread


@dataclass(frozen=True)
class Cell:
    """Where one cell of the table lies: the generated frames (or which real ones stand in their place) and the real ones."""

    images: Path | Floor
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


class Generated:
    """The frames that `adapt` drew; refused unless they are exactly the hold-out frames of every test person."""

    no_sets: str | None = None  # why distances between sets have no value

    def __init__(self, folder: Path) -> None:
        from pipeline.core.shards import ShardReader

        self.folder, self._reader = folder, ShardReader(folder)
        self._places = self._index("index.parquet")
        if not self._places:
            raise InputError(f"{folder}: holds no frame; remove it and run `dvc repro`")

    def _index(self, name: str) -> dict[tuple[str, int], tuple[int, int, int, int]]:
        import pandas as pd

        return {(r["person"], r["row"]): (r["shard"], r["offset"], r["length"], r["crc"])
                for r in pd.read_parquet(self.folder / name).to_dict("records")}

    def size(self) -> int:
        """Height and width of the frames, pixels (of the first; `frames` holds all of a person to one size)."""
        person, row = next(iter(self._places))
        return int(self.frames(person, [row]).shape[-1])

    def check(self, subjects: Sequence[Any]) -> None:
        """InputError when a hold-out frame is missing or a frame is not one: a partial set would be another benchmark."""
        self._whole(self._places, {(s.person, int(row)) for s in subjects for row in s.holdout}, "hold-out frames")

    def check_driven(self, due: set[tuple[str, int]]) -> None:
        """The same for the frames driven by other people; due: (person, row of the driver's frame)."""
        self._whole(self._driven, due, "frames driven by others")

    def _whole(self, there: Mapping[tuple[str, int], Any], due: set[tuple[str, int]], what: str) -> None:
        missing, more = due - there.keys(), there.keys() - due
        if missing or more:
            person, row = sorted(missing or more)[0]
            raise InputError(f"{self.folder}: {len(missing)} of {len(due)} {what} are missing, {len(more)} are foreign "
                             f"(first: {person}, row {row}); remove the folder and run `dvc repro`")

    def rows(self, subject: Any) -> np.ndarray:
        """The frames that are compared."""
        return np.asarray(subject.holdout, np.int64)

    def frames(self, person: str, rows: Sequence[int]) -> np.ndarray:
        """(n, 3, H, W) float32 RGB [0, 1]."""
        return self._read(person, [self._places[person, int(row)] for row in rows])

    @cached_property
    def _driven(self) -> dict[tuple[str, int], tuple[int, int, int, int]]:
        return self._index(driving_pairs.INDEX)

    def driven(self, person: str, rows: Sequence[int]) -> np.ndarray:
        """The person as driven by these frames of others, (n, 3, H, W) float32 RGB [0, 1]."""
        return self._read(person, [self._driven[person, int(row)] for row in rows])

    def _read(self, person: str, places: Sequence[tuple[int, int, int, int]]) -> np.ndarray:
        from PIL import Image

        images = [np.asarray(Image.open(io.BytesIO(self._reader.read(*place))).convert("RGB")) for place in places]
        if len(shapes := {image.shape for image in images}) > 1:
            raise InputError(f"{self.folder}: frames of {person} differ in size ({sorted(shapes)}); remove it and run `dvc "
                             f"repro`")
        return np.stack(images).transpose(0, 3, 1, 2).astype(np.float32) / 255


def pairs(cell: Cell, person: str) -> Pairs:
    """One person's pairs. The real frames are brought to the size of the generated ones and to 8 bits, as those were."""
    generated, faces = opened(cell)
    subject = next(s for s in faces.subjects if s.person == person)
    rows = generated.rows(subject)
    if not len(rows):
        nothing = np.zeros((0, 3, faces.size, faces.size), np.float32)
        return Pairs(person, rows, nothing, nothing, np.zeros((0, 68, 2), np.float32))
    return Pairs(person, rows, real(faces, rows), generated.frames(person, rows.tolist()), faces.points(rows))


def real(faces: Any, rows: np.ndarray) -> np.ndarray:
    """Real frames at the size of the generated ones, of 8 bits as those: (n, 3, H, W) float32 RGB [0, 1]."""
    return (np.rint(faces.images(rows) * 255) / 255).astype(np.float32)


def people(cell: Cell) -> list[str]:
    """The test people, in the split's order, after the check that the generated set is whole."""
    generated, faces = opened(cell)
    generated.check(faces.subjects)
    return [subject.person for subject in faces.subjects]


@lru_cache(maxsize=1)
def opened(cell: Cell) -> tuple[Generated | Real, Any]:
    """The frames in question and the reader of the real ones, at their size."""
    from pipeline.episodes import Faces

    parts = {"frames": cell.frames, "landmarks": cell.landmarks, "split": cell.split}
    if isinstance(cell.images, Floor):
        faces = Faces(**parts, size=cell.images.size)
        return Real(cell.images, faces), faces
    generated = Generated(cell.images)
    return generated, Faces(**parts, size=generated.size())


def score(person: str, *, cell: Cell, config: Config, cache: Path | None) -> Scored:
    """Every metric over one person's pairs, on one thread: the values depend on no batch, order or number of processes."""
    import torch

    torch.set_num_threads(1)
    p = pairs(cell, person)
    shared = Cache(cache)  # one for all: a network that several metrics need runs once a frame
    found = [load(name, shared) for name in config.metrics]
    missing = {metric.name: why for metric in found if (why := absent(metric, cell))}
    out = Scored(person, p.rows, {}, {}, {}, missing)
    for metric in found:
        if metric.name in missing:
            continue
        if isinstance(metric, PerFrame):
            out.columns[metric.name] = metric.per_frame(p.real, p.fake, p.points) if len(p.rows) else np.zeros(0)
        elif isinstance(metric, OfSets):
            out.features[metric.name] = metric.features(p.real), metric.features(p.fake)
        out.facts[metric.name] = facts(metric, cell)
    return out


def absent(metric: Metric, cell: Cell) -> str | None:
    """Why a metric has no value for this cell, or None."""
    no_sets = opened(cell)[0].no_sets if isinstance(metric, OfSets) else None
    return no_sets or metric.missing() or _other_detector(metric, cell)


def facts(metric: Metric, cell: Cell) -> dict[str, Any]:
    """What the report prints about the metric, with the detector of the landmarks that it takes."""
    return metric.facts() | ({} if metric.landmarks is None else {"detector": _detector(cell)})


def _detector(cell: Cell) -> dict[str, Any]:
    """Name and file hashes of what found the data set's landmarks."""
    from pipeline.core.manifest import read_manifest

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
            found = set_distances.spread(metric, stored, recipe).interval
            out[name] = {**found._asdict(), "n_failed": 0, "floor": set_distances.floor(metric, stored)}
        else:
            raise InputError(f"{name}: the per-frame results have no such column; remove the cell's folder and run `dvc repro`")
    return {name: {key: intervals.plain(value) for key, value in cell.items()} for name, cell in out.items()}
