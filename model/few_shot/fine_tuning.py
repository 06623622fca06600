"""Few-shot learning by fine-tuning (section 3.3): G' and D' of one person are trained further on its T frames.

L' = L'_CNT + L'_ADV over psi (G's own weights) and psi', L'_DSC over theta, w' and b. E and P are not used. Only copies of G
and D are changed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from model.few_shot.adversarial import Adversarial, Precision, autocast, discriminator_loss, finite, generator_terms, weighted
from model.few_shot.networks import Discriminator, Generator
from model.training.optim import Adam


class Budget(BaseModel):
    """Steps and learning rates for `shots` frames or more."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    shots: int
    steps: int
    lr: float
    lr_D: float


class Tuning(BaseModel):
    """Settings of fine-tuning. The paper: 40 epochs in batches of 8, that is 40, 40 and 160 steps for 1, 8 and 32 frames."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    batch: int
    adam: Adam
    final: float  # fraction of the learning rate at the end; it falls linearly
    start: float  # fraction of the steps before D is used: 0 as in the paper, 1 never (its third ablation)
    budgets: list[Budget]

    def budget(self, T: int) -> Budget:
        """The budget with the most shots not above T; the smallest if all are above."""
        ordered = sorted(self.budgets, key=lambda budget: budget.shots)
        return [budget for budget in ordered if budget.shots <= T or budget is ordered[0]][-1]


class FineTuning:
    """One person's G', psi', D' and w', and their fine-tuning."""

    def __init__(self, G: Generator, D: Discriminator, e_new: Tensor) -> None:
        """psi' = P e_new and w' = w_0 + e_new become parameters. G and D are copied."""
        self.G = copy.deepcopy(G).train()
        self.D = copy.deepcopy(D, {id(D.W): D.W}).train()  # W is not used and not copied
        with torch.no_grad():
            self.psi_prime = nn.Parameter(G.P(e_new).detach().clone())  # (1, adaptive)
            self.w_prime = nn.Parameter((D.w_0 + e_new).detach().clone())  # (1, N)
        self.learnt_G = [p for name, p in self.G.named_parameters() if not name.startswith("P.")]
        self.learnt_D = [p for name, p in self.D.named_parameters() if name != "w_0"]
        for parameter in (*self.learnt_G, *self.learnt_D):
            parameter.requires_grad_(True)

    def learn(self, x: Tensor, y: Tensor, *, tuning: Tuning, content: nn.Module, weights: Adversarial,
              precision: Precision, seed: int, report: Callable[[int, int], None] | None = None) -> None:
        """Fine-tunes on x, y (T, 3, H, W). InputError when a term is not finite."""
        budget = tuning.budget(len(x))
        optimiser_G = tuning.adam.over([self.psi_prime, *self.learnt_G], budget.lr)
        optimiser_D = tuning.adam.over([self.w_prime, *self.learnt_D], budget.lr_D)
        for step, rows in zip(range(budget.steps), _batches(len(x), tuning.batch, seed)):
            D = self.D if step >= tuning.start * budget.steps else None
            share = 1 - (1 - tuning.final) * step / budget.steps
            optimiser_G.param_groups[0]["lr"], optimiser_D.param_groups[0]["lr"] = budget.lr * share, budget.lr_D * share
            with autocast(precision, x.device):
                x_hat = self.G(y[rows], self.psi_prime)
                terms = generator_terms(content, D, x[rows], y[rows], x_hat, self.w_prime)
            finite(terms, step, "the new person")
            optimiser_G.zero_grad()
            weighted(terms, {"l_adv": weights.realism, "l_fm": weights.features}).backward()
            optimiser_G.step()
            for _ in range(weights.d_steps if D is not None else 0):
                with autocast(precision, x.device):
                    l_dsc = discriminator_loss(self.D, x[rows], y[rows], x_hat, self.w_prime)
                finite({"l_dsc": l_dsc}, step, "the new person")
                optimiser_D.zero_grad()
                l_dsc.backward()
                optimiser_D.step()
            if report:
                report(step + 1, budget.steps)


def _batches(T: int, batch: int, seed: int) -> Iterator[Tensor]:
    """Yields row indices of shuffled epochs forever; every batch is full if T allows."""
    order = torch.Generator().manual_seed(seed)
    waiting = torch.empty(0, dtype=torch.int64)
    while True:
        while len(waiting) < min(batch, T):
            waiting = torch.cat([waiting, torch.randperm(T, generator=order)])
        yield waiting[:min(batch, T)]
        waiting = waiting[min(batch, T):]
