"""results/DATASET/study/user.json: USER of each cell, as the report reads it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.core.errors import InputError

FOLDER, NAME = "study", "user.json"  # in results/DATASET beside the methods' folders, so no method may have this name


def read(results: Path, dataset: str) -> dict[str, Any]:
    """The body of user.json; {} if no study was scored. InputError if the answers are simulated."""
    path = results / dataset / FOLDER / NAME
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    if found and found.get("simulated") is not False:
        raise InputError(f"{path}: holds simulated answers, not people's; remove it, or run `python -m stages.study score`")
    return found


def user(results: Path, dataset: str) -> dict[tuple[str, int], Mapping[str, Any]]:
    """(method, T) -> value, low, high, n (answers), raters, people."""
    found = read(results, dataset).get("cells", {})
    return {(method, int(t)): cell for method, cells in found.items() for t, cell in cells.items()}


def note(results: Path, dataset: str) -> str | None:
    """The note under a table with these numbers; None without a study."""
    if not (body := read(results, dataset)):
        return None
    often = (f" A rater saw up to {body['each']} fakes of one person, all from one video, which may raise USER."
             if body["each"] > 1 else "")
    same = "" if body["rule"] == "videos" else " SAME-VIDEO TRIALS, not the paper's three videos: NOT comparable with its USER."
    return (f"USER on {dataset}: share of fakes identified among three images; {body['answers']} answers, {body['raters']} "
            f"raters ({body['excluded']} more missed attention checks, or passed none, and are excluded); "
            f"{100 * body['level']:g} % interval over raters AND people; chance: {body['chance']:.2f}.{often}{same}")
