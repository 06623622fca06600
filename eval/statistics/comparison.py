"""Paired comparison of two cells of one data set: the same people and frames by two methods, or by one method at two T."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np

from eval.scoring import metric, set_distances
from eval.scoring.feature_cache import Cache
from eval.scoring.per_frame import Recipe, Stored
from eval.scoring.results import Cell, Results
from eval.statistics import intervals
from eval.statistics.intervals import Difference, Interval
from pipeline.core.errors import InputError

Place = tuple[str, int]  # method, T


class Compared:
    """Differences between the cells of `dataset`. Instead of a value that cannot be computed, methods return the reason.

    `cache` stores distances over resampled people by content (None: in memory only).
    """

    def __init__(self, results: Results, dataset: str, cache: Path | None) -> None:
        self.results, self.dataset, self.cache = results, dataset, Cache(cache)
        self._cells: dict[Place, tuple[Cell, Stored] | None] = {}
        self._differences: dict[tuple[str, Place, Place], Difference | str] = {}
        self._spreads: dict[tuple[str, Place], set_distances.Spread] = {}

    @cached_property
    def recipe(self) -> Recipe:
        """Level, resamples and seed of the first cell, used for all cells so that they share their resamples."""
        return Recipe.of(self.results.cells(self.dataset)[0][2].manifest)

    @cached_property
    def columns(self) -> set[str]:
        """Columns measured in any cell of the data set."""
        return {name for _, _, cell in self.results.cells(self.dataset) for name in cell.values}

    def cell(self, place: Place) -> tuple[Cell, Stored] | None:
        """Scores and per-frame results, or None. InputError if two cells do not have the same frames."""
        if place not in self._cells:
            cell, stored = self.results.cell(self.dataset, *place), self.results.stored(self.dataset, *place)
            self._cells[place] = (cell, stored) if cell is not None and stored is not None else None
            first = next((found[1] for found in self._cells.values() if found), stored)
            if stored and first and not all(map(np.array_equal, stored[:2], first[:2])):
                raise InputError(f"{self.results.folder(self.dataset, *place)}: its hold-out frames are not those of the other "
                                 "cells; run `dvc repro` to score all cells on the same split")
        return self._cells[place]

    def measured(self, columns: list[str], place: Place) -> bool:
        """Whether all of these columns have values in the cell."""
        return not any(self.missing(column, place) for column in columns)

    def missing(self, column: str, place: Place) -> str | None:
        """Why the cell has no value in this column, or None."""
        name = f"{place[0]} at T = {place[1]}"
        found = self.cell(place)
        if found is None:
            whole = self.results.cell(self.dataset, *place) is not None
            return f"the per-frame results of {name} were not stored" if whole else f"{name} was not scored"
        if column not in found[1].columns and column not in found[1].features:
            return f"{column} was not measured for {name}"
        return None

    def value(self, column: str, place: Place) -> Interval | str:
        """A cell's value with its interval, or why there is none."""
        if why := self.missing(column, place):
            return why
        stored = self.stored(place)
        if column in stored.features:
            return self.spread(column, place).interval
        return intervals.of_mean(stored.columns[column], stored.person, level=self.recipe.level, resamples=self.recipe.means,
                                 seed=self.recipe.seed, bounds=metric.load(column).range)

    def difference(self, column: str, one: Place, other: Place) -> Difference | str:
        """one − other over the same people, or why there is none; each pair is computed once."""
        if (column, other, one) in self._differences:
            found = self._differences[column, other, one]
            return found if isinstance(found, str) else found._replace(value=-found.value, low=-found.high, high=-found.low)
        if (column, one, other) not in self._differences:
            self._differences[column, one, other] = self._difference(column, one, other)
        return self._differences[column, one, other]

    def _difference(self, column: str, one: Place, other: Place) -> Difference | str:
        if why := self.missing(column, one) or self.missing(column, other) or self.apart(column, one, other):
            return why
        a, b, recipe = self.stored(one), self.stored(other), self.recipe
        if column in a.features:
            found = self.metric(column)
            return set_distances.difference(found, self.spread(column, one), self.spread(column, other), recipe.level)
        return intervals.of_difference(a.columns[column], b.columns[column], a.person, level=recipe.level,
                                       resamples=recipe.means, seed=recipe.seed)

    def spread(self, column: str, place: Place) -> set_distances.Spread:
        """A distance between sets with its values over resampled people."""
        if (column, place) not in self._spreads:
            self._spreads[column, place] = set_distances.spread(self.metric(column), self.stored(place), self.recipe)
        return self._spreads[column, place]

    def metric(self, column: str) -> metric.OfSets:
        """The metric of a column that is a distance between sets."""
        found = metric.load(column, self.cache)
        assert isinstance(found, metric.OfSets)
        return found

    def stored(self, place: Place) -> Stored:
        """Per-frame results of a scored cell."""
        found = self.cell(place)
        assert found is not None, place
        return found[1]

    def apart(self, column: str, one: Place, other: Place) -> str | None:
        """Why two measured cells must not be compared, or None."""
        a, b = (found[0].manifest for place in (one, other) if (found := self.cell(place)))
        if a["size"] != b["size"]:
            return f"frames of {a['size']} and {b['size']} px are not comparable"
        if a["metrics"][column]["backbones"] != b["metrics"][column]["backbones"]:
            return f"{column} was computed with different networks"
        return None


def family(column: str) -> str:
    """Name of the column's file in eval/metrics/: its columns are variants of one metric."""
    return column.split("_")[0]
