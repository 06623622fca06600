"""Everything that is drawn for the page, into report/figures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from eval.report import overview_picture, person_figures, svg_plots, tradeoff, training_curves
from eval.report.person_figures import Person
from eval.report.svg_plots import Mark, Plot
from eval.scoring.results import Config, Results
from eval.statistics.comparison import Compared


class Figures(NamedTuple):
    """By data set, but for the paper's own plots."""

    overview: dict[str, str]  # file name
    marks: list[Mark]
    people: dict[str, list[Person]]
    tradeoff: dict[str, list[Plot]]
    paper: list[Plot]
    training: dict[str, list[Plot]]

    def files(self) -> list[str]:
        """All names in report/figures."""
        pictures = [one for some in self.people.values() for person in some for one in person.pictures]
        drawn = [*self.paper, *(plot for by in (self.tradeoff, self.training) for some in by.values() for plot in some)]
        names = [*filter(None, self.overview.values())]
        names += [one.file for one in pictures] + [one.still for one in pictures if one.still] + [plot.file for plot in drawn]
        return sorted(names)


NOTHING = Figures({}, [], {}, {}, [], {})


def draw(results: Results, compared: Mapping[str, Compared], out: Path, config: Config) -> Figures:
    """Writes all figures to `out`."""
    marks = svg_plots.marks(results.methods, {method: results.label(method) for method in results.methods})
    return Figures(
        overview={d: overview_picture.draw(results, d, out) for d in results.datasets},
        marks=list(marks.values()),
        people={d: person_figures.draw(results, d, compared.get(d), out, config) for d in results.datasets},
        tradeoff={d: tradeoff.draw(results, d, marks, out) for d in results.datasets},
        paper=tradeoff.draw_paper(results, marks, out),
        training={d: training_curves.draw(results, d, marks, out) for d in results.datasets})
