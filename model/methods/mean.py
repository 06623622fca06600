"""A floor: whatever the pose, the mean of the T frames."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from pydantic import BaseModel, ConfigDict
from torch import Tensor

from model.api import Episode, Head, Method


class Config(BaseModel):
    """Nothing is learnt: steps is 0."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    size: int  # pixels
    steps: int
    batch: int
    K: int


class Mean(Method):
    name, label = "mean", "Mean of T frames"
    Config: ClassVar[type[BaseModel]] = Config

    def learn(self, episode: Episode) -> dict[str, float]:
        return {}

    def adapt(self, x: Tensor, y: Tensor, seed: int = 0, report: Callable[[int, int], None] | None = None) -> Head:
        mean = x.mean(0, keepdim=True).clamp(0, 1)  # (1, 3, H, W)
        return Head(lambda pose: mean.expand(len(pose), -1, -1, -1), self.facts.size)


METHOD = Mean
