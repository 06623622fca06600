"""A method small enough for a test: 16 px, a few channels, random frozen features instead of trained ones."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from model.api import DataInfo, Episode, Method, load
from model.few_shot.networks import Networks

SIZE, VIDEOS, N = 16, 6, 8
NETWORKS: dict[str, Any] = {"embedder": [4, N], "generator": [4, 8], "res_blocks": 1, "attention_down": [8],
                            "attention_up": [8], "pooling": "relu-sum", "output": "tanh", "spectral": "all"}
SETTINGS: dict[str, Any] = {
    "size": SIZE, "steps": 12, "batch": 3, "K": 2, "threads": 1, "augment": {}, "micro_batch": 8, "precision": "fp32",
    "networks": NETWORKS,
    "content": {"kind": "pyramid", "weight": 5.0, "scales": 2, "gradient": 0.5, "perceptual": 1.0, "levels": [1.0, 1.0]},
    "adversarial": {"realism": 1.0, "features": 10.0, "start": 0, "d_steps": 2},
    "adam": {"beta1": 0.5, "beta2": 0.999, "eps": 1e-8}, "lr": 1e-3, "lr_D": 1e-3, "lr_W": 1e-2,
    "schedule": {"warm_up": 2, "decay_from": 6, "final": 0.1}, "ema_decay": 0.9, "guard": {"after": 1000, "spread": 0.0},
    "log_every": 3, "save_every": 5}
FT_ONLY: dict[str, Any] = {
    "matching": {"weight_e": 0.1, "weight_w": 1.0},
    "tuning": {"batch": 8, "adam": {"beta1": 0.5, "beta2": 0.999, "eps": 1e-8}, "final": 0.1, "start": 0.0,
               "budgets": [{"shots": 1, "steps": 2, "lr": 1e-3, "lr_D": 1e-3},
                           {"shots": 8, "steps": 3, "lr": 1e-3, "lr_D": 1e-3}]}}
X2FACE: dict[str, Any] = {
    "size": SIZE, "steps": 12, "batch": 3, "K": 2, "threads": 1, "augment": {}, "log_every": 3, "save_every": 5,
    "pretrained": None, "precision": "fp32", "ngf": 4, "combine": "weighted",
    "optimiser": {"kind": "adam", "lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8},
    "schedule": {"warm_up": 1, "decay_from": 12, "final": 1.0}, "plateau": None, "stage2": None}
PIX2PIXHD: dict[str, Any] = {
    "size": SIZE, "steps": 12, "batch": 3, "K": 2, "threads": 1, "augment": {}, "micro_batch": 8, "precision": "fp32",
    "pretrained": None, "networks": {"ngf": 4, "downsamplings": 2, "blocks": 1, "padding": "zero", "ndf": 4, "scales": 2},
    "features": 10.0, "vgg": False, "adam": {"beta1": 0.5, "beta2": 0.999, "eps": 1e-8}, "lr": 2e-4,
    "schedule": {"warm_up": 1, "decay_from": 6, "final": 0.0},
    "tuning": {"epochs": 2, "max_steps": None, "batch": 8, "lr": 2e-4}, "log_every": 3, "save_every": 5}


class Eyes(nn.Module):
    """Two frozen feature maps of an image; stands in for a trained network."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.a, self.b = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 2, 1)
        self.seen: list[Tensor] = []

    def taps(self, x: Tensor) -> list[Tensor]:
        self.seen.append(x.detach())
        a = self.a(x).relu()
        return [a, self.b(a).relu()]


def networks(**changes: Any) -> Networks:
    return Networks.model_validate({**NETWORKS, **changes})


def method(name: str, **changes: Any) -> Method:
    """Call it under the fixture `eyes`."""
    kind = load(name)
    return kind(kind.Config.model_validate({**settings(name), **changes}), DataInfo(SIZE, VIDEOS), seed=0)


def settings(name: str) -> dict[str, Any]:
    """The method's section of the configuration."""
    return {"ff": SETTINGS, "ft": {**SETTINGS, **FT_ONLY}, "x2face": X2FACE, "pix2pixhd": PIX2PIXHD}[name]


def episode(step: int, videos: list[int] | None = None) -> Episode:
    """Frames that differ from video to video in colour."""
    draw = torch.Generator().manual_seed(step)
    i = torch.tensor(videos) if videos else torch.randperm(VIDEOS, generator=draw)[:3]
    colour = torch.rand(VIDEOS, 3, 1, 1, generator=torch.Generator().manual_seed(7))[i]

    def frames(*shape: int) -> Tensor:
        return torch.rand(*shape, 3, SIZE, SIZE, generator=draw)

    x_s = (0.5 * frames(len(i), 2) + 0.5 * colour[:, None]).contiguous()
    return Episode(0.5 * frames(len(i)) + 0.5 * colour, frames(len(i)), x_s, frames(len(i), 2), i)


def person(T: int) -> tuple[Tensor, Tensor]:
    """T frames and landmark images of somebody new."""
    draw = torch.Generator().manual_seed(100)
    return tuple(torch.rand(2, 32, 3, SIZE, SIZE, generator=draw)[:, :T])  # type: ignore[return-value]
