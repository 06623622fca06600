"""Trivial baseline: the mean of the T frames, for every pose."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from model.api import Head, Method


class Mean(Method):
    """The mean of the T frames, for every pose."""
    name, label = "mean", "Mean of T frames"

    def adapt(self, x: Tensor, y: Tensor, seed: int = 0, report: Callable[[int, int], None] | None = None) -> Head:
        mean = x.mean(0, keepdim=True).clamp(0, 1)  # (1, 3, H, W)
        return Head(lambda pose: mean.expand(len(pose), -1, -1, -1), self.facts.size)


METHOD = Mean
