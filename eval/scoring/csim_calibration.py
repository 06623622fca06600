"""What a cosine of face descriptors is worth: does it tell the same person from another, on real frames of these data?"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from eval.scoring.per_frame import Stored


class Calibration(NamedTuple):
    """One face network on one data set."""

    auc: float  # how often a pair of one person is more alike than a pair of two; 0.5 = it knows nobody. NaN without pairs
    same: int  # pairs of one person that have a value
    other: int  # pairs of two people
    failed: int  # pairs of either kind that could not be scored


def of(same: Stored, other: Stored, column: str) -> Calibration:
    """From the scores of real frames beside another of the same person and beside another person's."""
    values = [stored.columns[column] for stored in (same, other)]
    a, b = (x[np.isfinite(x)] for x in values)
    return Calibration(auc(a, b), len(a), len(b), sum(map(len, values)) - len(a) - len(b))


def auc(higher: np.ndarray, lower: np.ndarray) -> float:
    """Share of all pairs whose first, of `higher` (n,), is above its second, of `lower` (m,); ties count half."""
    if not len(higher) or not len(lower):
        return np.nan
    ordered = np.sort(lower)
    below, up_to = np.searchsorted(ordered, higher, "left"), np.searchsorted(ordered, higher, "right")
    return float((below + up_to).mean() / (2 * len(lower)))
