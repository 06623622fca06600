"""Cross-reenactment: which frames of which people drive each test person."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pipeline.core.config import Strict

if TYPE_CHECKING:
    from pipeline.episodes import Subject

INDEX = "cross.parquet"  # beside index.parquet: person, driver, row of the driving frame, location in the shards


class Config(Strict):
    """The section `cross` of params.yaml."""

    drivers: int  # people who drive each test person; 0: no cross-reenactment
    frames: int  # driving frames of each of them


def drivers(subjects: Sequence[Subject], n: int, config: Config) -> list[tuple[str, int]]:
    """(driving person, row of the driving frame) of each cross-reenactment frame of test person n.

    The driving people are the next ones in the split's order, cyclically, never the person themselves; with few people there
    are fewer of them. Their frames are evenly spaced in their list of hold-out frames, or all of it if it is shorter.
    """
    found = []
    for step in range(1, min(config.drivers, len(subjects) - 1) + 1):
        driver = subjects[(n + step) % len(subjects)]
        count = min(config.frames, len(driver.holdout))
        found += [(driver.person, int(driver.holdout[j * len(driver.holdout) // count])) for j in range(count)]
    return found


def rows(driven: Sequence[tuple[str, int]]) -> np.ndarray:
    """The rows of the driving frames, (n,) int64."""
    return np.array([row for _, row in driven], np.int64)
