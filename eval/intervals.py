"""95 % intervals by resampling people: frames of one person are not independent samples.

For a mean over people the interval is studentised (bootstrap-t): it keeps its level at 10 people and nearly at 6 (93–95 %),
where percentile and BCa intervals cover 83–88 %. Under 6 people it is Student's t. One person has no interval.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

FEW = 6  # fewer people than this: resamples of so few are too coarse


class Interval(NamedTuple):
    """A value and where it would lie for other people of the same kind; low and high are NaN for one person."""

    value: float
    low: float
    high: float
    n_people: int
    n_frames: int


def of_mean(values: np.ndarray, person: np.ndarray, *, level: float, resamples: int, seed: int,
            bounds: tuple[float, float] = (-np.inf, np.inf)) -> Interval:
    """Mean of the people's means. values (n,), NaN = not scored; person (n,): whose frame it is."""
    scored = np.isfinite(values)
    people, which = np.unique(person[scored], return_inverse=True)
    n = len(people)
    if n == 0:
        return Interval(np.nan, np.nan, np.nan, 0, 0)
    m = np.bincount(which, values[scored]) / np.bincount(which)  # (n_people,)
    down, up = _studentised(m, level, resamples, seed)
    low, high = np.clip([m.mean() - down, m.mean() + up], *bounds)
    return Interval(float(m.mean()), float(low), float(high), n, int(scored.sum()))


def _studentised(m: np.ndarray, level: float, resamples: int, seed: int) -> tuple[float, float]:
    """How far the interval reaches below and above the mean of m."""
    n = len(m)
    if n < 2:
        return np.nan, np.nan
    error = m.std(ddof=1) / np.sqrt(n)
    if n < FEW:
        return (student(level, n) * error,) * 2
    resample = m[np.random.default_rng(seed).integers(0, n, (resamples, n))]  # (R, n_people)
    errors = resample.std(axis=1, ddof=1) / np.sqrt(n)
    real = errors > 1e-9 * max(error, 1e-30)  # one person drawn n times has no spread
    t = (resample.mean(axis=1) - m.mean())[real] / errors[real]
    if not len(t):
        return 0.0, 0.0
    low, high = np.quantile(t, [(1 - level) / 2, (1 + level) / 2])
    return float(max(high, 0) * error), float(max(-low, 0) * error)


def student(level: float, n: int) -> float:
    """Quantile of Student's t for a two-sided interval from n people."""
    from scipy.special import stdtrit

    return float(stdtrit(n - 1, (1 + level) / 2))


def counts(person: np.ndarray, *, resamples: int, seed: int) -> np.ndarray:
    """(R, n) int: how often each frame stands in each resample of the people. person (n,)."""
    people, which = np.unique(person, return_inverse=True)
    drawn = np.random.default_rng(seed).integers(0, len(people), (resamples, len(people)))
    often = np.stack([np.bincount(row, minlength=len(people)) for row in drawn])  # (R, n_people)
    return often[:, which]


def of_set(value: float, resampled: np.ndarray, person: np.ndarray, *, level: float) -> Interval:
    """Interval of a distance between sets from its values over resampled people, (R,).

    A resample holds fewer different people than the set, so it lies higher by the distance's bias: percentiles would not even
    hold the value. Only the spread of its logarithm is used: value · exp(± t s), which stays positive.
    """
    n = len(np.unique(person))
    resampled = resampled[resampled > 0]
    if n < 2 or value <= 0 or len(resampled) < 2:
        return Interval(value, np.nan, np.nan, n, len(person))
    reach = np.exp(student(level, n) * np.log(resampled).std(ddof=1))
    return Interval(value, float(value / reach), float(value * reach), n, len(person))


def of_unbiased(value: float, resampled: np.ndarray, person: np.ndarray, *, level: float) -> Interval:
    """Interval of an unbiased estimate that may be negative, from its values over resampled people, (R,): value ± t s.

    s is that of the resamples times (n/(n − 1))^½, as a resample of n people has that much less spread. In simulation it covers
    91 to 98 % (nominal 95 %) at 4 to 50 people. Under three every resample that has a value has the same one: no interval.
    """
    n = len(np.unique(person))
    resampled = resampled[np.isfinite(resampled)]
    if n < 3 or not np.isfinite(value) or len(resampled) < 2:
        return Interval(value, np.nan, np.nan, n, len(person))
    reach = student(level, n) * np.sqrt(n / (n - 1)) * resampled.std(ddof=1)
    return Interval(value, float(value - reach), float(value + reach), n, len(person))
