"""The interface of every method: train on episodes, adapt to one person, generate frames."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, PositiveInt
from torch import Tensor, nn

from pipeline.core.errors import InputError


@dataclass(frozen=True)
class DataInfo:
    """Sizes that come from the data, not from the configuration."""

    size: int  # height and width of the images, pixels
    num_videos: int  # columns of W: one per training video, mirrored ones included


class Settings(BaseModel):
    """Settings of every method; a trained method adds its own."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    size: int  # height and width of the images, pixels
    steps: int  # meta-learning updates; 0: no training
    batch: PositiveInt  # episodes per update
    K: PositiveInt  # source frames per episode


class Learning(Settings):
    """Additional settings of every trained method."""

    threads: PositiveInt  # CPU threads of the training process; another number changes the last bits
    augment: dict[str, Any]  # augmentation; its keys are defined by the episode reader
    log_every: PositiveInt  # steps
    save_every: PositiveInt


class Episode(NamedTuple):
    """One meta-learning batch (paper, section 3.2). Images are RGB in [0, 1]."""

    x_t: Tensor  # (B, 3, H, W) target frame x_i(t), never one of the source frames
    y_t: Tensor  # (B, 3, H, W) its landmark image y_i(t)
    x_s: Tensor  # (B, K, 3, H, W) source frames x_i(s_k)
    y_s: Tensor  # (B, K, 3, H, W) their landmark images
    i: Tensor  # (B,) int64, index of the video: its column of W


class Head:
    """One person's talking head: takes landmark images (or driving frames), returns frames."""

    def __init__(self, generate: Callable[[Tensor], Tensor], size: int) -> None:
        self._generate, self._size = generate, size

    @torch.no_grad()
    def __call__(self, pose: Tensor) -> Tensor:
        """pose (N, 3, H, W) in [0, 1] -> frames (N, 3, H, W) in [0, 1]; InputError on any other shape, range or NaN."""
        expected = (pose.shape[0], 3, self._size, self._size)
        if tuple(pose.shape) != expected:
            raise InputError(f"a head of size {self._size} takes driving images (N, 3, {self._size}, {self._size}), "
                             f"got {tuple(pose.shape)}: resize the driving images")
        x_hat = self._generate(pose).float()
        if tuple(x_hat.shape) != expected or not bool(((x_hat >= 0) & (x_hat <= 1)).all()):
            raise InputError(f"the method generated {tuple(x_hat.shape)} in [{x_hat.min():.3g}, {x_hat.max():.3g}], "
                             f"expected {expected} in [0, 1]: clamp or convert inside the method")
        return x_hat


class Method(ABC):
    """A few-shot talking-head method. Its file in model/methods/ assigns the subclass to `METHOD`."""

    name: ClassVar[str]
    label: str  # row label in the tables
    driven_by: ClassVar[Literal["landmarks", "frames"]] = "landmarks"
    fine_tunes: ClassVar[bool] = False  # `adapt` takes gradient steps, so people are adapted in parallel processes
    shares_batches: ClassVar[bool] = False  # `learn` can split a batch over processes (model/training/distributed.py)
    Config: ClassVar[type[Settings]] = Settings

    def __init__(self, config: Any, facts: DataInfo, seed: int = 0) -> None:
        self.config, self.facts, self.seed = config, facts, seed

    def prepare(self) -> str:
        """Loads the pretrained weights named in the configuration, before the first update -> the data they were trained on."""
        return ""

    def learn(self, episode: Episode) -> dict[str, float]:
        """Makes one meta-learning update and returns the scalars to log; a method without training returns none."""
        return {}

    @abstractmethod
    def adapt(self, x: Tensor, y: Tensor, seed: int = 0, report: Callable[[int, int], None] | None = None) -> Head:
        """x, y (T, 3, H, W): frames and landmark images of one new person -> Head. Does not change the method.

        `report(done, steps)` is called after each fine-tuning step (progress, timing).
        """

    def backbones(self) -> dict[str, str]:
        """Third-party networks used in training: file -> sha256."""
        return {}

    @property
    def nets(self) -> dict[str, nn.Module]:
        """The networks that `adapt` uses, by name."""
        return {}

    def parameters(self) -> int:
        """Parameter count of `nets`."""
        return sum(value.numel() for module in self.nets.values() for value in module.parameters())

    def weights(self) -> dict[str, Tensor]:
        """Tensors of `nets` by name: all that `adapt` needs."""
        return {name: value.contiguous() for name, value in self._tensors().items()}

    @torch.no_grad()
    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Loads what `weights` returned, all of it or nothing; InputError when a name or shape differs."""
        own = self._tensors()
        for name in sorted(own.keys() ^ weights.keys()):
            raise InputError(f"weights: {name!r} is {'missing' if name in own else 'unknown'}; train again with these networks")
        for name, value in own.items():
            if value.shape != weights[name].shape:
                raise InputError(f"weights: {name!r} has shape {tuple(weights[name].shape)}, expected {tuple(value.shape)}; "
                                 "train again with these networks")
        for name, value in own.items():
            value.copy_(weights[name])

    def _tensors(self) -> dict[str, Tensor]:
        return {f"{net}.{key}": value for net, module in self.nets.items() for key, value in module.state_dict().items()}

    def state(self) -> dict[str, Any]:
        """Everything needed to resume bit for bit: networks, optimisers, moving averages, step."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Loads what `state` returned."""

    def save_table(self, path: Path) -> None:
        """Streams the table of one row per video to `path`, if the method has one. It is not part of `state`."""

    def load_table(self, path: Path) -> None:
        """Loads what `save_table` wrote."""

    def preview(self, x: Tensor, y: Tensor) -> Head:
        """The head shown in previews during training: `adapt`, or a cheaper one if `adapt` fine-tunes."""
        return self.adapt(x, y)


def load(name: str) -> type[Method]:
    """Returns the method of that name; imports only its own file, so that changes of other methods do not affect it."""
    import model.methods as methods

    known = sorted(module.name for module in pkgutil.iter_modules(methods.__path__))
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]!r}" if near else "the known ones are " + ", ".join(known)
        raise InputError(f"methods: there is no method {name!r} in model/methods/; {hint}?")
    found: type[Method] = importlib.import_module(f"model.methods.{name}").METHOD
    return found
