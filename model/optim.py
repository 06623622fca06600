"""Optimisers: Adam with a schedule counted in steps, and Adam for the few rows of W that a batch touches."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn


class Schedule(BaseModel):
    """Learning rates rise linearly over `warm_up` steps, stay, and fall linearly from step `decay_from` to `final` of them."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    warm_up: int
    decay_from: int
    final: float

    def factor(self, step: int, steps: int) -> float:
        """Share of the full learning rate at `step` of `steps` (both counted from 0)."""
        rise = min(1.0, (step + 1) / max(self.warm_up, 1))
        past = max(0, step - self.decay_from) / max(steps - self.decay_from, 1)
        return rise * (1 - (1 - self.final) * min(past, 1.0))


class Adam(BaseModel):
    """What every Adam of a run has in common."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    beta1: float
    beta2: float
    eps: float

    def over(self, parameters: Iterable[nn.Parameter], lr: float) -> torch.optim.Adam:
        return torch.optim.Adam(parameters, lr=lr, betas=(self.beta1, self.beta2), eps=self.eps, fused=True)


class RowAdam:
    """Adam over the rows of one matrix with a sparse gradient: rows outside the batch, and their moments, stay bit-identical.

    Each row counts its own steps: with one clock for all, a row first seen late would take a step many times too long.
    """

    def __init__(self, weight: nn.Parameter, adam: Adam) -> None:
        self.weight, self.adam = weight, adam
        self.m, self.v = torch.zeros_like(weight), torch.zeros_like(weight)
        self.steps = torch.zeros(weight.shape[0], 1, device=weight.device)

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Moves the rows that have a gradient, and clears it."""
        if self.weight.grad is None:
            return
        gradient = self.weight.grad.coalesce()
        rows, g = gradient.indices()[0], gradient.values()
        beta1, beta2 = self.adam.beta1, self.adam.beta2
        self.m[rows] = m = torch.lerp(g, self.m[rows], beta1)
        self.v[rows] = v = torch.lerp(g * g, self.v[rows], beta2)
        self.steps[rows] += 1
        n = self.steps[rows]
        self.weight[rows] -= lr * (m / (1 - beta1**n)) / ((v / (1 - beta2**n)).sqrt() + self.adam.eps)
        self.weight.grad = None

    def state(self) -> dict[str, Tensor]:
        return {"m": self.m, "v": self.v, "steps": self.steps}

    def load_state(self, state: dict[str, Any]) -> None:
        for name, value in self.state().items():
            value.copy_(state[name])
