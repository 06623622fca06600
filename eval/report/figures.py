"""Everything that is drawn for the page, into report/figures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from eval.compare import Compared
from eval.report import people, plots, tradeoff, training
from eval.report.people import Person
from eval.report.plots import Mark, Plot
from eval.report.results import Config, Results


class Figures(NamedTuple):
    """By data set, but for the paper's own plots."""

    marks: list[Mark]
    people: dict[str, list[Person]]
    tradeoff: dict[str, list[Plot]]
    paper: list[Plot]
    training: dict[str, list[Plot]]

    def files(self) -> list[str]:
        """All names in report/figures."""
        pictures = [one for some in self.people.values() for person in some for one in person.pictures]
        drawn = [*self.paper, *(plot for by in (self.tradeoff, self.training) for some in by.values() for plot in some)]
        names = [one.file for one in pictures] + [one.still for one in pictures if one.still] + [plot.file for plot in drawn]
        return sorted(names)


NOTHING = Figures([], {}, {}, [], {})


def draw(results: Results, compared: Mapping[str, Compared], out: Path, config: Config) -> Figures:
    """Writes all figures to `out`."""
    marks = plots.marks(results.methods, {method: results.label(method) for method in results.methods})
    return Figures(
        marks=list(marks.values()),
        people={d: people.draw(results, d, compared.get(d), out, config) for d in results.datasets},
        tradeoff={d: tradeoff.draw(results, d, marks, out) for d in results.datasets},
        paper=tradeoff.draw_paper(results, marks, out),
        training={d: training.draw(results, d, marks, out) for d in results.datasets})
