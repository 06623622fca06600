"""Convolutions and fully-connected layers under spectral norm (Miyato et al. 2018), with resampling folded into the kernel."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPS = 1e-4  # of spectral norm, as in the co-author's later code


class _Spectral:
    """W / sigma(W), sigma by one step of power iteration per training forward pass (Miyato et al. 2018).

    The vectors u, v are updated only if the weight itself requires a gradient: a frozen network never changes, in any mode.
    """

    weight: Tensor
    u: Tensor
    v: Tensor
    training: bool
    spectral: bool

    def _matrix(self) -> Tensor:
        return _rows(self.weight).flatten(1)  # out x (h w in)

    def settle(self, iterations: int) -> None:
        """Runs that many power iterations; for (near) convergence on newly initialised weights."""
        with torch.no_grad():
            matrix = self._matrix()
            for _ in range(iterations):
                self.v.copy_(F.normalize(matrix.t().mv(self.u), dim=0, eps=EPS))
                self.u.copy_(F.normalize(matrix.mv(self.v), dim=0, eps=EPS))

    def normalised(self, way: str = "") -> Tensor:
        """W / sigma, resampled as in `Conv.kernel`."""
        if not self.spectral:
            return _resampled(self.weight, way)
        with torch.autocast(self.weight.device.type, enabled=False):  # sigma in full precision
            if self.training and self.weight.requires_grad and torch.is_grad_enabled():
                self.settle(1)
            found: Tensor = _Normalised.apply(self.weight, self.u.clone(), self.v.clone(), way)
            return found

    def _prepare(self, spectral: bool) -> None:
        self.spectral = spectral
        if not spectral:
            return
        matrix = self._matrix()
        module: Any = self
        for name, length in (("u", matrix.shape[0]), ("v", matrix.shape[1])):
            module.register_buffer(name, F.normalize(torch.randn(length, device=matrix.device), dim=0, eps=EPS))
        if not matrix.is_meta:
            self.settle(15)


def _rows(weight: Tensor) -> Tensor:
    """(O, I, h, w) or (O, I) -> (O, h w, I): a view of a channels-last weight."""
    return weight.permute(0, 2, 3, 1).flatten(1, 2) if weight.ndim == 4 else weight[:, None]


def _kernel(rows: Tensor) -> Tensor:
    """(O, s s, I) -> (O, I, s, s) in channels-last memory."""
    return rows.unflatten(1, (round(rows.shape[1] ** 0.5), -1)).permute(0, 3, 1, 2)


def _spread(k: Tensor, way: str) -> Tensor:
    """(O, 3, 3, I) -> (O, 4, 4, I): the sum of the kernel ("up": flipped) at its four positions in the larger kernel."""
    for side in (1, 2):
        a, b, c = k.unbind(side)
        k = torch.stack([c, c + b, b + a, a] if way == "up" else [a, a + b, b + c, c], side)
    return k


def _gathered(g: Tensor, way: str) -> Tensor:
    """The transpose of `_spread`: (O, 4, 4, I) -> (O, 3, 3, I)."""
    for side in (1, 2):
        a, b, c, d = g.unbind(side)
        g = torch.stack([c + d, b + c, a + b] if way == "up" else [a + b, b + c, c + d], side)
    return g


class _Normalised(torch.autograd.Function):
    """W / sigma with sigma = u^T W v, u and v constant, as the kernel of `Conv.kernel`, in a few passes over the weight."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, u: Tensor, v: Tensor, way: str) -> Tensor:
        sigma = torch.dot(u, _rows(weight).flatten(1).mv(v)).clamp_min(EPS)
        ctx.save_for_backward(weight, u, v, sigma)
        ctx.way = way
        return _resampled(weight / sigma, way)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None, None, None]:
        weight, u, v, sigma = ctx.saved_tensors
        if ctx.way:
            g = _gathered(g.permute(0, 2, 3, 1), ctx.way).permute(0, 3, 1, 2) * (0.25 if ctx.way == "down" else 1.0)
        g = _rows(g / sigma).flatten(1)
        along = torch.dot(g.flatten(), _rows(weight).flatten()) / sigma * (sigma > EPS)
        g = g.addr(u * -along, v)  # g / sigma - (g . W / sigma^2) u v^T
        return g.view_as(weight) if weight.ndim == 2 else _kernel(g.unflatten(1, (-1, weight.shape[1]))), None, None, None


def _resampled(weight: Tensor, way: str) -> Tensor:
    if not way:
        return weight
    return _spread((weight / 4 if way == "down" else weight).permute(0, 2, 3, 1), way).permute(0, 3, 1, 2)


class Conv(_Spectral, nn.Conv2d):
    """A convolution that keeps the resolution, under spectral norm (optional for G's last one)."""

    def __init__(self, c_in: int, c_out: int, kernel: int, bias: bool = True, spectral: bool = True) -> None:
        nn.Conv2d.__init__(self, c_in, c_out, kernel, padding=kernel // 2, bias=bias)
        if kernel > 1:
            self.weight.data = self.weight.data.contiguous(memory_format=torch.channels_last)
        self._prepare(spectral)

    def kernel(self, resample: str = "") -> Tensor:
        """W / sigma (O, I, s, s). For a 3x3 kernel also "up": the kernel (I, O, 4, 4) of the transposed convolution of stride 2
        that equals the layer on doubled pixels; "down": the kernel (O, I, 4, 4) of stride 2 that also averages the output.
        """
        k = self.normalised(resample)
        return k.transpose(0, 1).contiguous(memory_format=torch.channels_last) if resample == "up" else k

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.kernel(), self.bias, padding=self.padding)

    def doubled(self, x: Tensor) -> Tensor:
        """self(x with every pixel doubled) for a 3x3 kernel, in half the time: a transposed 4x4 convolution of stride 2
        multiplies each repeated pixel once."""
        return F.conv_transpose2d(x, self.kernel("up"), self.bias, stride=2, padding=1)

    def averaged(self, x: Tensor) -> Tensor:
        """avg_pool2d(self(x), 2) for a 3x3 kernel by a 4x4 convolution of stride 2: 16 products per output instead of 36."""
        return F.conv2d(x, self.kernel("down"), self.bias, stride=2, padding=1)


class Linear(_Spectral, nn.Linear):
    """A fully-connected layer under spectral norm, always in full precision: small differences of psi_hat matter."""

    def __init__(self, n_in: int, n_out: int, spectral: bool = True) -> None:
        nn.Linear.__init__(self, n_in, n_out)
        self._prepare(spectral)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return F.linear(x.float(), self.normalised(), self.bias)
