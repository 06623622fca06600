"""Adam and its learning-rate schedule. The optimiser of W is in model/few_shot/video_embeddings.py."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from pydantic import BaseModel, ConfigDict
from torch import nn


class Schedule(BaseModel):
    """Linear rise over `warm_up` steps, constant, linear fall from step `decay_from` to the fraction `final` at the end."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    warm_up: int
    decay_from: int
    final: float

    def factor(self, step: int, steps: int) -> float:
        """Fraction of the full learning rate at `step` of `steps` (counted from 0)."""
        rise = min(1.0, (step + 1) / max(self.warm_up, 1))
        past = max(0, step - self.decay_from) / max(steps - self.decay_from, 1)
        return rise * (1 - (1 - self.final) * min(past, 1.0))


class Adam(BaseModel):
    """Settings that all Adam optimisers of a run share."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    beta1: float
    beta2: float
    eps: float

    def over(self, parameters: Iterable[nn.Parameter], lr: float) -> torch.optim.Adam:
        return torch.optim.Adam(parameters, lr=lr, betas=(self.beta1, self.beta2), eps=self.eps, fused=True)
