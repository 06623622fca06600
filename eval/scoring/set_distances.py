"""Distances between sets of frames over resampled people: value, interval, floor, and the test that swaps two methods."""

from __future__ import annotations

import hashlib
from itertools import product
from typing import NamedTuple

import numpy as np

from eval.scoring.metric import OfSets
from eval.scoring.per_frame import Recipe, Stored
from eval.statistics import intervals

SWAPPED = 6  # people up to which all 2^n swaps of two methods are evaluated; each costs two distances


def value(metric: OfSets, stored: Stored) -> float:
    """The distance between all real and all generated frames."""
    return metric.value(*stored.features[metric.name], stored.person)


def resampled(metric: OfSets, stored: Stored, recipe: Recipe) -> np.ndarray:
    """The distance over resampled people, (recipe.sets,) float32; every cell has the same resamples: differences are paired.

    Few people give few different resamples: each is computed once and cached by the content of the features.
    """
    real, fake = stored.features[metric.name]
    counts = intervals.counts(stored.person, resamples=recipe.sets, seed=recipe.seed)
    different, which = np.unique(counts, axis=0, return_inverse=True)
    digest = hashlib.sha256(f"{metric.name} over resampled people {different.shape}".encode())
    for array in (real, fake, different, np.unique(stored.person, return_inverse=True)[1]):
        digest.update(np.ascontiguousarray(array).data)
    found = metric.cache.vectors(f"{metric.name}-resampled-{len(different)}", [digest.digest()], len(different),
                                 lambda missing: iter([metric.resampled(real, fake, stored.person, different)]))
    return found[0][which.ravel()]


class Spread(NamedTuple):
    """A distance with its interval over people and the resamples behind it."""

    stored: Stored
    interval: intervals.Interval
    resampled: np.ndarray  # (R,)


def spread(metric: OfSets, stored: Stored, recipe: Recipe) -> Spread:
    """The distance of a cell with its interval."""
    found = resampled(metric, stored, recipe)
    of_set = intervals.of_unbiased if signed(metric) else intervals.of_set
    return Spread(stored, of_set(value(metric, stored), found, stored.person, level=recipe.level), found)


def signed(metric: OfSets) -> bool:
    """Whether the metric is an unbiased estimate that may be negative, so that its logarithm is not used."""
    return metric.range[0] < 0


def floor(metric: OfSets, stored: Stored) -> float:
    """The distance between two halves (even and odd hold-out frames) of the same real people: a lower reference, not a target.

    Each half has half the frames, so its bias from few frames is larger than that of the table's values.
    """
    real, lengths = stored.features[metric.name][0], stored.lengths()
    place = np.concatenate([np.arange(count) for count in lengths])
    paired = place < np.repeat([count - count % 2 for count in lengths], lengths)  # an odd one is in neither half
    even, odd = paired & (place % 2 == 0), paired & (place % 2 == 1)
    return metric.value(real[even], real[odd], stored.person[even])


def difference(metric: OfSets, a: Spread, b: Spread, level: float) -> intervals.Difference:
    """Distance of a − distance of b, paired. a, b: the same frames by two methods, over the same resamples."""
    p = swaps(metric, a.stored, b.stored)
    of_difference = intervals.of_unbiased_difference if signed(metric) else intervals.of_set_difference
    return of_difference(a.interval, b.interval, a.resampled, b.resampled, level=level, p=p)


def swaps(metric: OfSets, a: Stored, b: Stored) -> float:
    """p of the permutation test that swaps the two methods' frames person by person.

    All 2^n swaps (half of them by symmetry) up to SWAPPED people; NaN beyond, where only the interval is reported.
    """
    people, which = np.unique(a.person, return_inverse=True)
    if len(people) > SWAPPED:
        return np.nan
    sides = [np.stack(pair) for pair in zip(a.features[metric.name], b.features[metric.name])]  # real, fake: (2, n, d)
    frame = np.arange(len(which))
    found = []
    for swap in product((0, 1), repeat=len(people) - 1):
        side = np.array([0, *swap])[which]
        one, other = (metric.value(sides[0][s, frame], sides[1][s, frame], a.person) for s in (side, 1 - side))
        found.append(abs(one - other))
    return float((np.array(found) >= found[0] * (1 - 1e-9)).mean())
