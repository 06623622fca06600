"""A share of correct picks with an interval over raters AND people: answers of one rater, or about one person, go together.

With û_j = x_j − x̄ the variance of x̄ is that of sums over raters, plus that over people, less that over pairs of both
(Cameron, Gelbach and Miller 2011), each times g/(g − 1) for its g groups; it is not taken for less than that of raters
alone, of people alone, or of independent answers. n_eff = x̄(1 − x̄)/variance independent answers would say as much; what
is printed is Wilson's interval for so many, with Student's t at Satterthwaite's degrees of freedom in the place of z: it
stays in [0, 1], and is not empty where everybody was right. `python -m eval.statistics.study_power` measures how often it
holds the truth: 93 to 100 % of simulated studies for 95 %; percentiles of a crossed bootstrap hold it in 86 to 100 %.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Share(NamedTuple):
    """USER of one cell. low and high are NaN for one rater or one person."""

    value: float
    low: float
    high: float
    n: int  # answers
    raters: int
    people: int


def share(correct: np.ndarray, rater: np.ndarray, person: np.ndarray, level: float) -> Share:
    """correct (n,) bool, n > 0; rater, person (n,): whose answer about whom."""
    from scipy.special import stdtrit

    n, p = len(correct), float(np.mean(correct))
    _, rater = np.unique(rater, return_inverse=True)
    _, person = np.unique(person, return_inverse=True)
    raters, people = int(rater.max()) + 1, int(person.max()) + 1
    if min(raters, people) < 2:
        return Share(p, np.nan, np.nan, n, raters, people)
    variance, by_rater, by_person = variances(correct, rater, person)
    freedom = min(raters, people) - 1.0
    if (parts := by_rater**2 / (raters - 1) + by_person**2 / (people - 1)) > 0:
        freedom = max(freedom, variance**2 / parts)
    t, n_eff = float(stdtrit(freedom, (1 + level) / 2)), p * (1 - p) / variance if variance else n
    middle = (p + t**2 / (2 * n_eff)) / (1 + t**2 / n_eff)
    reach = t / (1 + t**2 / n_eff) * np.sqrt(p * (1 - p) / n_eff + t**2 / (4 * n_eff**2))
    return Share(p, float(max(middle - reach, 0)), float(min(middle + reach, 1)), n, raters, people)


def variances(correct: np.ndarray, rater: np.ndarray, person: np.ndarray) -> tuple[float, float, float]:
    """Of the mean: over raters and people, over raters alone, over people alone. rater, person (n,) int from 0."""
    off = correct - np.mean(correct)
    by_rater, by_person = _of_sums(off, rater), _of_sums(off, person)
    both = by_rater + by_person - _of_sums(off, rater * (int(person.max()) + 1) + person)
    return max(both, by_rater, by_person, float(np.var(correct)) / len(correct)), by_rater, by_person


def _of_sums(off: np.ndarray, group: np.ndarray) -> float:
    """What groups whose sums are independent contribute to the variance of the mean. off (n,), group (n,) int."""
    _, group = np.unique(group, return_inverse=True)
    g = int(group.max()) + 1
    return float((np.bincount(group, off)**2).sum() * g / max(g - 1, 1) / len(off)**2)
