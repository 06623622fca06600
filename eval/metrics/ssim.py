"""SSIM of Wang, Bovik, Sheikh, Simoncelli 2004 with the settings of their paper, and two variants that others report as SSIM.

The settings change the value more than T = 1 -> 8 does, so they are part of the name. All use C1 = 0.01², C2 = 0.03², data
range 1 and only windows that lie wholly inside the frame.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from eval.scoring.metric import PerFrame
from pipeline.core.errors import InputError

C1, C2 = 0.01**2, 0.03**2
SIGMA, GAUSSIAN, UNIFORM = 1.5, 5, 3  # of the Gaussian; radii of the windows
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
WINDOWS = {  # column -> label in the table, description, radius
    "ssim": ("SSIM", "as in Wang et al. 2004: Gaussian window 11x11, σ 1.5, population covariance, data range 1, RGB channels "
                     "averaged, windows wholly inside the frame", GAUSSIAN),
    "ssim_skimage": ("SSIM (scikit-image)", "as scikit-image's structural_similarity does by default: uniform window 7x7, "
                     "sample covariance, data range 1, RGB channels averaged, windows wholly inside the frame", UNIFORM),
    "ssim_gray": ("SSIM (gray)", "on the luma (BT.601, not rounded): Gaussian window 11x11, σ 1.5, population covariance, data "
                  "range 1, windows wholly inside the frame", GAUSSIAN),
}


class Ssim(PerFrame):
    """(2 μ_x μ_y + C1)(2 σ_xy + C2) / ((μ_x² + μ_y² + C1)(σ_x² + σ_y² + C2)), mean over windows and channels."""

    better, unit, range = "higher", "1 = equal", (-1.0, 1.0)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.label, words, self.radius = WINDOWS[self.name]
        self.main, self.compares = self.name == "ssim", f"the real and the generated frame {words}"

    def per_frame(self, real: np.ndarray, fake: np.ndarray, points: np.ndarray) -> np.ndarray:
        side = 2 * self.radius + 1
        if min(real.shape[-2:]) < side:
            raise InputError(f"{self.name}: frames of {real.shape[-1]}x{real.shape[-2]} pixels are smaller than its "
                             f"{side}x{side} "
                             "window; use frames of 16 px or more")
        window, factor = (_gaussian, 1.0) if self.radius == GAUSSIAN else (_uniform, side**2 / (side**2 - 1))
        inside = partial(_inside, window, self.radius)
        return np.array([_ssim(self._plane(x), self._plane(y), inside, factor) for x, y in zip(real, fake)])  # (n,)

    def _plane(self, image: np.ndarray) -> np.ndarray:
        """(3, H, W) -> (H, W, 3) or, of the luma, (H, W): float64, in float32 the variances of flat regions would be lost."""
        x = np.ascontiguousarray(image.transpose(1, 2, 0), np.float64)
        return x @ np.array(LUMA) if self.name == "ssim_gray" else x


def _ssim(x: np.ndarray, y: np.ndarray, mean: Callable[[np.ndarray], np.ndarray], factor: float) -> float:
    """x, y (H, W[, 3]); mean: over the windows; factor: of the (co)variances, n/(n − 1) for the sample covariance."""
    mu_x, mu_y, xy = mean(x), mean(y), mean(x * y)
    product, squares = mu_x * mu_y, mu_x**2 + mu_y**2
    spread = factor * (mean(x * x + y * y) - squares)  # σ_x² + σ_y²: only their sum is needed
    s = (2 * product + C1) * (2 * factor * (xy - product) + C2) / ((squares + C1) * (spread + C2))
    return float(s.mean())


def _inside(window: Callable[[np.ndarray], np.ndarray], radius: int, x: np.ndarray) -> np.ndarray:
    """Means over the windows that lie wholly inside: (H, W[, 3]) -> (H − 2 radius, W − 2 radius[, 3])."""
    return window(x)[radius:-radius, radius:-radius]


def _gaussian(x: np.ndarray) -> np.ndarray:
    import cv2

    g = np.exp(-0.5 * (np.arange(-GAUSSIAN, GAUSSIAN + 1) / SIGMA) ** 2)
    return cv2.sepFilter2D(x, -1, g / g.sum(), g / g.sum())


def _uniform(x: np.ndarray) -> np.ndarray:
    import cv2

    return cv2.blur(x, (2 * UNIFORM + 1,) * 2)


COLUMNS = tuple(WINDOWS)
METRIC = Ssim
