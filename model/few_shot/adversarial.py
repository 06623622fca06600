"""The two halves of every update, in meta-learning and fine-tuning: the losses of G (with E, P) and of D (with W)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, PositiveInt
from torch import Tensor, nn

from model.few_shot import losses
from model.few_shot.networks import Discriminator
from pipeline.core.errors import InputError

Precision = Literal["auto", "bf16", "fp32"]


class Adversarial(BaseModel):
    """L_ADV = -D(x_hat) + L_FM, and how often D is updated."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    realism: float  # weight of -D(x_hat); 1 in the paper
    features: float  # weight of L_FM; 10 in the paper
    start: int  # meta-learning step from which D is trained and its terms used; 0 in the paper
    d_steps: PositiveInt  # updates of D per update of G


def device() -> torch.device:
    """The first CUDA GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def compute_dtype(precision: Precision, place: torch.device) -> torch.dtype:
    """bfloat16 if set, or with "auto" if the processor multiplies it natively; else float32."""
    if precision == "auto":
        native = torch.cuda.is_bf16_supported(False) if place.type == "cuda" else torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if precision == "bf16" or (precision == "auto" and native) else torch.float32


def autocast(precision: Precision, place: torch.device) -> AbstractContextManager[None]:
    """Context in which matrix products and convolutions use that precision; the weights stay in float32."""
    return torch.autocast(place.type, torch.bfloat16, enabled=compute_dtype(precision, place) == torch.bfloat16)


@contextmanager
def frozen(net: nn.Module) -> Iterator[None]:
    """Context in which `net` is constant: gradients reach its input, but not its own weights."""
    trainable = [parameter for parameter in net.parameters() if parameter.requires_grad]
    for parameter in trainable:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)


def generator_terms(content: nn.Module, D: Discriminator | None, x: Tensor, y: Tensor, x_hat: Tensor,
                    w: Tensor | None) -> dict[str, Tensor]:
    """Loss terms of x_hat (B, 3, H, W): l_cnt and, with a D, l_adv = -D(x_hat) and l_fm. D's weights get no gradient."""
    terms = {"l_cnt": content(x, x_hat)}
    if D is not None and w is not None:
        with torch.no_grad():
            _, real = D(x, y, w)
        with frozen(D):
            r_hat, fake = D(x_hat, y, w.detach())
        terms |= {"l_adv": -r_hat.mean(), "l_fm": losses.l_fm(real, fake)}
    return terms


def discriminator_loss(D: Discriminator, x: Tensor, y: Tensor, x_hat: Tensor, w: Tensor) -> Tensor:
    """L_DSC on real and fake in one batch; no gradient reaches G."""
    r, _ = D(torch.cat([x, x_hat.detach()]), torch.cat([y, y]), w if len(w) == 1 else torch.cat([w, w]))
    return losses.l_dsc(*r.chunk(2))


def weighted(terms: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """Sum of the terms times their weights; terms without a weight count once."""
    return torch.stack([weights.get(name, 1.0) * term for name, term in terms.items()]).sum()


def finite(terms: Mapping[str, Tensor], step: int, who: str) -> dict[str, float]:
    """The terms as floats. InputError, naming step, term and videos or person, when one is not finite."""
    numbers = {name: float(term.detach()) for name, term in terms.items()}
    for name, number in numbers.items():
        if not math.isfinite(number):
            raise InputError(f"step {step}: {name} is {number} on {who}; lower the learning rate, set precision to fp32, "
                             "or inspect those frames")
    return numbers
