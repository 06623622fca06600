"""L1: mean absolute difference of pixel values."""

import numpy as np

from eval.scoring.metric import PerFrame


class L1(PerFrame):
    """1/(3HW) Σ |x − x̂|."""

    label, better, unit, range, main = "L1", "lower", "of the full range [0, 1]", (0.0, 1.0), True
    compares = "the real and the generated frame, mean over pixels and RGB channels of |x − x̂|, values in [0, 1]"

    def per_frame(self, real: np.ndarray, fake: np.ndarray, points: np.ndarray) -> np.ndarray:
        return np.abs(real.astype(np.float64) - fake).mean(axis=(1, 2, 3))  # (n,)


COLUMNS = ("l1",)
METRIC = L1
