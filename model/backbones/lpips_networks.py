"""LPIPS (Zhang et al. 2018), version 0.1: distance of AlexNet's or VGG16's features, weighted by the published linear heads.

The trunks use torchvision's ImageNet weights, which the user provides; the heads come with the package torchmetrics.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.backbones import registry
from model.backbones.perceptual import check
from pipeline.core.errors import InputError

MEAN, STD = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # of RGB in [-1, 1]
# A stage: max pooling (window, stride) or None, then convolutions (channels, kernel, stride, padding); its output is tapped.
STAGES = {
    "alex": ((None, ((64, 11, 4, 2),)), ((3, 2), ((192, 5, 1, 2),)), ((3, 2), ((384, 3, 1, 1),)), (None, ((256, 3, 1, 1),)),
             (None, ((256, 3, 1, 1),))),
    "vgg": tuple(((2, 2) if n else None, ((c, 3, 1, 1),) * count)
                 for n, (c, count) in enumerate(((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)))),
}
FILES = {"alex": ("alexnet", "lpips_alex"), "vgg": ("vgg16", "lpips_vgg")}  # net -> names in the registry: trunk, heads
LEAST = {"alex": 32, "vgg": 16}  # px; below that a map has no pixels


class Lpips(nn.Module):
    """d(x, x̂) = Σ_l mean over pixels of w_l · (ŷ_l(x) − ŷ_l(x̂))², ŷ_l: layer l's features, of length 1 at each pixel."""

    def __init__(self, net: str, trunk: dict[str, Tensor], heads: dict[str, Tensor], where: tuple[str, str]) -> None:
        super().__init__()
        self.net, self.convs, self.heads = net, nn.ModuleList(), nn.ParameterList()
        c = 3
        for _, convs in STAGES[net]:
            for c_out, kernel, stride, padding in convs:
                self.convs.append(nn.Conv2d(c, c_out, kernel, stride, padding))
                c = c_out
        self._load(trunk, heads, where)
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False).eval()

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """x, y (N, 3, H, W) RGB [0, 1] -> (N,), without resizing. InputError below the smallest size of the trunk."""
        if min(x.shape[-2:]) < LEAST[self.net]:
            raise InputError(f"lpips_{self.net}: frames of {x.shape[-1]}x{x.shape[-2]} pixels are too small for its network; "
                             f"use frames of {LEAST[self.net]} px or more")
        parts = [((a - b) ** 2 * w).sum(1).mean((1, 2)) for a, b, w in zip(self.taps(x), self.taps(y), self.heads)]
        return torch.stack(parts).sum(0)

    def taps(self, x: Tensor) -> list[Tensor]:
        """x (N, 3, H, W) RGB [0, 1] -> five maps (N, C_l, H_l, W_l), each pixel's vector of length 1."""
        h, convs, found = (2 * x - 1 - self.mean) / self.std, iter(self.convs), []
        for pool, layers in STAGES[self.net]:
            h = h if pool is None else F.max_pool2d(h, *pool)
            for _ in layers:
                h = F.relu(next(convs)(h))
            found.append(h / torch.sqrt((h**2).sum(1, keepdim=True) + 1e-8))
        return found

    def _load(self, trunk: dict[str, Tensor], heads: dict[str, Tensor], where: tuple[str, str]) -> None:
        places = _places(self.net)
        shapes = {f"features.{n}.{part}": tuple(getattr(conv, part).shape) for n, conv in zip(places, self.convs)
                  for part in ("weight", "bias")}
        check({name: value for name, value in trunk.items() if not name.startswith("classifier.")}, shapes, where[0])
        for n, conv in zip(places, self.convs):
            conv.weight.data, conv.bias.data = (trunk[f"features.{n}.{part}"].float() for part in ("weight", "bias"))
        ends = [convs[-1][0] for _, convs in STAGES[self.net]]
        check(heads, {f"lin{n}.model.1.weight": (1, c, 1, 1) for n, c in enumerate(ends)}, where[1])
        self.heads.extend(nn.Parameter(heads[f"lin{n}.model.1.weight"].float()) for n in range(len(ends)))


def _places(net: str) -> list[int]:
    """torchvision's index of each convolution; ReLUs and poolings count as well."""
    found, n = list[int](), 0
    for pool, convs in STAGES[net]:
        n += pool is not None
        for _ in convs:
            found.append(n)
            n += 2
    return found


def build(net: str) -> Lpips:
    """The network of that name: "alex" | "vgg". InputError, with where to get it, when a weights file is missing."""
    trunk, heads = FILES[net]
    where = str(registry.require(trunk)), str(registry.require(heads))
    return Lpips(net, registry.state(trunk), registry.state(heads), where)
