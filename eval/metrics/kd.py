"""Kernel distance of image features, named after the features: `kd_efflite0` is not KID and not comparable with it."""

from __future__ import annotations

import numpy as np

from eval.scoring.features import EffLite0
from eval.scoring.metric import OfSets

WORDS = ("unbiased MMD² with the kernel (<x, y>/d + 1)³; pairs of frames of the same video (here: of the same person) are "
         "excluded from the sums within the sets and across them: a generated frame is not independent of the real frames that "
         "drive it. May be below 0. Not averaged over subsets")


class Kernel(OfSets):
    """MMD²_u = mean k(x, x') + mean k(y, y') − 2 mean k(x, y), k(x, y) = (<x, y>/d + 1)³ (Bińkowski et al. 2018, section 4).

    Each mean is over the pairs of frames of different people.
    """

    better, unit, range = "lower", "squared kernel distance", (-float("inf"), float("inf"))

    def value(self, real: np.ndarray, fake: np.ndarray, whose: np.ndarray) -> float:
        return mmd2(real, fake, whose, whose)

    def resampled(self, real: np.ndarray, fake: np.ndarray, whose: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """The distance of each resample -> (R,); NaN for a resample of a single person. Copies of a person are one person."""
        w = counts.astype(np.float64)
        return _mmd2(real, fake, whose, whose, w, w)


def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """x (n, d), y (m, d) -> (n, m) float64."""
    inner: np.ndarray = x.astype(np.float64) @ y.astype(np.float64).T
    return (inner / x.shape[1] + 1) ** 3


def mmd2(x: np.ndarray, y: np.ndarray, whose_x: np.ndarray, whose_y: np.ndarray) -> float:
    """Unbiased MMD² of x (n, d) and y (m, d) with labels (n,), (m,): pairs with equal labels are excluded; NaN without a pair.

    If all labels differ, this is the textbook estimator.
    """
    return float(_mmd2(x, y, whose_x, whose_y, np.ones((1, len(x))), np.ones((1, len(y))))[0])


def _mmd2(x: np.ndarray, y: np.ndarray, whose_x: np.ndarray, whose_y: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """`mmd2` under R weightings u (R, n), v (R, m) of the frames -> (R,)."""
    return (_mean(kernel(x, x), whose_x, whose_x, u, u) + _mean(kernel(y, y), whose_y, whose_y, v, v)
            - 2 * _mean(kernel(x, y), whose_x, whose_y, u, v))


def _mean(k: np.ndarray, a: np.ndarray, b: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Weighted mean of the entries of k (n, m) whose labels a (n,), b (m,) differ -> (R,)."""
    apart = a[:, None] != b
    pairs = (u @ apart * v).sum(axis=1)
    return np.divide((u @ (k * apart) * v).sum(axis=1), pairs, out=np.full(len(u), np.nan), where=pairs > 0)


class KernelEffLite0(EffLite0, Kernel):
    """Kernel distance of EfficientNet-Lite0 features."""

    label = "KD (EfficientNet-Lite0)"
    compares = (f"kernel distance of the pooled EfficientNet-Lite0 features (1280): {WORDS}; {EffLite0.recipe}. NOT a KID: "
                f"another network, another scale")


COLUMNS = ("kd_efflite0",)
METRIC = KernelEffLite0
