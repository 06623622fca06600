"""Landmark distance in pixels, like AKD of Siarohin et al. 2019 (FOMM) but with our detectors: not comparable with theirs."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from eval.scoring.features import Redetected

SIDE = 256  # px: the size whose pixels are the unit


class Akd(Redetected):
    """1/136 Σ |p − p̂| over both coordinates of the 68 points, in pixels of a frame 256 wide."""

    better, unit, range = "lower", f"pixels of {SIDE}", (0.0, float("inf"))
    columns: ClassVar = {"akd_dlib68": "dlib68", "akd_fan": "fan"}

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.label = f"AKD-like ({self.landmarks})"
        self.compares = (f"68 landmarks detected by {self.landmarks} in the generated frame and those of the real frame: mean "
                         f"absolute difference of the coordinates in pixels of {SIDE}, like FOMM's AKD but NOT comparable with "
                         f"it (FOMM detects both with face-alignment); {self.BOX}")

    def per_frame(self, real: np.ndarray, fake: np.ndarray, points: np.ndarray) -> np.ndarray:
        apart = np.abs(self.found(fake, points) - points).mean(axis=(1, 2))
        return np.asarray(apart * SIDE / real.shape[-1])  # (n,)


COLUMNS = tuple(Akd.columns)
METRIC = Akd
