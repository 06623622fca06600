"""NME: distance of the generated frame's landmarks from the driving ones, in units of the inter-ocular distance."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from eval.scoring.features import Redetected
from pipeline.landmarks import landmark_image


class Nme(Redetected):
    """1/68 Σ_k |p_k − p̂_k| / |p_36 − p_45|, p the real frame's points, p̂ those detected in the generated frame.

    Normalised by the distance of the OUTER eye corners; by that of the eye centres (Zakharov et al. 2020) values are larger.
    """

    better, unit, range = "lower", "of the outer eye corners' distance", (0.0, float("inf"))
    columns: ClassVar = {"nme_interocular_dlib68": "dlib68", "nme_interocular_fan": "fan"}

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.label = f"NME inter-ocular ({self.landmarks})"
        self.compares = (f"68 landmarks detected by {self.landmarks} in the generated frame and those of the real frame: mean "
                         f"distance over the distance of the real outer eye corners; {self.BOX}")

    def per_frame(self, real: np.ndarray, fake: np.ndarray, points: np.ndarray) -> np.ndarray:
        truth = points.astype(np.float64)
        truth[np.linalg.norm(truth[:, 45] - truth[:, 36], axis=-1) < 1] = np.nan  # no face has its eyes in one pixel
        return landmark_image.nme(self.found(fake, points), truth).mean(axis=1)  # (n,)


COLUMNS = tuple(Nme.columns)
METRIC = Nme
