"""Calibration of CSIM: how well a face network tells the same person from another, on real frames of a data set."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from eval.scoring.per_frame import Stored


class Calibration(NamedTuple):
    """One face network on one data set."""

    auc: float  # how often a same-person pair is more similar than a pair of two people; 0.5 = chance, NaN without pairs
    same: int  # scored pairs of one person
    other: int  # scored pairs of two people
    failed: int  # pairs of either kind that could not be scored


def of(same: Stored, other: Stored, column: str) -> Calibration:
    """The calibration from the scores of real frames against the same person (`same`) and against another (`other`)."""
    values = [stored.columns[column] for stored in (same, other)]
    a, b = (x[np.isfinite(x)] for x in values)
    return Calibration(auc(a, b), len(a), len(b), sum(map(len, values)) - len(a) - len(b))


def auc(higher: np.ndarray, lower: np.ndarray) -> float:
    """Share of the pairs (x, y) with x > y, x of `higher` (n,), y of `lower` (m,); ties count half; NaN without pairs."""
    if not len(higher) or not len(lower):
        return np.nan
    ordered = np.sort(lower)
    below, up_to = np.searchsorted(ordered, higher, "left"), np.searchsorted(ordered, higher, "right")
    return float((below + up_to).mean() / (2 * len(lower)))
