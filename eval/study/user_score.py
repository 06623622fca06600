"""USER from the answers: who counts, and the share of correct picks of each cell."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import pandas as pd

from eval.statistics.intervals import plain
from eval.study.answers_db import Row
from eval.study.trials import CHANCE, CHECK, WORDS, Study
from eval.study.two_way_interval import share
from pipeline.core.errors import InputError

COLUMNS = ["rater", "n", "trial", "method", "shots", "person", "row", "fake", "choice", "correct", "seconds"]


def table(study: Study, rows: Sequence[Row], listed: Collection[str]) -> pd.DataFrame:
    """One line an answer, with what was shown (COLUMNS); without trials that are gone or on the take-down list.

    fake, choice: 1 to 3, as on the page. Nothing in it is about the rater but a number.
    """
    lines = []
    for row in rows:
        trial = study.trials.get(row.trial)
        if trial and not trial.listed(listed):
            lines.append((row.rater, row.n, trial.id, trial.method, trial.shots, trial.person, trial.row, trial.fake + 1,
                          row.choice + 1, row.choice == trial.fake, None if row.ms is None else row.ms / 1000))
    return pd.DataFrame(lines, columns=COLUMNS).astype({"correct": bool, "seconds": float})


def attentive(answers: pd.DataFrame, misses: int) -> set[int]:
    """Raters who count: they found an attention check and missed at most `misses`."""
    checks = answers[answers["method"] == CHECK].groupby("rater")["correct"]
    found, missed = checks.sum(), checks.count() - checks.sum()
    return set(found.index[(found > 0) & (missed <= misses)])


def of_people(rows: Sequence[Row], simulated: bool) -> tuple[list[Row], str | None]:
    """The answers by people (or, `simulated`, the others), and a sentence about those left out.

    InputError when none is left: what scripts answered never stands for people.
    """
    kept = [row for row in rows if row.simulated == simulated]
    others = len({row.rater for row in rows if row.simulated != simulated})
    kind = ("simulated", "real") if simulated else ("real", "simulated")
    if not kept:
        more = f"; those of {others} {kind[1]} raters are never taken for them" if others else ""
        raise InputError(f"there are no answers by {kind[0]} raters{more}; run `python -m stages.study serve` and share its "
                         "address")
    return kept, f"{others} {kind[1]} raters and their answers are left out" if others else None


def score(study: Study, rows: Sequence[Row], listed: Collection[str], level: float) -> dict[str, Any]:
    """Body of user.json: (method, T) -> USER with an interval, counts, the rules. InputError when no answer counts."""
    design = study.manifest["design"]
    answers = table(study, rows, listed)
    counted = attentive(answers, design["misses"])
    votes = answers[answers["rater"].isin(counted) & (answers["method"] != CHECK)]
    if votes.empty:
        raise InputError(f"{len(rows)} answers, none of which counts: a rater has to find an attention check, may miss "
                         f"{design['misses']}, and must have been shown trials that are still there")
    cells: dict[str, dict[str, Any]] = {}
    for (method, shots), some in votes.groupby(["method", "shots"]):
        found = share(some["correct"].to_numpy(bool), some["rater"].to_numpy(), some["person"].to_numpy(str), level)
        cells.setdefault(str(method), {})[str(shots)] = {
            **{key: plain(value) for key, value in found._asdict().items()}, "correct": int(some["correct"].sum()),
            "trials": int(some["trial"].nunique())}
    seconds = votes["seconds"].dropna()
    return {"dataset": design["dataset"], "rule": design["rule"], "chance": plain(CHANCE), "level": level, "cells": cells,
            "answers": len(votes), "raters": votes["rater"].nunique(), "excluded": answers["rater"].nunique() - len(counted),
            "each": int(votes.groupby(["rater", "person"]).size().max()), "misses": design["misses"],
            "median_seconds": plain(float(np.median(seconds))) if len(seconds) else None,
            "gone": len(rows) - len(answers), "simulated": any(row.simulated for row in rows)}


def lines(body: dict[str, Any]) -> list[str]:
    """The same for a terminal."""
    rule, misses = WORDS[body["rule"]], body["misses"]
    said = [f"{body['dataset']}, {rule}: {body['answers']} answers of {body['raters']} raters; {body['excluded']} more "
            f"missed over {misses} attention checks, or found none, and do not count; chance {body['chance']:.3f}"]
    if body["gone"]:
        said.append(f"{body['gone']} answers are about trials that are gone (other pictures, or taken down) and are left out")
    for method, cells in body["cells"].items():
        for t, cell in cells.items():
            low, high = cell["low"], cell["high"]
            reach = "(one rater or person: no interval)" if low is None else f"[{low:.3f}, {high:.3f}]"
            said.append(f"{method:>12} T={t:<3} USER {cell['value']:.3f} {reach}  {cell['correct']} of {cell['n']} answers, "
                        f"{cell['raters']} raters, {cell['people']} people")
    return said
