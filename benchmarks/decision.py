"""From pairs of times to a verdict. Nothing here knows what was timed.

A pair is log(head / base). Their centre is the 20 % trimmed mean, its interval that of Tukey and McLaughlin (Student's t of the
winsorised variance): a neighbour on the machine makes a few pairs wild, and the plain mean would need far more of them. Pairs
of equals are symmetric about 0, as their order is random, so trimming does not shift the centre.

All intervals together hold with `LEVEL`: the error allowed is divided by the number of benchmarks and of looks (Bonferroni).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

LEVEL = 0.99  # of all intervals of one run together
TOLERANCE = 1.05  # slower than this is a regression
LOOKS = (10, 20, 40, 80)  # pairs after which is looked; the last is the cap
TRIM = 0.2  # of the pairs at each end


class Interval(NamedTuple):
    """A ratio head / base and where it lies."""

    ratio: float
    low: float
    high: float


def interval(logs: Sequence[float], error: float) -> Interval:
    """The trimmed mean of log ratios with its two-sided interval of level 1 - error, as ratios. At least 5 pairs."""
    from scipy.stats import t as student

    x = np.sort(np.asarray(logs, np.float64))
    n, cut = len(x), int(TRIM * len(x))
    kept = n - 2 * cut
    centre = x[cut:n - cut].mean()
    winsorised = np.clip(x, x[cut], x[n - cut - 1])
    spread = math.sqrt(winsorised.var(ddof=1) * (n - 1) / (kept * (kept - 1)))
    half = float(student.isf(error / 2, kept - 1)) * spread
    return Interval(*(float(np.exp(value)) for value in (centre, centre - half, centre + half)))


def share(benchmarks: int) -> float:
    """The error that one look at one of so many benchmarks may make."""
    return (1 - LEVEL) / max(benchmarks, 1) / len(LOOKS)


def verdict(found: Interval, pairs: int) -> str:
    """`slower` and `faster`: all of the interval is beyond the tolerance; `equal`: not beyond it; `undecided` at the cap,
    which is no failure; `` before it: more pairs are needed."""
    if found.low > TOLERANCE:
        return "slower"
    if found.high < TOLERANCE:
        return "faster" if found.high < 1 / TOLERANCE else "equal"
    return "undecided" if pairs >= LOOKS[-1] else ""


def changes(base: dict[str, int | None], head: dict[str, int | None]) -> dict[str, tuple[int, int]]:
    """Exact counters that are not what they were: name -> (base, head). None, not exact, is not compared."""
    both = [(name, base[name], head[name]) for name in sorted(base.keys() & head.keys())]
    return {name: (a, b) for name, a, b in both if a is not None and b is not None and a != b}
