"""What the three networks are made of: layers under spectral norm, AdaIN, residual blocks, self-attention (section 3.4)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPS = 1e-4  # of spectral norm and of instance norm, as in the co-author's later code
ROWS = 512  # positions that attend at a time on a CPU: their weights over all others then fit a cache


class _Spectral:
    """W / sigma(W), sigma by one step of power iteration a training forward (Miyato et al. 2018).

    The vectors u, v move only while the weight itself is being learnt: no look at a frozen net, in whatever mode, changes it.
    """

    weight: Tensor
    u: Tensor
    v: Tensor
    training: bool
    spectral: bool

    def _matrix(self) -> Tensor:
        return _rows(self.weight).flatten(1)  # out x (h w in)

    def settle(self, iterations: int) -> None:
        """Runs the power iteration to (near) convergence, for a weight that was just drawn."""
        with torch.no_grad():
            matrix = self._matrix()
            for _ in range(iterations):
                self.v.copy_(F.normalize(matrix.t().mv(self.u), dim=0, eps=EPS))
                self.u.copy_(F.normalize(matrix.mv(self.v), dim=0, eps=EPS))

    def normalised(self, way: str = "") -> Tensor:
        """W / sigma, resampled as `Conv.kernel` says."""
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
    """(O, I, h, w) or (O, I) -> (O, h w, I): a view when the weight lies channels-last in memory."""
    return weight.permute(0, 2, 3, 1).flatten(1, 2) if weight.ndim == 4 else weight[:, None]


def _kernel(rows: Tensor) -> Tensor:
    """(O, s s, I) -> (O, I, s, s), channels-last in memory."""
    return rows.unflatten(1, (round(rows.shape[1] ** 0.5), -1)).permute(0, 3, 1, 2)


def _spread(k: Tensor, way: str) -> Tensor:
    """(O, 3, 3, I) -> (O, 4, 4, I): the sum of a kernel, "up": turned round, at the four places it has in a larger one."""
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
    """W / sigma with sigma = u^T W v, u and v constant, as the kernel of `Conv.kernel`: a few passes over the weight."""

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
    """A convolution that keeps the resolution, under spectral norm (or, for G's last one, without)."""

    def __init__(self, c_in: int, c_out: int, kernel: int, bias: bool = True, spectral: bool = True) -> None:
        nn.Conv2d.__init__(self, c_in, c_out, kernel, padding=kernel // 2, bias=bias)
        if kernel > 1:
            self.weight.data = self.weight.data.contiguous(memory_format=torch.channels_last)
        self._prepare(spectral)

    def kernel(self, resample: str = "") -> Tensor:
        """W / sigma (O, I, s, s). Of a 3x3 kernel also "up": the kernel (I, O, 4, 4) of a transposed convolution of stride 2
        that does what the layer does to doubled pixels; "down": the one (O, I, 4, 4) of stride 2 that averages its output.
        """
        k = self.normalised(resample)
        return k.transpose(0, 1).contiguous(memory_format=torch.channels_last) if resample == "up" else k

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.kernel(), self.bias, padding=self.padding)

    def doubled(self, x: Tensor) -> Tensor:
        """self(x with every pixel doubled) for a 3x3 kernel, in half the time: the pixels that the kernel meets twice are
        weighed once, by a transposed 4x4 convolution of stride 2."""
        return F.conv_transpose2d(x, self.kernel("up"), self.bias, stride=2, padding=1)

    def averaged(self, x: Tensor) -> Tensor:
        """avg_pool2d(self(x), 2) for a 3x3 kernel with 16 products an output instead of 36: a 4x4 convolution of stride 2."""
        return F.conv2d(x, self.kernel("down"), self.bias, stride=2, padding=1)


class Linear(_Spectral, nn.Linear):
    """A fully-connected layer, the same; in full precision always: psi_hat steers by small differences."""

    def __init__(self, n_in: int, n_out: int, spectral: bool = True) -> None:
        nn.Linear.__init__(self, n_in, n_out)
        self._prepare(spectral)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return F.linear(x.float(), self.normalised(), self.bias)


def norm_relu(x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x (B, C, h, w), weight and bias (B, C) or (C,) in full precision -> relu(weight (x - mean) / std + bias), and mean,
    1 / std and weight / std over space, (B, C) each."""
    n, exact = x.shape[2] * x.shape[3], weight.dtype
    mean = x.sum((2, 3), dtype=exact) / n
    near = mean.to(x.dtype)  # E[x^2] - mean^2 would cost a map that is far from 0 and nearly constant its digits
    deviation = x - near[..., None, None]
    variance = (deviation.square_().sum((2, 3), dtype=exact) / n - (mean - near).square()).clamp_min(0)
    rstd = torch.rsqrt(variance + EPS)
    scale = weight * rstd
    return torch.addcmul(_as_map(bias - mean * scale, x), x, _as_map(scale, x)).relu_(), mean, rstd, scale


class _NormReLU(torch.autograd.Function):
    """relu(weight (x - mean) / std + bias), mean and std over space, one weight and bias a sample and channel.

    The same as var_mean and addcmul, with the gradient written out: on a CPU 3 to 5 times faster in channels-last memory.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        exact = torch.promote_types(x.dtype, torch.float32)
        y, *statistics = norm_relu(x, weight.to(exact), bias.to(exact))
        ctx.save_for_backward(x, y, *statistics)
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, y, mean, rstd, scale = ctx.saved_tensors
        n = x.shape[2] * x.shape[3]
        g = torch.ops.aten.threshold_backward(g.to(x.dtype), y, 0)
        g_bias = g.sum((2, 3), dtype=mean.dtype)
        g_weight = rstd * ((g * x).sum((2, 3), dtype=mean.dtype) - mean * g_bias)
        along = -scale * rstd * g_weight / n
        offset = -scale * g_bias / n - along * mean
        g_x = torch.addcmul(_as_map(offset, x), x, _as_map(along, x)).addcmul_(g, _as_map(scale, x))
        return g_x, g_weight, g_bias


def _as_map(per_channel: Tensor, x: Tensor) -> Tensor:
    return per_channel.to(x.dtype)[..., None, None]  # (B, C) -> (B, C, 1, 1)


class AdaIN(nn.Module):
    """Instance norm whose affine coefficients, a slice of psi, are an argument; the ReLU after it included."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, x: Tensor, psi: Iterator[Tensor]) -> Tensor:
        weight, bias = next(psi), next(psi)  # (B, C) each
        return _NormReLU.apply(x, weight.expand(x.shape[:2]), bias.expand(x.shape[:2]))


class InstanceNorm(nn.Module):
    """Ordinary affine instance norm of the down path, which no person steers; the ReLU after it included."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, psi: Iterator[Tensor]) -> Tensor:
        return _NormReLU.apply(x, self.weight.expand(x.shape[:2]), self.bias.expand(x.shape[:2]))


class _ReLU(nn.Module):
    """Where no norm belongs (E, V). Not in place: the skip path must see what came in, not its positive part."""

    def __init__(self, channels: int) -> None:
        super().__init__()

    def forward(self, x: Tensor, psi: Iterator[Tensor]) -> Tensor:
        return F.relu(x)


NORMS = {"none": _ReLU, "instance": InstanceNorm, "adaptive": AdaIN}


NO_PSI: Iterator[Tensor] = iter(())


class ResBlock(nn.Module):
    """norm-ReLU-[up]-conv3-norm-ReLU-conv3-[down] + [up]-conv1-[down] (BigGAN; up nearest, down by average).

    The skip has a convolution whenever the resolution or the width changes. A convolution has no bias where a norm
    follows the same path anyway. `first`: the input is an image, so nothing stands before the first convolution.
    """

    def __init__(self, c_in: int, c_out: int, norm: str, resample: str = "", first: bool = False) -> None:
        super().__init__()
        bias = norm == "none" or first
        self.norm1 = None if first else NORMS[norm](c_in)
        self.norm2 = NORMS["none" if first else norm](c_out)
        self.conv1, self.conv2 = Conv(c_in, c_out, 3, bias), Conv(c_out, c_out, 3, bias)
        self.skip = Conv(c_in, c_out, 1) if resample or c_in != c_out else None
        self.resample = resample

    def forward(self, x: Tensor, psi: Iterator[Tensor] = NO_PSI) -> Tensor:
        h = x if self.norm1 is None else self.norm1(x, psi)
        h = self.conv1.doubled(h) if self.resample == "up" else self.conv1(h)
        h = self.norm2(h, psi)
        h = self.conv2.averaged(h) if self.resample == "down" else self.conv2(h)
        if self.resample == "down":
            x = F.avg_pool2d(x, 2)
        if self.skip is not None:  # a 1x1 convolution commutes with averaging and copying pixels: convolve the small map
            x = self.skip(x)
        if self.resample == "up":
            x = F.interpolate(x, scale_factor=2, mode="nearest")
        return h + x


class Attention(nn.Module):
    """x + gamma softmax(q k) v over all positions (Zhang et al. 2019, SAGAN); gamma starts at 0."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query, self.key = (Conv(channels, max(channels // 8, 1), 1) for _ in range(2))
        self.value = Conv(channels, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, psi: Iterator[Tensor] = NO_PSI) -> Tensor:
        return x + self.gamma * attend(self.query(x), self.key(x), self.value(x))


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q^T k) v over all positions, q, k (B, d, h, w), v (B, c, h, w) -> (B, c, h, w); scores in full precision."""
    if q.device.type != "cpu":
        rows = [part.flatten(2).transpose(1, 2) for part in (q, k, v)]  # (B, h w, ·)
        return F.scaled_dot_product_attention(rows[0], rows[1], rows[2], scale=1.0).transpose(1, 2).unflatten(2, v.shape[2:])
    exact, height_width = torch.promote_types(q.dtype, torch.float32), v.shape[2:]
    q, k, v = (part.flatten(2).transpose(1, 2) for part in (q.to(exact), k.to(exact), v))
    with torch.autocast("cpu", enabled=False):
        if torch.compiler.is_exporting():  # there the number of images is open
            rows = [torch.softmax(part @ k.transpose(1, 2), 2).to(v.dtype) @ v for part in q.split(ROWS, 1)]
            found = torch.cat(rows, 1)
        else:
            found = torch.stack([_Attention.apply(*(part.contiguous() for part in image)) for image in zip(q, k, v)])
    return found.transpose(1, 2).unflatten(2, height_width)


class _Attention(torch.autograd.Function):
    """softmax(q k^T) v of one image, q, k (n, d) in full precision, v (n, c). ROWS rows of the softmax at a time stay in the
    processor's cache; the gradient works them out again rather than fetch n x n numbers from memory."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        ctx.save_for_backward(q, k, v)
        v_t = v.t().contiguous()
        return torch.cat([_times(torch.softmax(_times(rows, k), 1).to(v.dtype), v_t) for rows in q.split(ROWS)])

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = ctx.saved_tensors
        low, g = v.dtype, g.to(v.dtype).contiguous()
        g_q, g_k, g_v = [], torch.zeros_like(k), torch.zeros_like(v, dtype=k.dtype)
        for rows, g_rows in zip(q.split(ROWS), g.split(ROWS)):
            weights = torch.softmax(_times(rows, k), 1)
            g_scores = torch._softmax_backward_data(_times(g_rows, v).to(k.dtype), weights, 1, k.dtype).to(low)
            g_q.append(g_scores @ k.to(low))
            g_k += g_scores.t() @ rows.to(low)
            g_v += weights.to(low).t() @ g_rows
        return torch.cat(g_q).to(q.dtype), g_k, g_v.to(low)


def _times(a: Tensor, b: Tensor) -> Tensor:
    """a b^T, (n, d) and (m, d) -> (n, m). In float32 as a 1x1 convolution: the same products, on a CPU of several threads in
    half the time of a matrix product."""
    if a.dtype == torch.bfloat16:
        return a @ b.t()
    return F.conv2d(a.t().unsqueeze(0).unsqueeze(3), b.unsqueeze(2).unsqueeze(3)).squeeze(0).squeeze(2).t()
