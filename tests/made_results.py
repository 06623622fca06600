"""Stored results of made-up methods: cells as the stage `score` leaves them, from numbers that a test chooses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eval.scoring import cell_summary
from eval.scoring.per_frame import Recipe, Stored, write
from eval.scoring.results import Results
from pipeline.core import fileio
from pipeline.core.manifest import write_manifest

LABELS = {"ssim": ("SSIM", "higher"), "l1": ("L1", "lower"), "csim_dlib128": ("CSIM (dlib)", "higher"),
          "fd_efflite0": ("FD (EfficientNet-Lite0)", "lower")}
WIDTH = 12


def frames(method: str, t: int, quality: Callable[[str, str, int], float], columns: Sequence[str], people: int,
           each: int) -> Stored:
    """Values of a cell. quality(column, method, T): the mean of a per-frame metric, or how far the generated set is off."""
    rng = np.random.default_rng([len(method), sum(map(ord, method)), t])
    like = np.random.default_rng(7)  # what a person is like counts for every method
    person, row = np.repeat([f"p{j:02d}" for j in range(people)], each), np.arange(people * each) * 3
    values, features = {}, {}
    for name in columns:
        of_person = like.normal(0, 0.05, (people, 1))
        if name.startswith("fd"):
            real = like.normal(size=(people, 1, WIDTH)) + 0.3 * like.normal(size=(people, each, WIDTH))
            fake = real + quality(name, method, t) + 0.05 * rng.normal(size=real.shape)
            features[name] = tuple(x.reshape(-1, WIDTH).astype(np.float32) for x in (real, fake))
        else:
            noise = 0.004 * rng.normal(size=(people, 1)) + 0.01 * rng.normal(size=(people, each))
            values[name] = (quality(name, method, t) + of_person + noise).ravel().round(6)
    return Stored(person, row, values, features)


def cell(folder: Path, stored: Stored, *, method: str, t: int, order: Sequence[str], dataset: str = "sample",
         size: int = 64) -> None:
    """Writes results/{dataset}/{method}/{T}/metrics."""
    folder.mkdir(parents=True, exist_ok=True)
    facts = {n: {"label": LABELS[n][0], "better": LABELS[n][1], "unit": "u", "compares": "two", "backbones": {}} for n in order}
    people = len(set(stored.person.tolist()))
    body: dict[str, Any] = {
        "dataset": dataset, "method": method, "shots": t, "seed": 0, "label": method.upper(), "driven_by": "landmarks",
        "trained_on": "", "size": size, "people": people, "frames": len(stored.row), "metrics": facts, "order": list(order),
        "not_measured": {}, "level": 0.95, "resamples": {"means": 200, "sets": 40}, "inputs": {}}
    write(folder, stored)
    fileio.write_json(folder / "metrics.json", cell_summary.summary(stored, Recipe.of(body)))
    write_manifest(folder, "score", body)


def timing(folder: Path, seconds: float, shots: Sequence[int], device: str = "CPU", frame: float = 0.02) -> None:
    """Writes results/{dataset}/{method}/timing; few-shot learning takes `seconds` at every T."""
    folder.mkdir(parents=True, exist_ok=True)
    body = {"set_up": {"median": 0.1, "n": 3}, "few_shot": {str(t): {"median": seconds, "n": 3} for t in shots}, "step": {},
            "frame": {"median": frame, "n": 9}, "macs": 10**6, "parameters": 10**4, "device": device, "threads": 1,
            "torch": "2", "size": 64}
    fileio.write_json(folder / "timing.json", body)
    write_manifest(folder, "timing", {})


def results(root: Path, quality: Callable[[str, str, int], float], *, methods: Sequence[str] = ("copy", "ff", "ft"),
            shots: Sequence[int] = (1, 8, 32), columns: Sequence[str] = ("ssim", "fd_efflite0"), people: int = 8, each: int = 4,
            seconds: Mapping[str, float] | None = None) -> Results:
    """A benchmark of one data set."""
    for method in methods:
        for t in shots:
            stored = frames(method, t, quality, columns, people, each)
            cell(root / "results" / "sample" / method / str(t) / "metrics", stored, method=method, t=t, order=columns)
    for method, time in (seconds or {}).items():
        timing(root / "results" / "sample" / method / "timing", time, shots)
    return Results(root / "data", root / "models", root / "results", ["sample"], list(methods), list(shots))
