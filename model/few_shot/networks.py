"""The embedder E, the generator G with its projection P, and the discriminator D with V, W, w_0 and b (section 3.1).

Images are RGB in [0, 1] at every interface and centred to [-1, 1] inside: with inputs in [0, 1] under spectral norm the
embedding has almost no spread over videos. What varies between people is an argument (psi_hat, w), never state, so that
meta-learning and fine-tuning share one forward pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from model.few_shot.attention import Attention
from model.few_shot.blocks import AdaIN, ResBlock
from model.few_shot.spectral_norm import Conv, Linear
from model.few_shot.video_embeddings import Columns
from pipeline.core.errors import InputError

EMBEDDED = 4  # height and width of the last map of E and V
Pooling = Literal["relu-sum", "sum-relu"]


class Networks(BaseModel):
    """Network sizes. The paper's at 256 px: embedder 64-128-256-512-512-512, generator 64-128-256-512, 4 res blocks."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    embedder: list[int]  # channels after each down block of E and V; the last is N, the length of e_hat and W_i
    generator: list[int]  # channels after each down block of G; the up blocks mirror them
    res_blocks: int  # of constant resolution in the middle of G
    attention_down: list[int]  # heights in pixels of the maps with self-attention in E, V and G's down path
    attention_up: list[int]  # the same for G's up path
    pooling: Pooling  # "relu-sum" as in the co-author's code; "sum-relu" as in the text of section 3.4
    output: Literal["tanh", "sigmoid"]
    spectral: Literal["all", "inner"]  # layers of G with spectral norm; "inner": all but P and the last convolution

    def check(self, size: int) -> None:
        """Raises InputError when the down blocks do not lead from `size` to 4x4 in E, or to at least 4x4 in G."""
        if size != EMBEDDED << len(self.embedder):
            raise InputError(f"networks.embedder: {len(self.embedder)} blocks halve {EMBEDDED << len(self.embedder)} px to "
                             f"4x4, but the frames have {size}: name {max(size // EMBEDDED, 1).bit_length() - 1} widths")
        if not self.generator or size >> len(self.generator) < 4:
            raise InputError(f"networks.generator: {len(self.generator)} blocks leave no 4x4 map of {size} px frames: "
                             "name fewer widths")


class _Down(nn.Module):
    """Residual down blocks, with self-attention at the sizes in `attention`; returns the map after each block."""

    def __init__(self, c_in: int, widths: Sequence[int], size: int, attention: Sequence[int], norm: str) -> None:
        super().__init__()
        self.blocks, self.attention = nn.ModuleList(), nn.ModuleDict()
        for n, width in enumerate(widths):
            self.blocks.append(ResBlock(c_in, width, norm, "down", first=n == 0))
            c_in, size = width, size // 2
            if size in attention:
                self.attention[str(n)] = Attention(width)

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = []
        for n, block in enumerate(self.blocks):
            x = block(x)
            if str(n) in self.attention:
                x = self.attention[str(n)](x)
            maps.append(x)
        return maps


def _pool(x: Tensor, pooling: Pooling) -> Tensor:
    """Global sum over space and ReLU, in full precision: (B, C, H, W) -> (B, C)."""
    x = x.float()
    return F.relu(x).sum((2, 3)) if pooling == "relu-sum" else F.relu(x.sum((2, 3)))


def _centred(*images: Tensor) -> Tensor:
    """[0, 1] -> [-1, 1], stacked along the channels."""
    return torch.cat(images, 1).contiguous(memory_format=torch.channels_last) * 2 - 1


class Embedder(nn.Module):
    """E(x, y; phi): one frame and its landmark image -> (N,)."""

    def __init__(self, config: Networks, size: int) -> None:
        super().__init__()
        config.check(size)
        self.pooling = config.pooling
        self.trunk = _Down(6, config.embedder, size, config.attention_down, "none")

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """x, y (B, 3, H, W) -> (B, N)."""
        return _pool(self.trunk(_centred(y, x))[-1], self.pooling)

    def each(self, x_s: Tensor, y_s: Tensor) -> Tensor:
        """x_s, y_s (B, K, 3, H, W) -> (B, K, N), all frames in one batch."""
        return self(x_s.flatten(0, 1), y_s.flatten(0, 1)).unflatten(0, x_s.shape[:2])

    def average(self, x_s: Tensor, y_s: Tensor) -> Tensor:
        """e_hat_i = 1/K sum_k E(x_i(s_k), y_i(s_k); phi)    (B, N)"""
        return self.each(x_s, y_s).mean(1)


class Generator(nn.Module):
    """G(y, psi_hat; psi): landmark image -> frame. psi are its own weights; psi_hat = P e_hat holds the affine coefficients of
    all adaptive instance norms: in the constant-resolution blocks, the up blocks and before the last convolution."""

    def __init__(self, config: Networks, size: int) -> None:
        super().__init__()
        config.check(size)
        self.output, widths = config.output, config.generator
        self.down = _Down(3, widths, size, config.attention_down, "instance")
        self.res = nn.ModuleList(ResBlock(widths[-1], widths[-1], "adaptive") for _ in range(config.res_blocks))
        self.up, self.attention = nn.ModuleList(), nn.ModuleDict()
        c_in, height = widths[-1], size >> len(widths)
        for n, width in enumerate(reversed(widths)):
            self.up.append(ResBlock(c_in, width, "adaptive", "up"))
            c_in, height = width, height * 2
            if height in config.attention_up:
                self.attention[str(n)] = Attention(width)
        self.head_norm, self.head = AdaIN(c_in), Conv(c_in, 3, 3, spectral=config.spectral == "all")
        adaptive = [module.channels for module in self.modules() if isinstance(module, AdaIN)]  # in order of use
        self._split = [channels for channels in adaptive for _ in range(2)]
        self.P = Linear(config.embedder[-1], sum(self._split), config.spectral == "all")
        with torch.no_grad():  # initially every AdaIN scales by about 1 and shifts by about 0
            for n, part in enumerate(self.P.bias.split(self._split)):
                part.fill_(1.0 - n % 2)

    @property
    def adaptive(self) -> int:
        """The length of psi_hat: weight and bias of each adaptive channel."""
        return sum(self._split)

    def coefficients(self, psi_hat: Tensor) -> Iterator[Tensor]:
        """psi_hat (B, adaptive) -> weight (B, C), bias (B, C) of each AdaIN in order of use."""
        return iter(psi_hat.split(self._split, 1))

    def forward(self, y: Tensor, psi_hat: Tensor) -> Tensor:
        """y (B, 3, H, W) in [0, 1], psi_hat (B or 1, adaptive) -> (B, 3, H, W) in [0, 1], float32."""
        psi = self.coefficients(psi_hat)
        x = self.down(_centred(y))[-1]
        for block in self.res:
            x = block(x, psi)
        for n, block in enumerate(self.up):
            x = block(x, psi)
            if str(n) in self.attention:
                x = self.attention[str(n)](x)
        x = self.head(self.head_norm(x, psi)).float()
        return torch.tanh(x) * 0.5 + 0.5 if self.output == "tanh" else torch.sigmoid(x)


class Discriminator(nn.Module):
    """D(x, y, i) = V(x, y; theta)^T (W_i + w_0) + b, with w = W_i + w_0 (w' in fine-tuning) as an argument.

    W and w_0 are vectors of equation (3), not layers: spectral norm of W would couple all videos.
    """

    def __init__(self, config: Networks, size: int, num_videos: int) -> None:
        super().__init__()
        config.check(size)
        n, self.pooling = config.embedder[-1], config.pooling
        self.V = _Down(6, config.embedder, size, config.attention_down, "none")
        self.last = ResBlock(n, n, "none")  # E has no such block; at 4x4
        self.W = Columns(num_videos, n, torch.initial_seed())  # neither a parameter nor in the state
        self.w_0, self.b = nn.Parameter(torch.empty(n).uniform_(-0.1, 0.1)), nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, y: Tensor, w: Tensor) -> tuple[Tensor, list[Tensor]]:
        """x, y (B, 3, H, W), w (B or 1, N) -> score r (B,), maps after each residual block."""
        features = self.V(_centred(y, x))
        features.append(self.last(features[-1]))
        v = _pool(features[-1], self.pooling)
        return (v * w).sum(1) + self.b, features
