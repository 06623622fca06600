"""SSIM of Wang, Bovik, Sheikh, Simoncelli 2004, with the settings of their paper.

The settings move the value more than T = 1 -> 8 does, so they are part of the name: 11x11 Gaussian window of σ 1.5, population
covariance, C1 = 0.01², C2 = 0.03², data range 1, each RGB channel by itself and then averaged, windows that lie wholly inside.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from eval.metric import PerFrame
from pipeline.config import Refused

if TYPE_CHECKING:
    from torch import Tensor

SIGMA, RADIUS, C1, C2 = 1.5, 5, 0.01**2, 0.03**2
BATCH = 16  # frames at once: bounds memory, does not change the value


class Ssim(PerFrame):
    """(2 μ_x μ_y + C1)(2 σ_xy + C2) / ((μ_x² + μ_y² + C1)(σ_x² + σ_y² + C2)), mean over windows and channels."""

    label, better, unit, range = "SSIM", "higher", "1 = equal", (-1.0, 1.0)
    compares = ("the real and the generated frame as in Wang et al. 2004: Gaussian window 11x11, σ 1.5, population covariance, "
                "data range 1, RGB channels averaged, windows wholly inside the frame")

    def per_frame(self, real: np.ndarray, fake: np.ndarray, points: np.ndarray) -> np.ndarray:
        import torch

        if min(real.shape[-2:]) <= 2 * RADIUS:
            raise Refused(f"ssim: frames of {real.shape[-1]}x{real.shape[-2]} pixels are smaller than its 11x11 window; "
                          "use frames of 16 px or more")
        pairs = zip(torch.from_numpy(real).split(BATCH), torch.from_numpy(fake).split(BATCH))
        return torch.cat([_ssim(x, y) for x, y in pairs]).numpy()  # (n,)


def _ssim(x: Tensor, y: Tensor) -> Tensor:
    """x, y (n, 3, H, W) -> (n,) float64."""
    mu_x, mu_y = _window(x), _window(y)
    # variances do not change under a shift; with values around 0 less is lost to cancellation in float32
    u, v = x - 0.5, y - 0.5
    mu_u, mu_v = mu_x - 0.5, mu_y - 0.5
    var_x, var_y, cov = _window(u * u) - mu_u**2, _window(v * v) - mu_v**2, _window(u * v) - mu_u * mu_v
    s = (2 * mu_x * mu_y + C1) * (2 * cov + C2) / ((mu_x**2 + mu_y**2 + C1) * (var_x + var_y + C2))
    return s.double().mean(dim=(1, 2, 3))


def _window(x: Tensor) -> Tensor:
    """Gaussian-weighted means over the windows inside: (n, 3, H, W) -> (n, 3, H-10, W-10)."""
    import torch
    import torch.nn.functional as F

    g = torch.exp(-0.5 * (torch.arange(-RADIUS, RADIUS + 1, dtype=torch.float64) / SIGMA) ** 2)
    g = (g / g.sum()).float().expand(x.shape[1], 1, 1, -1)
    return F.conv2d(F.conv2d(x, g, groups=x.shape[1]), g.transpose(2, 3), groups=x.shape[1])


COLUMNS = ("ssim",)
METRIC = Ssim
