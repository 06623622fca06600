"""Training curves, from what training logged (dvclive)."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from eval.report import svg_plots
from eval.report.svg_plots import Mark, Plot
from eval.scoring.results import Results

POINTS = 200  # of a curve; a longer one is averaged down to so many

Curve = tuple[list[float], list[float]]  # steps, values


def draw(results: Results, dataset: str, marks: dict[str, Mark], out: Path) -> list[Plot]:
    """A panel a scalar, a line a method."""
    found = curves(results, dataset)
    made: list[Plot] = []
    for name in sorted({name for lines in found.values() for name in lines}):
        file = f"{dataset}-training-{name.replace('/', '-')}.svg"
        mine = {method: lines[name] for method, lines in found.items() if name in lines}
        says = f"Over steps of meta-learning. {last(results, mine)}"
        with svg_plots.panel(file, name, says, out, (3.3, 2.2)) as (axes, done):
            for method, curve in mine.items():
                axes.plot(*thinned(curve), color=marks[method].colour, linewidth=1.3)
            axes.set_xlabel("step")
        made += done
    return made


def last(results: Results, lines: dict[str, Curve]) -> str:
    """Where each method began and ended, in words."""
    return " ".join(f"{results.label(method)}: from {values[0]:.3g} to {values[-1]:.3g} at step {steps[-1]:g}."
                    for method, (steps, values) in lines.items())


def curves(results: Results, dataset: str) -> dict[str, dict[str, Curve]]:
    """Method -> scalar -> curve, of what was logged; not the counts of images, which only say that training went on."""
    logs = {method: scalars(results.models / dataset / method / "log" / "plots" / "metrics") for method in results.methods}
    return {method: {name: line for name, line in lines.items() if name != "images"} for method, lines in logs.items()}


def thinned(curve: Curve) -> Curve:
    """At most POINTS points, each the mean of its neighbours."""
    parts = [np.array_split(np.asarray(side), min(POINTS, len(side))) for side in curve]
    steps, values = ([float(part.mean()) for part in side] for side in parts)
    return steps, values


def scalars(folder: Path) -> dict[str, Curve]:
    """Scalar name -> curve, from every .tsv below `folder`."""
    found = {}
    for path in sorted(folder.rglob("*.tsv")):
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
        name = path.relative_to(folder).with_suffix("").as_posix()
        columns = [key for key in rows[0] if key not in ("step", "timestamp")] if rows else []
        if columns and "step" in rows[0] and len(rows) > 1:
            found[name] = [float(row["step"]) for row in rows], [float(row[columns[-1]] or "nan") for row in rows]
    return found
