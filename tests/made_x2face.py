"""X2Face small: with random weights, episodes of noise, and its weights under the published names."""

from pathlib import Path

import torch
from small import X2FACE as SETTINGS

from model.api import DataInfo, Episode
from model.methods.x2face import Config, X2Face
from model.published import parity_x2face as compare

STAGE2 = {"start": 1, "lr": 1e-4, "same": 1.0, "other": 0.1}


def make(**changes) -> X2Face:
    """Small; its running statistics are those of nothing in particular, so that they matter."""
    one = X2Face(Config.model_validate({**SETTINGS, **changes}), DataInfo(changes.get("size", 16), 6))
    compare.take(one, compare.weights(one, None, False))
    return one


def pictures(*shape: int, seed: int = 0, size: int = 16) -> torch.Tensor:
    return torch.rand(*shape, 3, size, size, generator=torch.Generator().manual_seed(seed))


def episode(step: int, videos: tuple[int, ...] = (0, 1, 2), K: int = 2) -> Episode:
    n, i = len(videos), torch.tensor(videos)
    return Episode(pictures(n, seed=2 * step), pictures(n), pictures(n, K, seed=2 * step + 1), pictures(n, K), i)


def in_their_names(one: X2Face) -> dict[str, torch.Tensor]:
    weights = one.weights()
    return {theirs: weights[ours].clone() for theirs, ours in one.published("").items()}


def stored(content, path: Path, **options) -> Path:
    torch.save(content, path, **options)
    return path
