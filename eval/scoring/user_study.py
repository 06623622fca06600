"""results/DATASET/study/user.json: USER of each cell, as the report reads it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.core.errors import InputError

FOLDER, NAME = "study", "user.json"  # below results/DATASET, where methods have their folders: no method may be called that


def read(results: Path, dataset: str) -> dict[str, Any]:
    """The whole of it; {} where no study was scored. InputError when scripts have answered."""
    path = results / dataset / FOLDER / NAME
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    if found and found.get("simulated") is not False:
        raise InputError(f"{path}: these are answers of scripts, not of people; remove it, or run `python -m stages.study "
                         f"score`")
    return found


def user(results: Path, dataset: str) -> dict[tuple[str, int], Mapping[str, Any]]:
    """(method, T) -> value, low, high, n (answers), raters, people."""
    found = read(results, dataset).get("cells", {})
    return {(method, int(t)): cell for method, cells in found.items() for t, cell in cells.items()}


def note(results: Path, dataset: str) -> str | None:
    """What belongs under a table with these numbers."""
    if not (body := read(results, dataset)):
        return None
    often = (f" A rater saw up to {body['each']} fakes of one person, all of one video: USER may be higher for it."
             if body["each"] > 1 else "")
    same = "" if body["rule"] == "videos" else " SAME-VIDEO TRIALS, not the paper's three videos: NOT comparable with its USER."
    return (f"USER on {dataset}: share of fakes found among three pictures; {body['answers']} answers, {body['raters']} raters "
            f"({body['excluded']} more missed attention checks, or found none, and do not count); {100 * body['level']:g} % "
            f"interval over raters AND people; chance: {body['chance']:.2f}.{often}{same}")
