"""Scores of cross-reenactment: how well identity is preserved and how closely the face follows the driving landmarks.

There is no true frame to compare with, so only metrics of identity and landmarks apply: those with a text in `crosses`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from eval.scoring import cell_summary, per_frame, protocol
from eval.scoring.feature_cache import Cache
from eval.scoring.metric import PerFrame, load
from eval.scoring.per_frame import Stored
from pipeline import driving_pairs
from pipeline.core.errors import InputError

TABLE, SUMMARY = "cross_per_frame.parquet", "cross.json"  # beside the results of self-reenactment


class Driven(NamedTuple):
    """Cross-reenactment scores of one person."""

    person: str
    frames: list[tuple[str, int]]  # driving person and row of the driving frame, for each generated frame
    columns: dict[str, np.ndarray]  # (n,) float64, NaN = failed
    facts: dict[str, dict[str, Any]]


def people(cell: protocol.Cell, config: driving_pairs.Config) -> None:
    """InputError unless exactly the frames listed by `driving_pairs.drivers` were generated."""
    generated, faces = protocol.opened(cell)
    if isinstance(generated, protocol.Generated):
        generated.check_driven({(subject.person, row) for n, subject in enumerate(faces.subjects)
                                for _, row in driving_pairs.drivers(faces.subjects, n, config)})


def score(person: str, *, cell: protocol.Cell, names: Sequence[str], drivers: driving_pairs.Config,
          cache: Path | None) -> Driven:
    """The metrics of `names` that are defined for cross-reenactment, over one person's frames, on one thread."""
    generated, faces = protocol.opened(cell)
    n = [subject.person for subject in faces.subjects].index(person)
    frames, own = driving_pairs.drivers(faces.subjects, n, drivers), faces.subjects[n].holdout
    out, shared = Driven(person, frames, {}, {}), Cache(cache)
    found = [metric for name in names if isinstance(metric := load(name, shared), PerFrame) and metric.crosses]
    for metric in found:
        if protocol.absent(metric, cell):
            continue
        out.columns[metric.name] = np.zeros(0)
        out.facts[metric.name] = protocol.facts(metric, cell) | {"compares": metric.crosses}
        if frames:
            rows = driving_pairs.rows(frames)
            out.columns[metric.name] = metric.driven(protocol.real(faces, own), faces.points(own), protocol.real(faces, rows),
                                                     generated.driven(person, rows.tolist()), faces.points(rows))
    return out


def gather(driven: Sequence[Driven]) -> tuple[Stored, np.ndarray]:
    """The scores of all people, without features, and the driving person of each frame (n,) str."""
    whose = np.repeat([d.person for d in driven], [len(d.frames) for d in driven])
    columns = {name: np.concatenate([d.columns[name] for d in driven]).round(per_frame.DIGITS) for name in driven[0].columns}
    drivers = np.array([driver for d in driven for driver, _ in d.frames], str)
    return Stored(whose, np.concatenate([driving_pairs.rows(d.frames) for d in driven]), columns, {}), drivers


def write(folder: Path, frames: Stored, drivers: np.ndarray) -> None:
    """Writes the table: person, driver, row of the driving frame, one column per metric."""
    import pandas as pd

    table = {"person": frames.person.astype(object), "driver": drivers.astype(object), "row": frames.row, **frames.columns}
    pd.DataFrame(table).to_parquet(folder / TABLE, index=False)


def read(folder: Path) -> tuple[Stored, np.ndarray]:
    """The arguments of `write`, read back. InputError: the file is missing or unreadable."""
    import pandas as pd

    if not (folder / TABLE).is_file():
        raise InputError(f"{folder / TABLE}: missing; run `dvc checkout`, or `dvc repro` to score again")
    try:
        table = pd.read_parquet(folder / TABLE)
        drivers, row = table["driver"].to_numpy(str), table["row"].to_numpy(np.int64)
        columns = {name: table[name].to_numpy(np.float64) for name in table.columns if name not in ("person", "driver", "row")}
        return Stored(table["person"].to_numpy(str), row, columns, {}), drivers
    except (KeyError, ValueError, OSError) as error:
        raise InputError(f"{folder / TABLE}: cannot be read ({' '.join(str(error).split())[:100]}); run `dvc checkout`, or "
                         "remove the folder and run `dvc repro`") from None


def about(driven: Sequence[Driven], drivers: driving_pairs.Config, names: Sequence[str]) -> dict[str, Any]:
    """The entry `cross` of a cell's manifest: each person's driving people, the counts and the metrics."""
    order = [name for name in names if name in driven[0].columns]
    who = {d.person: list(dict.fromkeys(driver for driver, _ in d.frames)) for d in driven}
    return {"drivers": drivers.drivers, "frames": drivers.frames, "who": who, "drawn": sum(len(d.frames) for d in driven),
            "order": order, "metrics": driven[0].facts}


def summary(folder: Path, manifest: Mapping[str, Any]) -> dict[str, dict[str, float | int | None]]:
    """cross.json of a cell, in the form of metrics.json, from the table and the manifest alone."""
    recipe = per_frame.Recipe.of({**manifest, "order": manifest["cross"]["order"]})
    return cell_summary.summary(read(folder)[0], recipe)
