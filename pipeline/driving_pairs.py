"""Driving by another person: which frames of which people drive each test person."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pipeline.core.config import Strict

if TYPE_CHECKING:
    from pipeline.episodes import Subject

INDEX = "cross.parquet"  # beside index.parquet: person, driver, row of the driver's frame, place in the shards


class Config(Strict):
    """The section `cross` of params.yaml."""

    drivers: int  # people who drive each test person; 0: nothing is driven by others
    frames: int  # of each driver


def drivers(subjects: Sequence[Subject], n: int, config: Config) -> list[tuple[str, int]]:
    """(driver, row of one of their hold-out frames) for each frame that test person n is to draw.

    The drivers are the next people in the split's order, the first after the last; nobody drives themselves, so that of few
    people fewer drive. Their frames are evenly spaced in their list of hold-out frames, all of them where it is no longer.
    """
    found = []
    for step in range(1, min(config.drivers, len(subjects) - 1) + 1):
        driver = subjects[(n + step) % len(subjects)]
        count = min(config.frames, len(driver.holdout))
        found += [(driver.person, int(driver.holdout[j * len(driver.holdout) // count])) for j in range(count)]
    return found


def rows(driven: Sequence[tuple[str, int]]) -> np.ndarray:
    """The rows alone, (n,) int64."""
    return np.array([row for _, row in driven], np.int64)
