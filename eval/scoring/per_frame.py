"""Per-frame results of one cell (per_frame.parquet, features.safetensors), from which metrics.json is computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipeline.core.errors import InputError

TABLE, FEATURES = "per_frame.parquet", "features.safetensors"
DIGITS = 6  # decimals of the per-frame values; differences between two machines' arithmetic are smaller


class Recipe(NamedTuple):
    """Settings that turn per-frame results into metrics.json, from the cell's manifest."""

    order: Sequence[str]  # columns
    level: float  # of the intervals
    means: int  # resamples of the people for means
    sets: int  # resamples of the people for distances between sets
    seed: int

    @classmethod
    def of(cls, manifest: Mapping[str, Any]) -> Recipe:
        """The settings in the manifest of a scored cell."""
        often = manifest["resamples"]
        return cls(manifest["order"], manifest["level"], often["means"], often["sets"], manifest["seed"])


class Scored(NamedTuple):
    """Scores of one person."""

    person: str
    rows: np.ndarray  # (n,) rows of the frames' index
    columns: dict[str, np.ndarray]  # per-frame metrics: (n,) float64, NaN = failed
    features: dict[str, tuple[np.ndarray, np.ndarray]]  # set metrics: real and generated (m, d)
    facts: dict[str, dict[str, Any]]
    missing: dict[str, str]  # metrics that cannot be computed here -> why


class Stored(NamedTuple):
    """Per-frame results of one cell: one row per frame, grouped by person."""

    person: np.ndarray  # (n,) str
    row: np.ndarray  # (n,) int64, of the frames' index
    columns: dict[str, np.ndarray]  # per-frame metrics: (n,) float64 with DIGITS decimals, NaN = failed
    features: dict[str, tuple[np.ndarray, np.ndarray]]  # distances between sets: real and generated (n, d) float32

    def lengths(self) -> list[int]:
        """Number of frames of each person, in the order of the rows."""
        if not len(self.person):
            return []
        starts = np.flatnonzero(np.r_[True, self.person[1:] != self.person[:-1], True])
        return [int(length) for length in np.diff(starts)]


def gather(scored: Sequence[Scored]) -> Stored:
    """The scores of all people as one table, identical to what `read` returns after `write`."""
    lengths = [len(s.rows) for s in scored]
    columns = {name: np.concatenate([s.columns[name] for s in scored]).astype(np.float64).round(DIGITS)
               for name in scored[0].columns}
    features = {name: (np.concatenate([s.features[name][0] for s in scored]).astype(np.float32),
                       np.concatenate([s.features[name][1] for s in scored]).astype(np.float32)) for name in scored[0].features}
    return Stored(np.repeat([s.person for s in scored], lengths), np.concatenate([s.rows for s in scored]), columns, features)


def write(folder: Path, stored: Stored) -> None:
    """Writes both files into `folder`; FEATURES exists even if no metric has features."""
    import pandas as pd
    from safetensors.numpy import save_file

    pd.DataFrame({"person": stored.person, "row": stored.row, **stored.columns}).to_parquet(folder / TABLE, index=False)
    named = {f"{name}.{side}": np.ascontiguousarray(array) for name, pair in stored.features.items()
             for side, array in zip(("real", "fake"), pair)}
    save_file(named, folder / FEATURES)


def read(folder: Path) -> Stored:
    """The per-frame results in `folder`. InputError: a file is missing or unreadable, or the two hold different frames."""
    import pandas as pd
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    if lost := [name for name in (TABLE, FEATURES) if not (folder / name).is_file()]:
        raise InputError(f"{folder / lost[0]}: missing; run `dvc checkout`, or `dvc repro` to score again")
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
        raise InputError(f"{folder / FEATURES}: {bad[0]!r} does not have the {len(table)} frames of {TABLE}; "
                         "remove the folder and run `dvc repro`")
    columns = {name: table[name].to_numpy(np.float64) for name in table.columns if name not in ("person", "row")}
    return Stored(table["person"].to_numpy(str), table["row"].to_numpy(np.int64), columns,
                  {name: (tensors[f"{name}.real"], tensors[f"{name}.fake"]) for name in names})
