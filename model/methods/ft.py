"""FT, fine-tuning (section 4): trained with L_MCH; psi', psi, theta, w' and b are fine-tuned for each person."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from torch import Tensor

from model.api import DataInfo, Head, Settings
from model.few_shot import meta_learning
from model.few_shot.fine_tuning import FineTuning, Tuning
from model.few_shot.meta_learning import FewShot, Matching


class Config(meta_learning.Config):
    """Settings of FF, L_MCH and fine-tuning."""

    matching: Matching
    tuning: Tuning


class FT(FewShot):
    """FewShot with L_MCH, and fine-tuning of each person."""
    name, label = "ft", "Ours-FT"
    Config: ClassVar[type[Settings]] = Config
    keeps_D = fine_tunes = True

    def __init__(self, config: Any, facts: DataInfo, seed: int = 0) -> None:
        super().__init__(config, facts, seed)
        self.matching = config.matching

    def adapt(self, x: Tensor, y: Tensor, seed: int = 0, report: Callable[[int, int], None] | None = None) -> Head:
        tuned = self.start(x, y)
        tuned.learn(x.to(self.place), y.to(self.place), tuning=self.config.tuning, content=self.content,
                    weights=self.config.adversarial, precision=self.config.precision, seed=seed, report=report)
        return self.head(tuned.G, tuned.psi_prime)

    def preview(self, x: Tensor, y: Tensor) -> Head:
        """The head of FF, without fine-tuning."""
        return super().adapt(x, y)

    def start(self, x: Tensor, y: Tensor) -> FineTuning:
        """The person before the first fine-tuning step: generates exactly what FF does with these weights."""
        return FineTuning(self.G_mean, self.D, self.embed(x, y))


METHOD = FT
