"""Width and coverage of USER's interval by number of raters, on simulated raters and people.

The logit of a correct answer is that of the method plus a normal of the rater (skill) plus a normal of the person (difficulty).
A rater sees a few trials of each cell. Reads and writes no file.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from eval.study.two_way_interval import share

LEVEL = 0.95
PEOPLE, RATERS, EACH = (4, 8, 50), (10, 20, 50, 200), 2  # EACH: trials of a cell per rater; 27 over 18 cells are 1.5


class Kind(NamedTuple):
    """A method: mean logit, spread over raters and over people."""

    middle: float
    rater: float
    person: float

    def truth(self) -> float:
        """USER in the limit of many raters and people."""
        x, weight = np.polynomial.hermite_e.hermegauss(64)
        return float(weight @ _logistic(self.middle + np.hypot(self.rater, self.person) * x) / weight.sum())


KINDS = {"even": Kind(0.0, 0.5, 0.5), "hard": Kind(-0.7, 0.5, 0.5), "easy": Kind(2.0, 1.0, 1.0)}  # USER .50, .35, .83


class Found(NamedTuple):
    """Results over simulated studies."""

    half: float  # mean half width of the interval
    covered: float  # its coverage
    narrow: float  # coverage of Wilson's interval over answers, as if they were independent
    bootstrap: float  # coverage of the percentiles of a bootstrap of raters and people, NaN if not computed


def simulate(people: int, raters: int, each: int, kind: Kind, *, trials: int, seed: int, resamples: int = 0) -> Found:
    """Width and coverage over `trials` simulated studies of one cell."""
    rng, truth = np.random.default_rng([seed, people, raters]), kind.truth()
    widths, held = [], []
    for _ in range(trials):
        correct, rater, person = study(people, raters, each, kind, rng)
        alone = np.arange(len(correct))
        ends = [share(correct, rater, person, LEVEL)[1:3], share(correct, alone, alone, LEVEL)[1:3],
                _percentiles(correct, rater, person, resamples, rng)]
        widths.append(ends[0][1] - ends[0][0])
        held.append([low <= truth <= high for low, high in ends])
    covered, narrow, bootstrap = np.mean(held, axis=0)
    return Found(float(np.mean(widths)) / 2, float(covered), float(narrow), float(bootstrap) if resamples else np.nan)


def study(people: int, raters: int, each: int, kind: Kind,
          rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """correct, rater, person, (raters each,): people in turn, as the study assigns them."""
    sharp, hard = rng.normal(0, kind.rater, raters), rng.normal(0, kind.person, people)
    person = np.concatenate([rng.permutation(people) for _ in range(-(-raters * each // people))])[:raters * each]
    rater = np.repeat(np.arange(raters), each)
    return rng.random(len(rater)) < _logistic(kind.middle + sharp[rater] + hard[person]), rater, person


def _percentiles(correct: np.ndarray, rater: np.ndarray, person: np.ndarray, resamples: int,
                 rng: np.random.Generator) -> tuple[float, float]:
    """Percentiles of the pigeonhole bootstrap (Owen 2007): raters and people are resampled, their weights multiplied."""
    if not resamples:
        return np.nan, np.nan
    often = [rng.multinomial(n := int(group.max()) + 1, np.full(n, 1 / n), resamples)[:, group] for group in (rater, person)]
    weight = often[0] * often[1]  # (R, n)
    means = (weight @ correct)[weight.any(1)] / weight.sum(1)[weight.any(1)]
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _logistic(x: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-x)))


def report(trials: int, seed: int) -> Iterator[str]:
    """The lines of the table, as Markdown."""
    yield f"| people | raters | answers per cell | {' | '.join(f'USER {kind.truth():.2f}' for kind in KINDS.values())} |"
    yield "|" + "---|" * (3 + len(KINDS))
    for people in PEOPLE:
        for raters in RATERS:
            found = [simulate(people, raters, EACH, kind, trials=trials, seed=seed, resamples=200) for kind in KINDS.values()]
            cells = [f"± {f.half:.2f} ({f.covered:.0%} / {f.narrow:.0%} / {f.bootstrap:.0%})" for f in found]
            yield f"| {people} | {raters} | {raters * EACH} | {' | '.join(cells)} |"


def main(words: Sequence[str] | None = None) -> None:
    """Prints half widths and, in brackets, the coverage of this interval, of Wilson's and of the bootstrap's."""
    arguments = argparse.ArgumentParser(prog="python -m eval.statistics.study_power", description=__doc__)
    arguments.add_argument("--trials", type=int, default=500, help="simulated studies per number")
    arguments.add_argument("--seed", type=int, default=0)
    given = arguments.parse_args(words)
    for line in report(given.trials, given.seed):
        print(line, flush=True)


if __name__ == "__main__":
    main()
