"""Reads data/, models/ and results/ for the report. An absent value was not measured and is printed as a dash."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.scoring import cross_reenactment, per_frame
from eval.scoring.per_frame import Stored
from eval.scoring.real_frames import FOLDER, LABELS
from pipeline.core.config import Strict
from pipeline.core.manifest import read_manifest


class Config(Strict):
    """The section `report` of params.yaml."""

    people: int  # test people with a figure of their own
    rows: int  # hold-out frames in each figure


@dataclass(frozen=True)
class Cell:
    """One method at one T on one data set: metrics.json and its manifest."""

    values: dict[str, dict[str, Any]]
    manifest: dict[str, Any]
    driven: dict[str, dict[str, Any]]  # cross.json: cross-reenactment; empty if there is none


@dataclass(frozen=True)
class Results:
    """Everything measured, by (data set, method[, T])."""

    data: Path
    models: Path
    results: Path
    datasets: Sequence[str]
    methods: Sequence[str]
    shots: Sequence[int]

    def cell(self, dataset: str, method: str, shots: int | str) -> Cell | None:
        """Scores, or None if not scored. InputError if the folder is incomplete."""
        folder = self.folder(dataset, method, shots)
        if not folder.exists():
            return None
        manifest = read_manifest(folder, "score")
        driven = json.loads((folder / cross_reenactment.SUMMARY).read_text()) if "cross" in manifest else {}
        return Cell(json.loads((folder / "metrics.json").read_text()), manifest, driven)

    def stored(self, dataset: str, method: str, shots: int | str) -> Stored | None:
        """Per-frame values and features of a scored cell; None if they were not stored (scored by an older version)."""
        cell = self.cell(dataset, method, shots)
        if cell is None or not {per_frame.TABLE, per_frame.FEATURES} <= cell.manifest["files"].keys():
            return None
        return per_frame.read(self.folder(dataset, method, shots))

    def folder(self, dataset: str, method: str, shots: int | str) -> Path:
        """Path of a cell's scores, existing or not."""
        return self.results / dataset / method / str(shots) / "metrics"

    def timing(self, dataset: str, method: str) -> dict[str, Any] | None:
        """timing.json, or None."""
        folder = self.results / dataset / method / "timing"
        if not folder.exists():
            return None
        read_manifest(folder, "timing")
        found: dict[str, Any] = json.loads((folder / "timing.json").read_text())
        return found

    def seconds(self, dataset: str, method: str, shots: int) -> float | None:
        """Median time of few-shot learning, seconds; None if not timed."""
        entry = (self.timing(dataset, method) or {"few_shot": {}})["few_shot"].get(str(shots))
        return float(entry["median"]) if entry else None

    def manifest(self, *parts: str) -> dict[str, Any]:
        """Manifest of a folder under data/, models/ or results/; empty if there is none."""
        root = {"data": self.data, "models": self.models, "results": self.results}[parts[0]]
        folder = root.joinpath(*parts[1:])
        return read_manifest(folder) if (folder / "manifest.json").exists() else {}

    def images(self, dataset: str, method: str, shots: int) -> Path | None:
        """Folder of the generated frames, or None."""
        folder = self.results / dataset / method / str(shots) / "images"
        return folder if (folder / "manifest.json").exists() else None

    def cells(self, dataset: str) -> list[tuple[str, int, Cell]]:
        """(method, T, scores) of the scored cells of a data set, in the order of the table."""
        return [(method, t, cell) for method in self.methods for t in self.shots if (cell := self.cell(dataset, method, t))]

    def reference_rows(self, dataset: str) -> list[tuple[str, Cell]]:
        """(key of eval.scoring.real_frames.LABELS, scores) of the scored reference rows."""
        return [(which, cell) for which in LABELS if (cell := self.cell(dataset, FOLDER, which))]

    def metrics(self) -> dict[str, dict[str, Any]]:
        """Column -> label, better, unit, compares, backbones of every measured column, in the order of the scores."""
        found: dict[str, dict[str, Any]] = {}
        for dataset in self.datasets:
            for _, _, cell in self.cells(dataset):
                for name in cell.manifest["order"]:
                    found.setdefault(name, cell.manifest["metrics"][name])
        return found

    def not_measured(self) -> dict[str, str]:
        """Column -> reason, for configured metrics that could not be computed in any cell."""
        cells = [cell for dataset in self.datasets for _, _, cell in self.cells(dataset)]
        measured = self.metrics()
        return {name: why for cell in cells for name, why in cell.manifest["not_measured"].items() if name not in measured}

    def utterances(self) -> dict[str, dict[str, Any]]:
        """Data set -> used, of, sha256 (pipeline.core.ledger.used) from the scores; absent in scores of an older version."""
        found: dict[str, dict[str, Any]] = {}
        for dataset in self.datasets:
            for cell in [cell for _, cell in self.reference_rows(dataset)] + [cell for *_, cell in self.cells(dataset)]:
                if body := cell.manifest.get("utterances"):
                    found.setdefault(dataset, body)
        return found

    def label(self, method: str) -> str:
        """The method's name in the tables."""
        found = (self.manifest("models", d, method).get("label") for d in self.datasets)
        scored = (cell.manifest["label"] for d in self.datasets for m, _, cell in self.cells(d) if m == method)
        return next((str(label) for label in (*found, *scored) if label), method)
