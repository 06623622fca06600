"""Trivial baseline: the source frame whose landmarks are nearest to the driving landmarks.

A head is driven by landmark images, so "nearest" means the smallest L2 distance between blurred landmark images. Without the
blur, thin lines one pixel apart would count as far apart as lines on opposite sides.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from model.api import Head, Method

CELLS, BLUR = 64, 9  # cells along each side; width of the blur in cells


class Copy(Method):
    """The source frame with the nearest landmark image."""
    name, label = "copy", "Nearest source frame"

    def adapt(self, x: Tensor, y: Tensor, seed: int = 0, report: Callable[[int, int], None] | None = None) -> Head:
        frames, known = x.clone(), _blurred(y)
        return Head(lambda pose: frames[torch.cdist(_blurred(pose), known).argmin(1)], self.facts.size)


def _blurred(y: Tensor) -> Tensor:
    """(N, 3, H, W) -> (N, 3 CELLS^2)"""
    return F.avg_pool2d(F.adaptive_avg_pool2d(y, CELLS), BLUR, 1, BLUR // 2).flatten(1)


METHOD = Copy
