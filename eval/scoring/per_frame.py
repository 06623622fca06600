"""Per-frame results of one cell, as in per_frame.parquet and features.safetensors: all that metrics.json follows from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipeline.core.errors import InputError

TABLE, FEATURES = "per_frame.parquet", "features.safetensors"
DIGITS = 6  # of the per-frame values; what differs between two machines' arithmetic is below them


class Recipe(NamedTuple):
    """How metrics.json follows from the per-frame results; the manifest of the cell has it."""

    order: Sequence[str]  # columns
    level: float  # of the intervals
    means: int  # resamples of the people for means
    sets: int  # for distances between sets
    seed: int

    @classmethod
    def of(cls, manifest: Mapping[str, Any]) -> Recipe:
        """From the manifest of a scored cell."""
        often = manifest["resamples"]
        return cls(manifest["order"], manifest["level"], often["means"], often["sets"], manifest["seed"])


class Scored(NamedTuple):
    """What came out for one person."""

    person: str
    rows: np.ndarray  # (n,)
    columns: dict[str, np.ndarray]  # per-frame metrics: (n,) float64, NaN = failed
    features: dict[str, tuple[np.ndarray, np.ndarray]]  # set metrics: real and generated (m, d)
    facts: dict[str, dict[str, Any]]
    missing: dict[str, str]  # metrics that cannot be computed here and why


class Stored(NamedTuple):
    """One cell, a row a frame, the frames of a person together."""

    person: np.ndarray  # (n,) str
    row: np.ndarray  # (n,) int64, of the frames' index
    columns: dict[str, np.ndarray]  # per-frame metrics: (n,) float64 of six digits, NaN = failed
    features: dict[str, tuple[np.ndarray, np.ndarray]]  # distances between sets: real and generated (n, d) float32

    def lengths(self) -> list[int]:
        """Frames of each person, in the order of the rows."""
        if not len(self.person):
            return []
        starts = np.flatnonzero(np.r_[True, self.person[1:] != self.person[:-1], True])
        return [int(length) for length in np.diff(starts)]


def gather(scored: Sequence[Scored]) -> Stored:
    """What came out for each person, as it will be read back."""
    lengths = [len(s.rows) for s in scored]
    columns = {name: np.concatenate([s.columns[name] for s in scored]).astype(np.float64).round(DIGITS)
               for name in scored[0].columns}
    features = {name: (np.concatenate([s.features[name][0] for s in scored]).astype(np.float32),
                       np.concatenate([s.features[name][1] for s in scored]).astype(np.float32)) for name in scored[0].features}
    return Stored(np.repeat([s.person for s in scored], lengths), np.concatenate([s.rows for s in scored]), columns, features)


def write(folder: Path, stored: Stored) -> None:
    """Both files into `folder`; the second is there even where no metric has features."""
    import pandas as pd
    from safetensors.numpy import save_file

    pd.DataFrame({"person": stored.person, "row": stored.row, **stored.columns}).to_parquet(folder / TABLE, index=False)
    named = {f"{name}.{side}": np.ascontiguousarray(array) for name, pair in stored.features.items()
             for side, array in zip(("real", "fake"), pair)}
    save_file(named, folder / FEATURES)


def read(folder: Path) -> Stored:
    """InputError when a file is missing, is not what it should be, or the two do not have the same frames."""
    import pandas as pd
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    if lost := [name for name in (TABLE, FEATURES) if not (folder / name).is_file()]:
        raise InputError(f"{folder / lost[0]}: missing; run `dvc checkout`, or `dvc repro` to score anew")
    try:
        table = pd.read_parquet(folder / TABLE)
        tensors = load_file(folder / FEATURES)
    except (SafetensorError, ValueError, OSError) as error:
        raise InputError(f"{folder}: {TABLE} or {FEATURES} cannot be read ({' '.join(str(error).split())[:100]}); "
                         "run `dvc checkout`, or remove the folder and run `dvc repro`") from None
    if not {"person", "row"} <= set(table):
        raise InputError(f"{folder / TABLE}: has no column `person` or `row`; remove the folder and run `dvc repro`")
    names = sorted({name.rpartition(".")[0] for name in tensors})
    if bad := [key for name in names for key in (f"{name}.real", f"{name}.fake") if len(tensors.get(key, ())) != len(table)]:
        raise InputError(f"{folder / FEATURES}: {bad[0]!r} has not the {len(table)} frames of {TABLE}; "
                         "remove the folder and run `dvc repro`")
    columns = {name: table[name].to_numpy(np.float64) for name in table.columns if name not in ("person", "row")}
    return Stored(table["person"].to_numpy(str), table["row"].to_numpy(np.int64), columns,
                  {name: (tensors[f"{name}.real"], tensors[f"{name}.fake"]) for name in names})
