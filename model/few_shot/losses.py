"""The terms of the objective (section 3.2) and their weights in the paper's two versions.

L(phi, psi, P, theta, W, w_0, b) = L_CNT + L_ADV + L_MCH, L_ADV = -D(x_hat) + L_FM; the discriminator minimises L_DSC.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

# Loss weights in the two versions of the paper; they apply to Caffe networks on BGR images in 0-255.
PRESETS = {
    "v1": {"vgg19": 1e-2, "vggface": 2e-3, "features": 10.0, "matching": 80.0},  # May 2019
    "v2": {"vgg19": 1.5e-1, "vggface": 2.5e-2, "features": 10.0, "matching": 10.0},  # September 2019
}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Vgg(_Strict):
    """The paper's content loss; the user provides its weights files."""

    kind: Literal["vgg"]
    preset: Literal["v1", "v2"]
    weights: Literal["caffe", "torchvision"]  # of VGG19; the presets are meant for caffe
    pool: Literal["max", "avg"]
    face: bool  # the VGGFace term


class Pyramid(_Strict):
    """The embedded content loss: pixels and gradients at several scales, and EfficientNet-Lite0 features."""

    kind: Literal["pyramid"]
    weight: float  # of the whole term
    scales: int  # the image is halved scales - 1 times
    gradient: float  # weight of each of the x and y gradients relative to the pixels
    perceptual: float  # weight of the mean over the four feature maps
    levels: list[float]  # mean absolute activation of each map on training frames, to normalise its term


def backbones_of(config: Vgg | Pyramid) -> list[str]:
    """Registry names of the networks of a content loss."""
    if isinstance(config, Vgg):
        return [f"vgg19_{config.weights}", *(["vggface_caffe"] if config.face else [])]
    return ["efflite0"] if config.perceptual else []


class Content(nn.Module):
    """L_CNT(x, x_hat): distance of both images' features in frozen networks. Only x_hat gets a gradient."""

    def __init__(self, config: Vgg | Pyramid) -> None:
        super().__init__()
        from model.backbones import perceptual as perceptual_nets

        self.config = config
        self.nets = nn.ModuleList()
        if isinstance(config, Vgg):
            preset = PRESETS[config.preset]
            self.scale = [preset["vgg19"], preset["vggface"]]
            self.nets.append(perceptual_nets.vgg19(config.weights, config.pool))
            if config.face:
                self.nets.append(perceptual_nets.vggface(config.pool))
        elif config.perceptual:
            self.nets.append(perceptual_nets.efflite0())
        self.nets.requires_grad_(False).eval()

    def forward(self, x: Tensor, x_hat: Tensor) -> Tensor:
        """x, x_hat (B, 3, H, W) in [0, 1] -> scalar."""
        if isinstance(self.config, Vgg):
            terms = [scale * l_features(net, x, x_hat, None) for scale, net in zip(self.scale, self.nets)]
            return torch.stack(terms).sum()
        loss = l_pyramid(x, x_hat, self.config.scales, self.config.gradient)
        for net in self.nets:
            loss = loss + self.config.perceptual * l_features(net, x, x_hat, self.config.levels) / len(self.config.levels)
        return self.config.weight * loss


def l_features(net: nn.Module, x: Tensor, x_hat: Tensor, levels: list[float] | None) -> Tensor:
    """sum_l mean |f_l(x) - f_l(x_hat)| / c_l over the taps of a frozen network; c_l = 1 without levels."""
    with torch.no_grad():
        real = net.taps(x)  # type: ignore[operator]  # a method of every trunk in model/backbones/perceptual.py
    fake = net.taps(x_hat)  # type: ignore[operator]
    return torch.stack([F.l1_loss(b.float(), a.float()) / c
                        for a, b, c in zip(real, fake, levels or [1.0] * len(real), strict=True)]).sum()


def l_pyramid(x: Tensor, x_hat: Tensor, scales: int, gradient: float) -> Tensor:
    """Mean over scales of |x - x_hat| + gradient (|d/dx (x - x_hat)| + |d/dy (x - x_hat)|), each a mean."""
    difference, loss = x_hat - x.detach(), x_hat.new_zeros(())
    for scale in range(scales):
        if scale:
            difference = F.avg_pool2d(difference, 2)
        dx = (difference[..., :, 1:] - difference[..., :, :-1]).abs().mean()
        dy = (difference[..., 1:, :] - difference[..., :-1, :]).abs().mean()
        loss = loss + difference.abs().mean() + gradient * (dx + dy)
    return loss / scales


def l_dsc(r: Tensor, r_hat: Tensor) -> Tensor:
    """L_DSC = max(0, 1 + D(x_hat)) + max(0, 1 - D(x))    equation (8)"""
    return F.relu(1 + r_hat).mean() + F.relu(1 - r).mean()


def l_fm(real: list[Tensor], fake: list[Tensor]) -> Tensor:
    """L_FM: L1 between D's maps after each residual block; no gradient reaches the features of the real image.

    Mean over the blocks, as in the co-author's later code; the paper does not state whether sum or mean.
    """
    terms = [F.l1_loss(b.float(), a.detach().float()) for a, b in zip(real, fake, strict=True)]
    return torch.stack(terms).mean()


def l_mch(e: Tensor, w_i: Tensor) -> Tensor:
    """L_MCH = mean |E(x_i(s_k), y_i(s_k)) - W_i|; e (B, K, N), w_i (B, N).

    If both sides follow its gradient freely, their common solution is 0: see `weight_e` and `weight_w` of the settings.
    """
    return (e - w_i[:, None]).abs().mean()
