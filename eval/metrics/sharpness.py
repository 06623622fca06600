"""Sharpness match: gradient magnitude of the generated frame against the real one. Noise (more) is as wrong as blur (less)."""

from __future__ import annotations

import numpy as np

from eval.metrics.ssim import LUMA
from eval.scoring.metric import PerFrame


class Sharpness(PerFrame):
    """min(r, 1/r), r = g(x̂)/g(x), g the mean gradient magnitude of the luma: 1 = as sharp as the real frame."""

    label, better, unit, range = "sharpness match", "higher", "1 = as sharp as the real frame", (0.0, 1.0)
    compares = ("mean gradient magnitude sqrt(dx² + dy²) of the luma (BT.601; forward differences, without the last row and "
                "column) of the generated and of the real frame, the smaller over the larger; two flat frames: 1. It says "
                "nothing about the content of the frame")

    def per_frame(self, real: np.ndarray, fake: np.ndarray, points: np.ndarray) -> np.ndarray:
        low, high = np.sort([gradient(real), gradient(fake)], axis=0)
        return np.divide(low, high, out=np.ones(len(real)), where=high > 0)  # (n,)


def gradient(images: np.ndarray) -> np.ndarray:
    """(n, 3, H, W) -> (n,): mean gradient magnitude of the luma per pixel."""
    y = np.tensordot(images.astype(np.float64), LUMA, axes=(1, 0))  # (n, H, W)
    dx, dy = y[:, :-1, 1:] - y[:, :-1, :-1], y[:, 1:, :-1] - y[:, :-1, :-1]
    return np.asarray(np.sqrt(dx**2 + dy**2).mean(axis=(1, 2)))


COLUMNS = ("sharpness",)
METRIC = Sharpness
