"""X2Face (Wiles, Koepke, Zisserman, ECCV 2018): warps source frames into one embedded face and warps that by a driving frame.

Written from a description of the published networks (github.com/oawiles/X2Face, UnwrapMosaic/): same layers, same weights, so
that its checkpoints load; `python -m model.published.parity_x2face` compares the two. A person is adapted by one pass over its
T frames, without gradients. The driving signal is the RGB frame itself: in self-reenactment that is the ground truth.

Training. Stage I minimises the L1 between the generated and the driving frame, another frame of the sources' video: that is all
the published script does, and all that others retrain with. Stage II was never published, and its author will not publish it
(issue 5 there). Known: content losses of a face network, no adversarial loss, one driving frame from the sources' video and one
from another, terms of one identity scaled to the photometric loss layer by layer, those of two identities to a tenth of it, a
learning rate of 1e-4. Not known, and chosen here: the layers (conv1_1 to conv5_1 of VGG16 in
model/backbones/perceptual.py; the original has conv2-5 and conv7 of an 11-layer net), the scale (computed at each step), the
pairing (the next video of the batch, sometimes of the same person) and the source frame that a frame driven by another video is
compared with (the first).
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

BOTTLENECK = 128  # length of the code of pose and expression, at every size
CHUNK = 8  # frames embedded or generated at a time: memory does not grow with T
FLOOR = 0.1  # added to the confidence: exp(o) + 0.1


class Sgd(BaseModel):
    """The authors' optimiser: lr 1e-3, momentum 0.9."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    kind: Literal["sgd"]
    lr: float
    momentum: float

    def over(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """The optimiser of these parameters."""
        return torch.optim.SGD(parameters, lr=self.lr, momentum=self.momentum)


class Adam(BaseModel):
    """For short runs, in which the authors' optimiser only learns to copy the source frame."""

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
    """Lowers the learning rate when the training loss no longer falls."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    every: int  # steps per observation, which is their mean loss
    patience: int  # tolerated observations in a row without a new minimum
    factor: float  # multiplies the learning rate after one more


@dataclass
class Watch:
    """History of the photometric loss for `Plateau`."""

    seen: list[float] = field(default_factory=list)  # losses since the last observation
    least: float = float("inf")
    borne: int = 0  # observations since the minimum
    share: float = 1.0  # current fraction of the learning rate

    def observe(self, l_pix: float, plateau: Plateau) -> None:
        """Lowers `share` on a plateau. As in torch's ReduceLROnPlateau, lower means by a fraction of at least 1e-4."""
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
    """Content losses after stage I, as far as known: see the top of this file."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    start: int  # step
    lr: float
    same: float  # each layer's term relative to the photometric loss, driving frame and sources of one video; 1
    other: float  # the same, driving frame of another video; 0.1


class Config(importer.Config):
    """Settings of X2Face: sizes, combination of the sources, training."""

    precision: Precision
    ngf: int  # channels after the first convolution; 64 in the published weights
    combine: Literal["mean", "weighted"]  # average as in the paper; weighted by confidence as in the published code
    optimiser: Annotated[Sgd | Adam, Field(discriminator="kind")]
    schedule: optim.Schedule
    plateau: Plateau | None
    stage2: StageTwo | None


class Hourglass(nn.Module):
    """Encoder to 1 x 1 by 4x4 convolutions of stride 2, decoder by bilinear doubling and 3x3 convolutions; no biases.

    x (N, 3, size, size) -> (N, outputs, size, size). With skips, encoder maps are concatenated after the decoder's.
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
                nn.init.uniform_(module.weight, 0.02, 1.0)  # as published, apparently meant as N(1, 0.02)

    def forward(self, x: Tensor) -> Tensor:
        last, maps = len(self.down) - 1, []
        for n, down in enumerate(self.down):
            x = down(F.leaky_relu(x, 0.2) if n else x)
            if 0 < n < last:
                x = self.down_norm[n - 1](x)
            maps.append(x)
        for n in range(last, -1, -1):
            x = self.up[n](F.interpolate(F.relu(x), scale_factor=2, mode="bilinear", align_corners=True))
            if n:
                x = self.up_norm[n - 1](x)
                x = torch.cat([x, maps[n - 1]], 1) if self.skips else x
        return x.float() if x.dtype == torch.bfloat16 else x  # sampling positions need full precision


class Driving(Hourglass):
    """The driving network: no skips, so that all information passes the bottleneck; ends in a tanh."""

    def __init__(self, size: int, ngf: int) -> None:
        super().__init__(2, size, ngf, False, BOTTLENECK)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).tanh()


class Embedding(Hourglass):
    """The embedding network: two channels of offsets before their tanh, and one with the log of a confidence."""

    def __init__(self, size: int, ngf: int) -> None:
        super().__init__(3, size, ngf, True, 8 * ngf)


def warp(x: Tensor, offset: Tensor) -> Tensor:
    """x (N, C, H, W) sampled at each position plus offset (N, 2, H, W), x and y in units of half a side. Outside is black.

    align_corners: the corners of [-1, 1]² are the centres of the corner pixels, as in torch before 1.3.
    """
    height, width = x.shape[-2:]
    rows, columns = (torch.linspace(-1, 1, n, dtype=torch.float64).to(x.device, torch.float32) for n in (height, width))
    grid = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), 2)  # (H, W, 2)
    return F.grid_sample(x, grid + offset.permute(0, 2, 3, 1), "bilinear", "zeros", align_corners=True)


class X2Face(Baseline):
    """Embeds frames by warping, combines them, and warps the result according to a driving frame."""

    name, label = "x2face", "X2Face"
    driven_by = "frames"
    shares_batches = False  # batch norm and stage II need the whole batch
    Config: ClassVar[type[Settings]] = Config
    kinds = ("the networks' file",)
    extras = frozenset({"num_batches_tracked"})  # counters of later torch versions, unused in inference

    def __init__(self, config: Any, facts: DataInfo, seed: int = 0) -> None:
        """InputError when `size` cannot be halved to 1 x 1, or when stage II has no other video."""
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
        """The 136 published names, nested one level in another, -> ours."""
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

    def offset(self, driving_frame: Tensor, net: nn.Module | None = None) -> Tensor:
        """driving_frame (N, 3, H, W) -> (N, 2, H, W) within ± tanh(1): a tanh after a network that ends in one."""
        with autocast(self.config.precision, self.place):
            return (net or self.driving)(driving_frame).tanh()

    def embedded(self, x_s: Tensor) -> Tensor:
        """x_s (B, K, 3, H, W) -> the embedded face (B, 3, H, W) = sum_k c_k face_k / sum_k c_k at each pixel."""
        faces, c = (part.unflatten(0, x_s.shape[:2]) for part in self.embed(x_s.flatten(0, 1)))
        return (c * faces).sum(1) / c.sum(1)

    def forward(self, x_s: Tensor, driving_frame: Tensor) -> Tensor:
        """x_s (B, K, 3, H, W), driving_frame (B, 3, H, W) -> (B, 3, H, W), not clamped."""
        return warp(self.embedded(x_s), self.offset(driving_frame))

    def learn(self, episode: Episode) -> dict[str, float]:
        """One update of both networks; the target frame is driving frame and ground truth. InputError: a term is not finite."""
        episode = self._received(episode)
        videos = "videos " + ", ".join(map(str, episode.i.tolist()))
        if self.config.stage2 and self.step == self.config.stage2.start:
            self.watch = Watch()  # stage II has its own learning rate
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
        """Learning rate of this step."""
        second = self.config.stage2 if self._second() else None
        full = second.lr if second else self.config.optimiser.lr
        return float(full * self.watch.share * self.config.schedule.factor(self.step, self.config.steps))

    def _second(self) -> bool:
        return self.config.stage2 is not None and self.step >= self.config.stage2.start

    @cached_property
    def optimiser(self) -> torch.optim.Optimizer:
        """The optimiser of both networks."""
        return self.config.optimiser.over([*self.embedding.parameters(), *self.driving.parameters()])

    @cached_property
    def face_network(self) -> nn.Module:
        """The frozen face network of stage II."""
        return perceptual.vggface().to(self.place).requires_grad_(False).eval()

    def backbones(self) -> dict[str, str]:
        return super().backbones() | (registry.hashes("vggface_caffe") if self.config.stage2 else {})

    def _losses(self, episode: Episode) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, and the terms to log; those of stage II before scaling."""
        face = self.embedded(episode.x_s)
        x_hat = warp(face, self.offset(episode.x_t))
        l_pix = F.l1_loss(x_hat, episode.x_t)
        if not self._second():
            return l_pix, {"l_pix": l_pix}
        same, l_same = self._content(episode.x_t, x_hat, l_pix, self.config.stage2.same)
        others = _other_video(episode.i)
        rows = others >= 0
        if not bool(rows.any()):
            return l_pix + same, {"l_pix": l_pix, "l_same": l_same}
        reenacted = warp(face[rows], self.offset(episode.x_t[others[rows]]))
        other, l_other = self._content(episode.x_s[rows, 0], reenacted, l_pix, self.config.stage2.other)
        return l_pix + same + other, {"l_pix": l_pix, "l_same": l_same, "l_other": l_other}

    def _content(self, x: Tensor, x_hat: Tensor, l_pix: Tensor, share: float) -> tuple[Tensor, Tensor]:
        """sum_l a_l mean |f_l(x) - f_l(x_hat)|, a_l such that each layer contributes share * L_pix; the same with a_l = 1."""
        with autocast(self.config.precision, self.place):
            with torch.no_grad():
                real = self.face_network.taps(x)  # type: ignore[operator]
            fake = self.face_network.taps(x_hat)  # type: ignore[operator]
        layers = torch.stack([F.l1_loss(b.float(), a.float()) for a, b in zip(real, fake, strict=True)])
        scale = share * l_pix.detach() / layers.detach().clamp_min(1e-12)
        return (scale * layers).sum(), layers.sum()

    def _received(self, episode: Episode) -> Episode:
        size = self.facts.size
        if episode.x_t.shape[1:] != (3, size, size) or episode.x_s.shape[2:] != (3, size, size):
            raise InputError(f"an episode has targets {tuple(episode.x_t.shape)} and sources {tuple(episode.x_s.shape)}, but "
                             f"the method is for {size} px: make both from the same data")
        return Episode(*(part.to(self.place) for part in episode))

    @torch.no_grad()
    def adapt(self, x: Tensor, y: Tensor, seed: int = 0, report: Callable[[int, int], None] | None = None) -> Head:
        """Embeds the face of the T frames; no weight is changed, y is not used."""
        total, weight = torch.zeros(()), torch.zeros(())
        for part in x.split(CHUNK):
            faces, c = self.embed(part.to(self.place))
            total = total.to(c) + (c * faces).sum(0, keepdim=True)
            weight = weight.to(c) + c.sum(0, keepdim=True)
        face, driving = total / weight, copy.deepcopy(self.driving).requires_grad_(False)  # (1, 3, H, W)

        def generate(driving_frames: Tensor) -> Tensor:
            frames = [warp(face.expand(len(part), -1, -1, -1), self.offset(part, driving)).clamp(0, 1)
                      for part in driving_frames.to(self.place).split(CHUNK)]
            return torch.cat(frames).to(driving_frames.device)

        return Head(generate, self.facts.size)

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
        raise InputError(f"x2face.size: its networks halve the image down to one pixel, which {size} px do not allow; set it "
                         f"to a power of 2, and resize the frames to it: {near} is the next")
    if config.stage2 and config.batch < 2:
        raise InputError(f"x2face.stage2: it needs driving frames of other videos, and a batch of {config.batch} has none; set "
                         "batch to 2 or more, or stage2 to null")


def _other_video(i: Tensor) -> Tensor:
    """i (B,) -> (B,): index of the next row, cyclically, of another video; -1 if there is none."""
    differs = i[:, None] != i  # (B, B)
    distance = (torch.arange(len(i), device=i.device) - torch.arange(len(i), device=i.device)[:, None]) % len(i)
    nearest = torch.where(differs, distance, len(i)).argmin(1)
    return torch.where(differs.any(1), nearest, -1)


def _places(n: int, depth: int) -> list[tuple[str, str, int, tuple[str, ...]]]:
    """Level n of the published nesting: (published name, our list, our index, tensors)."""
    norm = ("weight", "bias", "running_mean", "running_var")
    found: list[tuple[str, str, int, tuple[str, ...]]] = [("up.2", "up", n, ("weight",))]
    if n:
        found.append(("up.3", "up_norm", n - 1, norm))
    found.append((f"down.{min(n, 1)}", "down", n, ("weight",)))  # the outermost follows no activation
    if 0 < n < depth - 1:
        found.append(("down.2", "down_norm", n - 1, norm))
    return found


METHOD = X2Face
