"""Self-attention of E, G and D (section 3.4; Zhang et al. 2018), computed in blocks of rows on a CPU."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.few_shot.blocks import NO_PSI
from model.few_shot.spectral_norm import Conv

ROWS = 512  # query positions per block on a CPU: their attention weights fit the cache


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
        if torch.compiler.is_exporting():  # the number of images is symbolic
            rows = [torch.softmax(part @ k.transpose(1, 2), 2).to(v.dtype) @ v for part in q.split(ROWS, 1)]
            found = torch.cat(rows, 1)
        else:
            found = torch.stack([_Attention.apply(*(part.contiguous() for part in image)) for image in zip(q, k, v)])
    return found.transpose(1, 2).unflatten(2, height_width)


class _Attention(torch.autograd.Function):
    """softmax(q k^T) v of one image, q, k (n, d) in full precision, v (n, c). Blocks of ROWS rows of the softmax stay in the
    processor's cache; the backward pass recomputes them instead of reading n x n values from memory."""

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
    """a b^T, (n, d) and (m, d) -> (n, m). In float32 as a 1x1 convolution: the same products, in half the time of a matrix
    product on a CPU with several threads."""
    if a.dtype == torch.bfloat16:
        return a @ b.t()
    return F.conv2d(a.t().unsqueeze(0).unsqueeze(3), b.unsqueeze(2).unsqueeze(3)).squeeze(0).squeeze(2).t()
