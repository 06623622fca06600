"""SSIM of Wang, Bovik, Sheikh, Simoncelli 2004, with the settings of their paper.

The settings move the value more than T = 1 -> 8 does, so they are part of the name: 11x11 Gaussian window of σ 1.5, population
covariance, C1 = 0.01², C2 = 0.03², data range 1, each RGB channel by itself and then averaged, windows that lie wholly inside.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from eval.metric import PerFrame
from pipeline.config import Refused

SIGMA, RADIUS, C1, C2 = 1.5, 5, 0.01**2, 0.03**2


class Ssim(PerFrame):
    """(2 μ_x μ_y + C1)(2 σ_xy + C2) / ((μ_x² + μ_y² + C1)(σ_x² + σ_y² + C2)), mean over windows and channels."""

    label, better, unit, range = "SSIM", "higher", "1 = equal", (-1.0, 1.0)
    compares = ("the real and the generated frame as in Wang et al. 2004: Gaussian window 11x11, σ 1.5, population covariance, "
                "data range 1, RGB channels averaged, windows wholly inside the frame")

    def per_frame(self, real: np.ndarray, fake: np.ndarray, points: np.ndarray) -> np.ndarray:
        if min(real.shape[-2:]) <= 2 * RADIUS:
            raise Refused(f"ssim: frames of {real.shape[-1]}x{real.shape[-2]} pixels are smaller than its 11x11 window; "
                          "use frames of 16 px or more")
        return np.array([_ssim(x.astype(np.float64), y.astype(np.float64)) for x, y in zip(real, fake)])  # (n,)


def _ssim(x: np.ndarray, y: np.ndarray) -> float:
    """x, y (3, H, W) float64: in float32 the variances of flat regions would be lost to cancellation."""
    mu_x, mu_y = _window(x), _window(y)
    var_x, var_y, cov = _window(x * x) - mu_x**2, _window(y * y) - mu_y**2, _window(x * y) - mu_x * mu_y
    s = (2 * mu_x * mu_y + C1) * (2 * cov + C2) / ((mu_x**2 + mu_y**2 + C1) * (var_x + var_y + C2))
    return float(s.mean())


def _window(x: np.ndarray) -> np.ndarray:
    """Gaussian-weighted means over the windows inside: (3, H, W) -> (3, H-10, W-10)."""
    return _band(x.shape[-2]) @ x @ _band(x.shape[-1]).T


@lru_cache
def _band(n: int) -> np.ndarray:
    """(n-10, n): row j holds the window at j. A product with it is several times faster than a convolution in float64."""
    g = np.exp(-0.5 * (np.arange(-RADIUS, RADIUS + 1) / SIGMA) ** 2)
    band = np.zeros((n - 2 * RADIUS, n))
    for j in range(len(band)):
        band[j, j:j + len(g)] = g / g.sum()
    return band


COLUMNS = ("ssim",)
METRIC = Ssim
