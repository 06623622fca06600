"""PSNR: mean squared error of the pixel values in decibels, per frame, then averaged."""

from __future__ import annotations

import numpy as np

from eval.scoring.metric import PerFrame

MOST = 100.0  # dB: of equal frames. Two 8-bit frames of 256 px that differ by 1 in one value have 101 dB, of 64 px 89 dB


class Psnr(PerFrame):
    """10 log10 (1 / MSE), MSE = 1/(3HW) Σ (x − x̂)², at most 100 dB."""

    label, better, unit, range = "PSNR", "higher", "dB", (0.0, MOST)
    compares = ("the real and the generated frame, 10 log10 (1/MSE) over pixels and RGB channels, data range 1; decibels are "
                f"averaged over frames; equal frames, whose ratio is infinite, count as {MOST:g} dB")

    def per_frame(self, real: np.ndarray, fake: np.ndarray, points: np.ndarray) -> np.ndarray:
        error = ((real.astype(np.float64) - fake) ** 2).mean(axis=(1, 2, 3))
        return -10 * np.log10(np.maximum(error, 10 ** (-MOST / 10)))  # (n,)


COLUMNS = ("psnr",)
METRIC = Psnr
