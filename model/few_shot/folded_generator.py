"""G of one person as a plain network: everything constant after few-shot learning (section 3.3) is computed once.

Once psi' = P e_hat_NEW is given or fine-tuned, G takes no argument of the person. Spectral norm becomes the weight W / sigma;
the coefficients of an adaptive instance norm become its own; P is dropped. A 3x3 convolution after doubling or before averaging
becomes one 4x4 convolution of stride 2. Only the statistics of the instance norms still depend on the input. In float32 it
computes the same operations as G in the same order and gives G's frames to the last bit, from plain layers that `torch.export`
accepts.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.few_shot.attention import attend
from model.few_shot.blocks import EPS, AdaIN, InstanceNorm, norm_relu
from model.few_shot.networks import Generator
from model.few_shot.spectral_norm import Conv
from pipeline.core.errors import InputError

WIDE = 1024  # from this many pixels per map the single-kernel norm is faster in bf16 on a CPU


def folded(G: Generator, psi_hat: Tensor, dtype: torch.dtype = torch.float32) -> nn.Module:
    """G(y, psi_hat) for one person's psi_hat (1, adaptive) as a network of y alone, with its own weights (section 3.1).

    It maps y (B, 3, H, W) in [0, 1] to frames (B, 3, H, W) in [0, 1], float32. dtype: of weights and maps; statistics and
    coefficients of the norms, attention scores and the output's nonlinearity stay in float32 at least.
    """
    if len(psi_hat) != 1:
        raise InputError(f"psi_hat of {len(psi_hat)} people cannot be folded into one generator: fold one person at a time")
    with torch.no_grad():
        return Folded(G, psi_hat, dtype).eval().requires_grad_(False)


class Folded(nn.Module):
    """The layers of G in order, for one person."""

    def __init__(self, G: Generator, psi_hat: Tensor, dtype: torch.dtype) -> None:
        super().__init__()
        psi, self.dtype, self.output = G.coefficients(psi_hat), dtype, G.output
        layers: list[nn.Module] = []
        for blocks, attention in ((G.down.blocks, G.down.attention), (G.res, nn.ModuleDict()), (G.up, G.attention)):
            for n, block in enumerate(blocks):
                layers.append(Block(block, psi, dtype))
                if str(n) in attention:
                    layers.append(SelfAttention(attention[str(n)], dtype))
        self.layers = nn.Sequential(*layers, _norm(G.head_norm, psi, dtype), _convolution(G.head, dtype))

    def forward(self, y: Tensor) -> Tensor:
        """y (B, 3, H, W) in [0, 1] -> (B, 3, H, W) in [0, 1]."""
        x = self.layers((y * 2 - 1).to(self.dtype, memory_format=torch.channels_last))
        x = x.to(torch.promote_types(self.dtype, torch.float32))
        return torch.tanh(x) * 0.5 + 0.5 if self.output == "tanh" else torch.sigmoid(x)


class Block(nn.Module):
    """A residual block (section 3.4) with its doubling or averaging folded into one convolution."""

    def __init__(self, block: Any, psi: Iterator[Tensor], dtype: torch.dtype) -> None:
        super().__init__()
        self.resample = block.resample
        self.norm1 = nn.Identity() if block.norm1 is None else _norm(block.norm1, psi, dtype)
        self.conv1 = _convolution(block.conv1, dtype, "up" if block.resample == "up" else "")
        self.norm2 = _norm(block.norm2, psi, dtype)
        self.conv2 = _convolution(block.conv2, dtype, "down" if block.resample == "down" else "")
        self.skip = nn.Identity() if block.skip is None else _convolution(block.skip, dtype)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, c_in, h, w) -> (B, c_out, h, w), or (B, c_out, 2h, 2w) or (B, c_out, h/2, w/2)."""
        h = self.conv2(self.norm2(self.conv1(self.norm1(x))))
        x = self.skip(F.avg_pool2d(x, 2) if self.resample == "down" else x)
        return h + (F.interpolate(x, scale_factor=2.0, mode="nearest") if self.resample == "up" else x)


class NormReLU(nn.Module):
    """relu(weight (x - mean) / std + bias), mean and std over space, weight and bias (C,) constant."""

    weight: Tensor
    bias: Tensor

    def __init__(self, weight: Tensor, bias: Tensor, dtype: torch.dtype) -> None:
        super().__init__()
        exact = torch.promote_types(dtype, torch.float32)
        self.register_buffer("weight", weight.detach().to(exact, copy=True))
        self.register_buffer("bias", bias.detach().to(exact, copy=True))

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, h, w) -> the same shape."""
        n = x.shape[2] * x.shape[3]
        if n >= WIDE and x.dtype == torch.bfloat16 and x.device.type == "cpu":  # plain sums in bf16 lose two digits of float32
            return F.group_norm(x, x.shape[1], self.weight, self.bias, EPS).relu_()
        return norm_relu(x, self.weight, self.bias)[0]


class SelfAttention(nn.Module):
    """x + gamma softmax(q k) v over all positions."""

    def __init__(self, attention: Any, dtype: torch.dtype) -> None:
        super().__init__()
        self.query, self.key = _convolution(attention.query, dtype), _convolution(attention.key, dtype)
        self.value = _convolution(attention.value, dtype)
        self.gamma: Tensor
        self.register_buffer("gamma", attention.gamma.detach().to(dtype, copy=True))

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, h, w) -> the same shape."""
        return x + self.gamma * attend(self.query(x), self.key(x), self.value(x))


def _norm(norm: nn.Module, psi: Iterator[Tensor], dtype: torch.dtype) -> nn.Module:
    """The norm with its coefficients, for an adaptive norm the next two of psi; with the ReLU after it."""
    if isinstance(norm, AdaIN):
        weight, bias = next(psi), next(psi)  # (1, C) each
        return NormReLU(weight[0], bias[0], dtype)
    return NormReLU(norm.weight, norm.bias, dtype) if isinstance(norm, InstanceNorm) else nn.ReLU()


def _convolution(layer: Conv, dtype: torch.dtype, resample: str = "") -> nn.Module:
    """The layer with the weight W / sigma; "up": applied to its doubled input; "down": with averaged output."""
    k = layer.kernel(resample)
    kind = nn.ConvTranspose2d if resample == "up" else nn.Conv2d
    c_in, c_out, size, stride = layer.in_channels, layer.out_channels, k.shape[2], 2 if resample else 1
    plain = kind(c_in, c_out, size, stride, (size - 1) // 2, bias=layer.bias is not None, device="meta")
    plain.weight = nn.Parameter(k.detach().to(dtype, memory_format=torch.channels_last, copy=True))
    if layer.bias is not None:
        plain.bias = nn.Parameter(layer.bias.detach().to(dtype, copy=True))
    return plain
