"""Meta-learning (section 3.2): E, P and G learn to generate an unseen frame of a video from K others, against D.

FF stops here and generates with psi_hat = P e_hat; FT is then fine-tuned per person (model/few_shot/fine_tuning.py).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveInt
from torch import Tensor, nn

from model.api import DataInfo, Episode, Head, Learning, Method, Settings
from model.few_shot import losses
from model.few_shot.adversarial import (
    Adversarial,
    Precision,
    autocast,
    compute_dtype,
    device,
    discriminator_loss,
    finite,
    generator_terms,
    weighted,
)
from model.few_shot.folded_generator import folded
from model.few_shot.networks import Discriminator, Embedder, Generator, Networks
from model.training import distributed
from model.training.optim import Adam, Schedule
from pipeline.core.errors import InputError

CHUNK = 16  # frames embedded or generated at a time without gradients


class Matching(BaseModel):
    """L_MCH: its weight for each of the two sides, ê and W_i; equal in the paper."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    weight_e: float  # weight of L_MCH in the gradient of E
    weight_w: float  # weight of L_MCH in the gradient of W_i


class Guard(BaseModel):
    """When to stop because the embedding has collapsed, that is, e_hat no longer distinguishes videos."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    after: int  # steps
    spread: float  # smallest standard deviation of e_hat over videos, mean over its N components


class Config(Learning):
    """Settings of a few-shot method without fine-tuning."""

    micro_batch: PositiveInt  # episodes per process and backward pass; at or above its share of the batch: all at once
    precision: Precision
    networks: Networks
    content: Annotated[losses.Vgg | losses.Pyramid, Field(discriminator="kind")]
    adversarial: Adversarial
    adam: Adam
    lr: float  # of E, P and G
    lr_D: float
    lr_W: float  # a rarely sampled column moves by up to 1 / sqrt(1 - beta2) as much: model/few_shot/video_embeddings.py
    schedule: Schedule
    ema_decay: float  # decay of the moving average of E and G used for generation; 0 = the weights themselves
    guard: Guard


class FewShot(Method):
    """What FF and FT share: networks, one meta-learning update, state, and generation with psi_hat = P e_hat."""

    Config: ClassVar[type[Settings]] = Config
    shares_batches = True
    matching: Matching | None = None
    keeps_D = False  # whether `adapt` needs the discriminator

    def __init__(self, config: Any, facts: DataInfo, seed: int = 0) -> None:
        super().__init__(config, facts, seed)
        self.place, self.step, self.spread = device(), 0, -1.0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.E = Embedder(config.networks, facts.size).to(self.place)
            self.G = Generator(config.networks, facts.size).to(self.place)
            self.D = Discriminator(config.networks, facts.size, facts.num_videos).to(self.place)
        self.E_mean = copy.deepcopy(self.E).requires_grad_(False).eval()
        self.G_mean = copy.deepcopy(self.G).requires_grad_(False).eval()

    @cached_property
    def content(self) -> losses.Content:
        return losses.Content(self.config.content).to(self.place)

    @cached_property
    def optimisers(self) -> dict[str, torch.optim.Adam]:
        return {"EG": self.config.adam.over([*self.E.parameters(), *self.G.parameters()], self.config.lr),
                "D": self.config.adam.over(self.D.parameters(), self.config.lr_D)}

    def learn(self, episode: Episode) -> dict[str, float]:
        """Updates phi, psi, P, then theta, w_0, b and the batch's columns of W, with one forward pass of G.

        `episode` is this process's share of the batch; the returned scalars are those of the whole batch. InputError, in all
        processes, when a term is not finite or the embedding has collapsed.
        """
        episode = self._received(episode)
        factor = self.config.schedule.factor(self.step, self.config.steps)
        for name, lr in (("EG", self.config.lr), ("D", self.config.lr_D)):
            for group in self.optimisers[name].param_groups:
                group["lr"] = lr * factor
        adversarial = self.step >= self.config.adversarial.start
        e, x_hat, terms = self._learn_generator(episode, adversarial)
        if adversarial or self.matching:
            terms |= self._learn_discriminator(episode, e, x_hat, adversarial, self.config.lr_W * factor)
        self._average()
        terms = distributed.mean(terms) | self._watch(distributed.gathered(e), distributed.gathered(episode.i))
        self.step += 1
        return terms

    def _learn_generator(self, episode: Episode, adversarial: bool) -> tuple[Tensor, Tensor, dict[str, float]]:
        weights = self.config.adversarial
        matching = self.matching.weight_e if self.matching else 0.0
        e, x_hat, shares = [], [], []
        self.optimisers["EG"].zero_grad()
        for part in self._parts(episode):
            x, y = part.x_t, part.y_t
            with autocast(self.config.precision, self.place):
                e.append(self.E.each(part.x_s, part.y_s))  # (B, K, N)
                x_hat.append(self.G(y, self.G.P(e[-1].mean(1))))
                w_i = self.D.W(part.i).detach()
                terms = generator_terms(self.content, self.D if adversarial else None, x, y, x_hat[-1], w_i + self.D.w_0)
            if self.matching:
                terms["l_mch"] = losses.l_mch(e[-1], w_i)
            shares.append(self._backward(terms, {"l_adv": weights.realism, "l_fm": weights.features, "l_mch": matching},
                                         part, episode))
            e[-1], x_hat[-1] = e[-1].detach(), x_hat[-1].detach()
        self._update("EG", self.E, self.G)
        return torch.cat(e), torch.cat(x_hat), _summed(shares)

    def _learn_discriminator(self, episode: Episode, e: Tensor, x_hat: Tensor, adversarial: bool,
                             lr_W: float) -> dict[str, float]:
        matching = self.matching.weight_w if self.matching else 0.0
        for _ in range(self.config.adversarial.d_steps):
            w, shares = self.D.W(episode.i), []
            self.optimisers["D"].zero_grad()
            split = (whole.split(self.config.micro_batch) for whole in (e, x_hat, w))
            for part, e_i, x_hat_i, w_i in zip(self._parts(episode), *split):
                terms = {}
                if adversarial:
                    with autocast(self.config.precision, self.place):
                        terms["l_dsc"] = discriminator_loss(self.D, part.x_t, part.y_t, x_hat_i, w_i + self.D.w_0)
                if self.matching:
                    terms["l_mch_W"] = losses.l_mch(e_i, w_i)
                shares.append(self._backward(terms, {"l_mch_W": matching}, part, episode))
            self._update("D", self.D)
            assert w.grad is not None
            self.D.W.step(episode.i, w.grad, lr_W, self.config.adam)
        return {name: number for name, number in _summed(shares).items() if name == "l_dsc"}

    def _parts(self, episode: Episode) -> Iterator[Episode]:
        """Yields `micro_batch` episodes at a time; u and v of spectral norm are updated in the first part only."""
        nets, several = (self.E, self.G, self.D), len(episode.i) > self.config.micro_batch
        for n, part in enumerate(zip(*(whole.split(self.config.micro_batch) for whole in episode))):
            if several:
                for net in nets:
                    net.train(n == 0)
            yield Episode(*part)
        if several:
            for net in nets:
                net.train()

    def _backward(self, terms: dict[str, Tensor], weights: dict[str, float], part: Episode, whole: Episode) -> dict[str, float]:
        """Adds the gradients of a part, weighted by its share of the batch -> each term, weighted in the same way."""
        share = len(part.i) / len(whole.i)
        with distributed.together():
            numbers = finite(terms, self.step, "videos " + ", ".join(map(str, part.i.tolist())))
        (share * weighted(terms, weights)).backward()
        return {name: share * number for name, number in numbers.items()}

    def _update(self, name: str, *nets: nn.Module) -> None:
        """Makes an optimiser step with the gradients of all parts and processes."""
        distributed.mean_gradients(parameter for net in nets for parameter in net.parameters())
        self.optimisers[name].step()

    def _received(self, episode: Episode) -> Episode:
        size, last = self.facts.size, int(episode.i.max())
        if episode.x_t.shape[1:] != (3, size, size) or last >= self.facts.num_videos:
            raise InputError(f"an episode has targets {tuple(episode.x_t.shape)} of videos up to {last}, but the method is for "
                             f"{size} px and {self.facts.num_videos} videos: make both from the same data")
        return Episode(*(part.to(self.place) for part in episode))

    @torch.no_grad()
    def _average(self) -> None:
        """Updates the moving averages of E and G, with a smaller decay in early steps to forget the initial weights."""
        decay = min(self.config.ema_decay, (1 + self.step) / (10 + self.step))
        for averaged, net in ((self.E_mean, self.E), (self.G_mean, self.G)):
            torch._foreach_lerp_([*averaged.parameters()], [*net.parameters()], 1 - decay)
            torch._foreach_copy_([*averaged.buffers()], [*net.buffers()])  # u and v of the spectral norm

    def _watch(self, e: Tensor, i: Tensor) -> dict[str, float]:
        """Mean |e_hat|, and its spread over the videos of a batch averaged over recent steps. InputError on collapse."""
        e_hat = torch.stack([e[i == video].mean((0, 1)) for video in i.unique()])
        if len(e_hat) > 1:
            now = float(e_hat.std(0).mean())
            self.spread = now if self.spread < 0 else 0.9 * self.spread + 0.1 * now
            if self.step >= self.config.guard.after and self.spread < self.config.guard.spread:
                raise InputError(f"step {self.step}: the embedding has collapsed: its spread over videos is {self.spread:.2g} "
                                 f"(guard.spread: {self.config.guard.spread}); lower matching.weight_e or the learning rate")
        return {"e_hat": float(e_hat.abs().mean()), "spread": max(self.spread, 0.0)}

    def backbones(self) -> dict[str, str]:
        from model.backbones import registry

        return registry.hashes(*losses.backbones_of(self.config.content))

    @property
    def nets(self) -> dict[str, nn.Module]:
        nets: dict[str, nn.Module] = {"E": self.E_mean, "G": self.G_mean}
        return nets | ({"D": self.D} if self.keeps_D else {})

    @torch.no_grad()
    def embed(self, x: Tensor, y: Tensor) -> Tensor:
        """x, y (T, 3, H, W) -> e_hat_NEW (1, N), the mean over the T frames."""
        with autocast(self.config.precision, self.place):
            parts = [self.E_mean(a, b) for a, b in zip(x.to(self.place).split(CHUNK), y.to(self.place).split(CHUNK))]
        return torch.cat(parts).mean(0, keepdim=True)

    def adapt(self, x: Tensor, y: Tensor, seed: int = 0, report: Callable[[int, int], None] | None = None) -> Head:
        """The head with psi_hat = P e_hat_NEW; no weight is changed."""
        with torch.no_grad():
            return self.head(self.G_mean, self.G_mean.P(self.embed(x, y)))

    def head(self, G: Generator, psi_hat: Tensor) -> Head:
        """G and psi_hat (1, adaptive) -> the person's head, which shares no tensors with them."""
        own = folded(G, psi_hat, compute_dtype(self.config.precision, self.place))

        def generate(pose: Tensor) -> Tensor:
            frames = [own(part) for part in pose.to(self.place).split(CHUNK)]
            return torch.cat(frames).to(pose.device) if frames else pose

        return Head(generate, self.facts.size)

    def state(self) -> dict[str, Any]:
        return {"step": self.step, "spread": self.spread, "E": self.E.state_dict(), "G": self.G.state_dict(),
                "D": self.D.state_dict(), "E_mean": self.E_mean.state_dict(),
                "G_mean": self.G_mean.state_dict(), "updates_W": self.D.W.t,
                **{f"optimiser_{name}": optimiser.state_dict() for name, optimiser in self.optimisers.items()}}

    def load_state(self, state: dict[str, Any]) -> None:
        self.step, self.spread = state["step"], state["spread"]
        for name in ("E", "G", "D", "E_mean", "G_mean"):
            getattr(self, name).load_state_dict(state[name])
        self.D.W.t = state["updates_W"]
        for name, optimiser in self.optimisers.items():
            optimiser.load_state_dict(state[f"optimiser_{name}"])

    def save_table(self, path: Path) -> None:
        self.D.W.save(path)

    def load_table(self, path: Path) -> None:
        self.D.W.load(path)


def _summed(shares: list[dict[str, float]]) -> dict[str, float]:
    return {name: sum(share[name] for share in shares) for name in shares[0]}
