"""Stability of the ranking of methods over variants of one metric and over resamples of the people."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from eval.scoring.metric import load
from eval.statistics.comparison import Compared, family
from eval.statistics.intervals import by_person


class Stability(NamedTuple):
    """One column against the first column of its family, at one T."""

    shots: int
    table: str  # the column with the order compared to
    column: str
    order: list[str]  # methods, best first, by the table's column
    same: bool  # whether this column has the same order
    share: float  # of the resamples of the people in which this column has that order
    n_people: int


def stability(compared: Compared) -> list[Stability]:
    """One entry for every column and T at which two methods or more were measured."""
    results, out = compared.results, []
    columns = list(results.metrics())
    for t in results.shots:
        for j, column in enumerate(columns):
            table = next(name for name in columns[:j + 1] if family(name) == family(column))
            methods = [method for method in results.methods if compared.measured([table, column], (method, t))]
            methods = [m for m in methods if not compared.apart(column, (methods[0], t), (m, t))]
            if len(methods) < 2:
                continue
            due, _, _ = scores(compared, table, methods, t)
            value, resampled, n = scores(compared, column, methods, t)
            order = np.argsort(due, kind="stable")
            same = (np.argsort(resampled, axis=0, kind="stable") == order[:, None]).all(axis=0)
            out.append(Stability(t, table, column, [methods[k] for k in order],
                                 bool((np.argsort(value, kind="stable") == order).all()), float(same.mean()), n))
    return out


def scores(compared: Compared, column: str, methods: list[str], t: int) -> tuple[np.ndarray, np.ndarray, int]:
    """(values (m,), values over the same resampled people (m, R), number of people); signed so that lower is better."""
    sign = 1 if load(column).better == "lower" else -1
    if column in compared.stored((methods[0], t)).features:
        spreads = [compared.spread(column, (m, t)) for m in methods]
        found = np.array([s.interval.value for s in spreads]), np.stack([s.resampled for s in spreads])
        return sign * found[0], sign * found[1].astype(np.float64), spreads[0].interval.n_people
    stored = [compared.stored((m, t)) for m in methods]
    scored = np.isfinite([s.columns[column] for s in stored]).all(axis=0)  # frames scored for every method
    means = np.stack([by_person(np.where(scored, s.columns[column], np.nan), s.person) for s in stored])  # (m, n_people)
    n, recipe = means.shape[1], compared.recipe
    chosen = np.random.default_rng(recipe.seed).integers(0, n, (recipe.sets, n))
    return sign * means.mean(axis=1), sign * means[:, chosen].mean(axis=2), n
