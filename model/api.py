"""The interface every method implements: learn on episodes, adapt to one person, draw frames."""

from __future__ import annotations

import ctypes
import difflib
import importlib
import pkgutil
import sys
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
    """What the data decide, not the configuration."""

    size: int  # height and width of the images, pixels
    num_videos: int  # columns of W; one a training video, mirrored ones included


class Settings(BaseModel):
    """What the configuration of every method has; a method that learns adds its own."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    size: int  # height and width of the images, pixels
    steps: int  # updates of meta-learning; 0: nothing is learnt
    batch: PositiveInt  # episodes an update
    K: PositiveInt  # source frames of an episode


class Learning(Settings):
    """What the configuration of every method that learns has besides."""

    threads: PositiveInt  # of the training process; another number gives other last bits
    augment: dict[str, Any]  # the reader of episodes knows its keys
    log_every: PositiveInt  # steps
    save_every: PositiveInt


class Episode(NamedTuple):
    """One meta-learning batch (paper, section 3.2). Images are RGB in [0, 1]."""

    x_t: Tensor  # (B, 3, H, W) target frame x_i(t), never among the sources
    y_t: Tensor  # (B, 3, H, W) its landmark image y_i(t)
    x_s: Tensor  # (B, K, 3, H, W) source frames x_i(s_k)
    y_s: Tensor  # (B, K, 3, H, W) their landmark images
    i: Tensor  # (B,) int64, the video: column of W


class Head:
    """One person's talking head: landmark images (or driving frames) in, frames out."""

    def __init__(self, draw: Callable[[Tensor], Tensor], size: int) -> None:
        self._draw, self._size = draw, size

    @torch.no_grad()
    def __call__(self, pose: Tensor) -> Tensor:
        """pose (N, 3, H, W) in [0, 1] -> frames (N, 3, H, W) in [0, 1]; InputError on any other shape, range or NaN."""
        want = (pose.shape[0], 3, self._size, self._size)
        if tuple(pose.shape) != want:
            raise InputError(f"a head of size {self._size} is driven by images (N, 3, {self._size}, {self._size}); "
                             f"got {tuple(pose.shape)}: resize the driving images")
        x_hat = self._draw(pose).float()
        if tuple(x_hat.shape) != want or not bool(((x_hat >= 0) & (x_hat <= 1)).all()):
            raise InputError(f"the method drew {tuple(x_hat.shape)} in [{x_hat.min():.3g}, {x_hat.max():.3g}] "
                             f"where {want} in [0, 1] is due: clamp or convert inside the method")
        return x_hat


class Method(ABC):
    """A few-shot talking-head method. Its file in model/methods/ names the subclass `METHOD`."""

    name: ClassVar[str]
    label: str  # as the table prints it
    driven_by: ClassVar[Literal["landmarks", "frames"]] = "landmarks"
    fine_tunes: ClassVar[bool] = False  # `adapt` takes gradient steps: worth a process a person
    shares_batches: ClassVar[bool] = False  # `learn` runs in several processes (model/training/distributed.py)
    Config: ClassVar[type[Settings]] = Settings

    def __init__(self, config: Any, facts: DataInfo, seed: int = 0) -> None:
        self.config, self.facts, self.seed = config, facts, seed

    def prepare(self) -> str:
        """Before the first update: takes the pretrained weights that the configuration names -> what those were trained on."""
        return ""

    def learn(self, episode: Episode) -> dict[str, float]:
        """One meta-learning update; returns the scalars to log. A method without any learns nothing."""
        return {}

    @abstractmethod
    def adapt(self, x: Tensor, y: Tensor, seed: int = 0, report: Callable[[int, int], None] | None = None) -> Head:
        """x, y (T, 3, H, W): frames and landmark images of one new person -> Head. Leaves the method as it was.

        `report(done, steps)` is called after each fine-tuning step (progress, timing).
        """

    def backbones(self) -> dict[str, str]:
        """Foreign networks that learning makes use of: file -> sha256."""
        return {}

    @property
    def nets(self) -> dict[str, nn.Module]:
        """The networks that `adapt` uses, by name."""
        return {}

    def parameters(self) -> int:
        """Parameter count of `nets`."""
        return sum(value.numel() for module in self.nets.values() for value in module.parameters())

    def weights(self) -> dict[str, Tensor]:
        """What `adapt` needs, by name: the tensors of `nets`."""
        return {name: value.contiguous() for name, value in self._tensors().items()}

    @torch.no_grad()
    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Takes what `weights` returned, whole or not at all; InputError when a name or shape differs."""
        due = self._tensors()
        for name in sorted(due.keys() ^ weights.keys()):
            raise InputError(f"weights: {name!r} is {'missing' if name in due else 'unknown'}; train with the present networks")
        for name, value in due.items():
            if value.shape != weights[name].shape:
                raise InputError(f"weights: {name!r} is {tuple(weights[name].shape)} where {tuple(value.shape)} is due; "
                                 "train with the present networks")
        for name, value in due.items():
            value.copy_(weights[name])

    def _tensors(self) -> dict[str, Tensor]:
        return {f"{net}.{key}": value for net, module in self.nets.items() for key, value in module.state_dict().items()}

    def state(self) -> dict[str, Any]:
        """Everything needed to go on bit for bit: networks, optimisers, averages, step."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Takes what `state` returned."""

    def save_table(self, path: Path) -> None:
        """Streams a table of one row a video to that file, where the method has one. It is no part of `state`."""

    def load_table(self, path: Path) -> None:
        """Takes what `save_table` wrote."""

    def preview(self, x: Tensor, y: Tensor) -> Head:
        """What a look at a training under way is drawn with: `adapt`, or something cheaper where that fine-tunes."""
        return self.adapt(x, y)


def load(name: str) -> type[Method]:
    """The method of that name; only its own file is imported, so that no other method's change concerns it."""
    import model.methods as methods

    known = sorted(module.name for module in pkgutil.iter_modules(methods.__path__))
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]!r}" if near else "the known ones are " + ", ".join(known)
        raise InputError(f"methods: there is no method {name!r} in model/methods/; {hint}?")
    _keep_memory()
    found: type[Method] = importlib.import_module(f"model.methods.{name}").METHOD
    return found


def _keep_memory() -> None:
    """Has glibc keep what is freed for what comes next. By itself it gives each large block back to the system, which clears
    its pages anew a moment later: on a CPU a sixth of a step's time, and ten times that of a ReLU of a wide map."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:
        for option, value in ((-4, 0), (-1, -1), (-2, 1 << 26)):  # M_MMAP_MAX, M_TRIM_THRESHOLD, M_TOP_PAD: malloc.h
            mallopt(option, value)
