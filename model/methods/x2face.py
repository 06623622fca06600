"""X2Face (Wiles, Koepke, Zisserman, ECCV 2018): frames are warped into one embedded face, and that by the driving frame.

Written from a description of the published networks (github.com/oawiles/X2Face, UnwrapMosaic/): the same layers under the same
weights, so that its checkpoints load; `python -m model.published.parity_x2face` holds both against each other. A person is
learnt by one pass over its T frames, without a gradient. The driver is the RGB frame itself: in self-reenactment that is the
ground truth.

Training. Stage I is the L1 between the drawn frame and the driver, another frame of the sources' video: all that the published
script does, and all that others retrain with. Stage II was never published and its author will not (issue 5 there). Known of
it: content losses of a face network, no adversarial loss, one driver from the sources' video and one from another, terms of one
identity scaled to the photometric loss layer by layer, those of two to a tenth of it, a learning rate of 1e-4. Not known, and
chosen here: the layers (conv1_1 to conv5_1 of VGG16 in model/backbones/perceptual.py; the original has conv2-5 and conv7 of an
11-layer net), the scale (each step's own), the pairing (the next video of the batch, at times of the same person) and the
source that a frame driven from another video is held against (the first).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from model.api import DataInfo, Episode, Head, Settings
from model.backbones import perceptual, registry
from model.few_shot.adversarial import Precision, autocast, device, finite
from model.published import importer
from model.published.importer import Baseline
from model.training import optim
from pipeline.core.errors import InputError

BOTTLENECK = 128  # numbers that say everything about pose and expression, at every size
CHUNK = 8  # frames embedded or drawn at a time: memory does not grow with T
FLOOR = 0.1  # of the confidence exp(o) + 0.1


class Sgd(BaseModel):
    """The authors' optimiser: 1e-3 and 0.9."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    kind: Literal["sgd"]
    lr: float
    momentum: float

    def over(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """The optimiser of these parameters."""
        return torch.optim.SGD(parameters, lr=self.lr, momentum=self.momentum)


class Adam(BaseModel):
    """For short runs: with the authors' optimiser those end at the source, unmoved."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    kind: Literal["adam"]
    lr: float
    beta1: float
    beta2: float
    eps: float

    def over(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """The optimiser of these parameters."""
        return optim.Adam(beta1=self.beta1, beta2=self.beta2, eps=self.eps).over(parameters, self.lr)


class Plateau(BaseModel):
    """The learning rate falls where the training loss no longer does."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    every: int  # steps whose mean loss is one observation
    patience: int  # observations in a row without a new least loss that are borne
    factor: float  # of the learning rate after one more


@dataclass
class Watch:
    """How the photometric loss has gone on so far."""

    seen: list[float] = field(default_factory=list)  # since the last observation
    least: float = float("inf")
    borne: int = 0  # observations since the least
    share: float = 1.0  # of the learning rate that is left

    def observe(self, l_pix: float, plateau: Plateau) -> None:
        """Lowers the share on a plateau. What counts as lower is what torch's ReduceLROnPlateau takes for it: by 1e-4."""
        self.seen.append(l_pix)
        if len(self.seen) < plateau.every:
            return
        mean, self.seen = sum(self.seen) / len(self.seen), []
        if mean < self.least * (1 - 1e-4):
            self.least, self.borne = mean, 0
        else:
            self.borne += 1
        if self.borne > plateau.patience:
            self.share, self.borne = self.share * plateau.factor, 0


class StageTwo(BaseModel):
    """Content losses after stage I; as far as they are known, see the head of this file."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    start: int  # step
    lr: float
    same: float  # size of each layer's term against the photometric loss where driver and source are one person; 1
    other: float  # and where the driver is of another video; 0.1


class Config(importer.Config):
    """X2Face: sizes, how the sources are combined, and its training."""

    precision: Precision
    ngf: int  # channels after the first convolution; 64 in the published weights
    combine: Literal["mean", "weighted"]  # the paper averages, the published code weights by confidence
    optimiser: Annotated[Sgd | Adam, Field(discriminator="kind")]
    schedule: optim.Schedule
    plateau: Plateau | None
    stage2: StageTwo | None


class Hourglass(nn.Module):
    """Down to 1 x 1 by 4x4 convolutions of stride 2, and up again by bilinear doubling and 3x3 convolutions; no biases.

    x (N, 3, size, size) -> (N, outputs, size, size). With skips, what went down is put behind what comes up (up first).
    """

    def __init__(self, outputs: int, size: int, ngf: int, skips: bool, bottleneck: int) -> None:
        super().__init__()
        depth = size.bit_length() - 1
        widths = [*(ngf * min(2**n, 8) for n in range(depth - 1)), bottleneck]
        below = [(1 + skips) * width for width in widths[:-1]] + [bottleneck]
        self.skips = skips
        self.down = nn.ModuleList(nn.Conv2d(a, b, 4, 2, 1, bias=False) for a, b in zip([3, *widths], widths))
        self.down_norm = nn.ModuleList(nn.BatchNorm2d(width) for width in widths[1:-1])  # none at either end
        self.up = nn.ModuleList(nn.Conv2d(a, b, 3, 1, 1, bias=False) for a, b in zip(below, [outputs, *widths]))
        self.up_norm = nn.ModuleList(nn.BatchNorm2d(width) for width in widths[:-1])
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_normal_(module.weight)
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.02, 1.0)  # as published; N(1, 0.02) was meant, it seems

    def forward(self, x: Tensor) -> Tensor:
        last, went = len(self.down) - 1, []
        for n, down in enumerate(self.down):
            x = down(F.leaky_relu(x, 0.2) if n else x)
            if 0 < n < last:
                x = self.down_norm[n - 1](x)
            went.append(x)
        for n in range(last, -1, -1):
            x = self.up[n](F.interpolate(F.relu(x), scale_factor=2, mode="bilinear", align_corners=True))
            if n:
                x = self.up_norm[n - 1](x)
                x = torch.cat([x, went[n - 1]], 1) if self.skips else x
        return x.float() if x.dtype == torch.bfloat16 else x  # places are added to and looked up in full precision


class Driving(Hourglass):
    """The driving network: no skips, so that the bottleneck says all, and a tanh as its own last layer."""

    def __init__(self, size: int, ngf: int) -> None:
        super().__init__(2, size, ngf, False, BOTTLENECK)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).tanh()


class Embedding(Hourglass):
    """The embedding network: two channels of offsets before their tanh, and the logarithm of a confidence."""

    def __init__(self, size: int, ngf: int) -> None:
        super().__init__(3, size, ngf, True, 8 * ngf)


def warp(x: Tensor, offset: Tensor) -> Tensor:
    """x (N, C, H, W) looked up at its own places plus offset (N, 2, H, W): x and y, in half sides. Outside is black.

    align_corners: the corners of [-1, 1]² are the centres of the corner pixels, as they were for every torch before 1.3.
    """
    height, width = x.shape[-2:]
    rows, columns = (torch.linspace(-1, 1, n, dtype=torch.float64).to(x.device, torch.float32) for n in (height, width))
    here = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), 2)  # (H, W, 2)
    return F.grid_sample(x, here + offset.permute(0, 2, 3, 1), "bilinear", "zeros", align_corners=True)


class X2Face(Baseline):
    """Embeds frames by warping, combines them, and warps the result by a driving frame."""

    name, label = "x2face", "X2Face"
    driven_by = "frames"
    shares_batches = False  # batch norm and stage II look at the whole batch
    Config: ClassVar[type[Settings]] = Config
    kinds = ("the networks' file",)
    extras = frozenset({"num_batches_tracked"})  # counters of later torch; nothing is drawn with them

    def __init__(self, config: Any, facts: DataInfo, seed: int = 0) -> None:
        """InputError for a size that halving does not take to 1 x 1, and for a stage II that has no other video."""
        super().__init__(config, facts, seed)
        _check(config, facts.size)
        self.place, self.step = device(), 0
        self.watch = Watch()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.embedding = Embedding(facts.size, config.ngf).to(self.place).eval()
            self.driving = Driving(facts.size, config.ngf).to(self.place).eval()

    def whose(self) -> str:
        if self.config.pretrained and not self.config.steps:
            return "authors' weights"
        second = self.config.stage2 and self.config.stage2.start < self.config.steps
        return "ours, stage I and II" if second else "ours, stage I"

    @property
    def nets(self) -> dict[str, nn.Module]:
        return {"embedding": self.embedding, "driving": self.driving}

    def published(self, kind: str) -> dict[str, str]:
        """The 136 names; theirs nest one level in another."""
        return {f"{theirs}.netG.model{'.submodule' * n}.{place}.{part}": f"{ours}.{name}.{index}.{part}"
                for theirs, ours in (("pix2pixUnwrapped", "embedding"), ("pix2pixSampler", "driving"))
                for n in range(len(self.embedding.down)) for place, name, index, parts in _places(n, len(self.embedding.down))
                for part in parts}

    def embed(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (N, 3, H, W) -> each frame warped into the embedded face, (N, 3, H, W), and its weight c (N, 1, H, W)."""
        with autocast(self.config.precision, self.place):
            o = self.embedding(x)
        c = o[:, 2:].exp() + FLOOR if self.config.combine == "weighted" else torch.ones_like(o[:, 2:])
        return warp(x, o[:, :2].tanh()), c

    def offset(self, driver: Tensor, driving: nn.Module | None = None) -> Tensor:
        """driver (N, 3, H, W) -> (N, 2, H, W) within ± tanh(1): the tanh of a network that itself ends in one."""
        with autocast(self.config.precision, self.place):
            return (driving or self.driving)(driver).tanh()

    def embedded(self, x_s: Tensor) -> Tensor:
        """x_s (B, K, 3, H, W) -> the embedded face (B, 3, H, W) = sum_k c_k face_k / sum_k c_k, for each pixel."""
        faces, c = (part.unflatten(0, x_s.shape[:2]) for part in self.embed(x_s.flatten(0, 1)))
        return (c * faces).sum(1) / c.sum(1)

    def forward(self, x_s: Tensor, driver: Tensor) -> Tensor:
        """x_s (B, K, 3, H, W), driver (B, 3, H, W) -> (B, 3, H, W), not clamped."""
        return warp(self.embedded(x_s), self.offset(driver))

    def learn(self, episode: Episode) -> dict[str, float]:
        """One update of both networks: the target drives, and is the truth. InputError when a term is not finite."""
        episode = self._received(episode)
        videos = "videos " + ", ".join(map(str, episode.i.tolist()))
        if self.config.stage2 and self.step == self.config.stage2.start:
            self.watch = Watch()  # its learning rate is its own
        for group in self.optimiser.param_groups:
            group["lr"] = self.lr()
        self.embedding.train(), self.driving.train()
        try:
            loss, terms = self._losses(episode)
            numbers = finite(terms, self.step, videos)
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()
        finally:
            self.embedding.eval(), self.driving.eval()
        if self.config.plateau:
            self.watch.observe(numbers["l_pix"], self.config.plateau)
        self.step += 1
        return numbers

    def lr(self) -> float:
        """The learning rate of this step."""
        second = self.config.stage2 if self._second() else None
        full = second.lr if second else self.config.optimiser.lr
        return float(full * self.watch.share * self.config.schedule.factor(self.step, self.config.steps))

    def _second(self) -> bool:
        return self.config.stage2 is not None and self.step >= self.config.stage2.start

    @cached_property
    def optimiser(self) -> torch.optim.Optimizer:
        """Of both networks together."""
        return self.config.optimiser.over([*self.embedding.parameters(), *self.driving.parameters()])

    @cached_property
    def eyes(self) -> nn.Module:
        """The frozen face network of stage II."""
        return perceptual.vggface().to(self.place).requires_grad_(False).eval()

    def backbones(self) -> dict[str, str]:
        return super().backbones() | (registry.hashes("vggface_caffe") if self.config.stage2 else {})

    def _losses(self, episode: Episode) -> tuple[Tensor, dict[str, Tensor]]:
        """What is minimised, and the terms to log: stage II's as they are before they are scaled."""
        face = self.embedded(episode.x_s)
        x_hat = warp(face, self.offset(episode.x_t))
        l_pix = F.l1_loss(x_hat, episode.x_t)
        if not self._second():
            return l_pix, {"l_pix": l_pix}
        same, l_same = self._content(episode.x_t, x_hat, l_pix, self.config.stage2.same)
        others = _other_video(episode.i)
        here = others >= 0
        if not bool(here.any()):
            return l_pix + same, {"l_pix": l_pix, "l_same": l_same}
        reenacted = warp(face[here], self.offset(episode.x_t[others[here]]))
        other, l_other = self._content(episode.x_s[here, 0], reenacted, l_pix, self.config.stage2.other)
        return l_pix + same + other, {"l_pix": l_pix, "l_same": l_same, "l_other": l_other}

    def _content(self, x: Tensor, x_hat: Tensor, l_pix: Tensor, share: float) -> tuple[Tensor, Tensor]:
        """sum_l a_l mean |f_l(x) - f_l(x_hat)|, a_l such that each layer weighs share * L_pix; and the same with a_l = 1."""
        with autocast(self.config.precision, self.place):
            with torch.no_grad():
                real = self.eyes.taps(x)  # type: ignore[operator]
            fake = self.eyes.taps(x_hat)  # type: ignore[operator]
        layers = torch.stack([F.l1_loss(b.float(), a.float()) for a, b in zip(real, fake, strict=True)])
        scale = share * l_pix.detach() / layers.detach().clamp_min(1e-12)
        return (scale * layers).sum(), layers.sum()

    def _received(self, episode: Episode) -> Episode:
        size = self.facts.size
        if episode.x_t.shape[1:] != (3, size, size) or episode.x_s.shape[2:] != (3, size, size):
            raise InputError(f"an episode of {tuple(episode.x_t.shape)} targets and {tuple(episode.x_s.shape)} sources met a "
                             f"method of {size} px: make both from the same data")
        return Episode(*(part.to(self.place) for part in episode))

    @torch.no_grad()
    def adapt(self, x: Tensor, y: Tensor, seed: int = 0, report: Callable[[int, int], None] | None = None) -> Head:
        """The embedded face of the T frames, and nothing learnt. y is not looked at."""
        total, weight = torch.zeros(()), torch.zeros(())
        for part in x.split(CHUNK):
            faces, c = self.embed(part.to(self.place))
            total = total.to(c) + (c * faces).sum(0, keepdim=True)
            weight = weight.to(c) + c.sum(0, keepdim=True)
        face, driving = total / weight, copy.deepcopy(self.driving).requires_grad_(False)  # (1, 3, H, W)

        def draw(driver: Tensor) -> Tensor:
            drawn = [warp(face.expand(len(part), -1, -1, -1), self.offset(part, driving)).clamp(0, 1)
                     for part in driver.to(self.place).split(CHUNK)]
            return torch.cat(drawn).to(driver.device)

        return Head(draw, self.facts.size)

    def state(self) -> dict[str, Any]:
        return {"step": self.step, "embedding": self.embedding.state_dict(), "driving": self.driving.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "watch": {**vars(self.watch), "seen": list(self.watch.seen)}}

    def load_state(self, state: dict[str, Any]) -> None:
        self.step = state["step"]
        for name in ("embedding", "driving", "optimiser"):
            getattr(self, name).load_state_dict(state[name])
        self.watch = Watch(**{**state["watch"], "seen": list(state["watch"]["seen"])})


def _check(config: Any, size: int) -> None:
    if size < 8 or size & (size - 1):
        near = max(8, 1 << (size - 1).bit_length())
        raise InputError(f"x2face.size: its networks halve the picture down to one pixel, which {size} px do not allow; set "
                         f"it to "
                         f"a power of 2, and resize the frames to it: {near} is the next")
    if config.stage2 and config.batch < 2:
        raise InputError(f"x2face.stage2: it needs drivers from other videos, and a batch of {config.batch} has none; set "
                         f"batch "
                         "to 2 or more, or stage2 to null")


def _other_video(i: Tensor) -> Tensor:
    """i (B,) -> (B,): the next row of the batch, around its end, that is of another video; -1 where there is none."""
    differs = i[:, None] != i  # (B, B)
    distance = (torch.arange(len(i), device=i.device) - torch.arange(len(i), device=i.device)[:, None]) % len(i)
    nearest = torch.where(differs, distance, len(i)).argmin(1)
    return torch.where(differs.any(1), nearest, -1)


def _places(n: int, depth: int) -> list[tuple[str, str, int, tuple[str, ...]]]:
    """Level n of the published nesting: (place there, list here, index here, tensors)."""
    norm = ("weight", "bias", "running_mean", "running_var")
    found: list[tuple[str, str, int, tuple[str, ...]]] = [("up.2", "up", n, ("weight",))]
    if n:
        found.append(("up.3", "up_norm", n - 1, norm))
    found.append((f"down.{min(n, 1)}", "down", n, ("weight",)))  # the outermost has no activation before it
    if 0 < n < depth - 1:
        found.append(("down.2", "down_norm", n - 1, norm))
    return found


METHOD = X2Face
