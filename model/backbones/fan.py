"""2DFAN-4 (Bulat & Tzimiropoulos 2017): four stacked hourglasses that map a face image to 68 heat maps.

Weights, input window and decoding of the heat maps are those of the face-alignment package. The package itself is not imported:
it installs 680 MB and runs one image at a time.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from model.backbones.windows import Array

SIDE, MAP = 256, 64  # sides of the network's input and of a heat map, pixels
CENTRE_UP, WINDOW = 0.12, 200 / 195  # the window that FAN was trained on, relative to a box
MARGIN = 8  # pixels around the square of a small face, for the interpolation when enlarging
EPS = 1e-5  # of batch normalisation


class Network:
    """The network as a function of its weights, which determine the number of hourglasses."""

    def __init__(self, weights: dict[str, Tensor], device: str) -> None:
        self.weights = {name: value.to(device) for name, value in weights.items()}
        self.modules = sum(bool(re.fullmatch(r"l\d+\.weight", name)) for name in weights)
        self.device = device

    @torch.no_grad()
    def __call__(self, images: Array) -> Array:
        """images uint8 (N, 256, 256, 3) -> heat maps (N, 68, 64, 64) float32 of the last hourglass."""
        x = torch.from_numpy(images).to(self.device).permute(0, 3, 1, 2).contiguous().float() / 255
        x = F.relu(self._norm("bn1", self._conv("conv1", x, stride=2)))  # (N, 64, 128, 128)
        x = F.avg_pool2d(self._block("conv2", x), 2)
        x = self._block("conv4", self._block("conv3", x))  # (N, 256, 64, 64)
        for k in range(self.modules):
            y = self._block(f"top_m_{k}", self._hourglass(f"m{k}", 4, x))
            y = F.relu(self._norm(f"bn_end{k}", self._conv(f"conv_last{k}", y)))
            heat = self._conv(f"l{k}", y)
            if k + 1 < self.modules:
                x = x + self._conv(f"bl{k}", y) + self._conv(f"al{k}", heat)
        maps: Array = heat.cpu().numpy()
        return maps

    def _hourglass(self, name: str, depth: int, x: Tensor) -> Tensor:
        low = self._block(f"{name}.b2_{depth}", F.avg_pool2d(x, 2))
        low = self._hourglass(name, depth - 1, low) if depth > 1 else self._block(f"{name}.b2_plus_1", low)
        low = self._block(f"{name}.b3_{depth}", low)
        return self._block(f"{name}.b1_{depth}", x) + F.interpolate(low, scale_factor=2, mode="nearest")

    def _block(self, name: str, x: Tensor) -> Tensor:
        """Three successive convolutions, their outputs concatenated and added to the input."""
        parts = [x]
        for k in (1, 2, 3):
            parts.append(self._conv(f"{name}.conv{k}", F.relu(self._norm(f"{name}.bn{k}", parts[-1]))))
        if f"{name}.downsample.2.weight" in self.weights:
            x = self._conv(f"{name}.downsample.2", F.relu(self._norm(f"{name}.downsample.0", x)))
        return torch.cat(parts[1:], 1) + x

    def _conv(self, name: str, x: Tensor, stride: int = 1) -> Tensor:
        kernel = self.weights[f"{name}.weight"]
        return F.conv2d(x, kernel, self.weights.get(f"{name}.bias"), stride, kernel.shape[-1] // 2)

    def _norm(self, name: str, x: Tensor) -> Tensor:
        mean, var, scale, shift = (self.weights[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, mean, var, scale, shift, eps=EPS)


def seen(image: Array, box: Array) -> tuple[Array, Array, float, Callable[[Array], Array]]:
    """The network's input for a face with the box x0, y0, x1, y1: the image (256, 256, 3) uint8; centre (2,) and side of the
    square in whose pixels `decode` gives the points; the function that maps these points (k, 2) to the input image.

    A small face is first enlarged to 256 px, because `decode` returns whole pixels; for a large one the image is not resized.
    """
    corners = np.asarray(box, np.float64)[:4].reshape(2, 2)
    centre, side = place(corners)
    if side >= SIDE:
        return crop(image, centre, side), centre, side, lambda points: points
    n = int(np.ceil(side)) + MARGIN
    low = np.floor(centre - n / 2).astype(int)
    m = int(np.ceil(n * SIDE / side))
    large = np.asarray(cv2.resize(_square(image, low, low + n), (m, m), interpolation=cv2.INTER_CUBIC))
    centre, side = place((corners - low + .5) * (m / n) - .5)
    return crop(large, centre, side), centre, side, lambda points: (points + .5) * (n / m) - .5 + low


def fits(image: Array, box: Array) -> bool:
    """Whether the square is at most twice as wide as the image: a damaged box must not allocate gigabytes."""
    return place(np.asarray(box, np.float64)[:4].reshape(2, 2))[1] <= 2 * max(image.shape)


def place(corners: Array) -> tuple[Array, float]:
    """Centre (2,) and side of the square that the network was trained on, from the corners (2, 2) of a face's box."""
    size = corners[1] - corners[0]
    return corners.mean(0) - (0, CENTRE_UP * size[1]), float(size.sum() * WINDOW)


def crop(image: Array, centre: Array, side: float) -> Array:
    """That square (256, 256, 3) uint8, black outside the image; its corners are truncated to whole pixels as in the package."""
    low, high = (((edge / SIDE - .5) * side + centre).astype(int) for edge in (1, SIDE))
    return np.asarray(cv2.resize(_square(image, low, high), (SIDE, SIDE), interpolation=cv2.INTER_LINEAR))


def _square(image: Array, low: Array, high: Array) -> Array:
    """Pixels from the corner `low` (x, y) to before `high`, black outside the image."""
    (x0, y0), (x1, y1) = low, high
    out = np.zeros((y1 - y0, x1 - x0, 3), np.uint8)
    part = image[max(y0, 0):max(y1, 0), max(x0, 0):max(x1, 0)]
    top, left = max(-y0, 0), max(-x0, 0)
    out[top:top + part.shape[0], left:left + part.shape[1]] = part
    return out


def decode(heat: Array, centre: Array, side: float) -> Array:
    """Heat maps (68, 64, 64) of a square -> points (68, 2) in whole pixels of the image.

    The position of a map's maximum, moved by a quarter of a map pixel towards the larger neighbour, except on the map's border.
    """
    n = np.arange(len(heat))
    y, x = np.divmod(heat.reshape(len(heat), -1).argmax(1), MAP)
    inner = ((x > 0) & (x < MAP - 1) & (y > 0) & (y < MAP - 1))[:, None]
    right, left = np.minimum(x + 1, MAP - 1), np.maximum(x - 1, 0)
    below, above = np.minimum(y + 1, MAP - 1), np.maximum(y - 1, 0)
    lean = np.sign(np.stack([heat[n, y, right] - heat[n, y, left], heat[n, below, x] - heat[n, above, x]], 1))
    peak = np.stack([x, y], 1) + .5 + .25 * lean * inner
    return np.trunc((peak / MAP - .5) * side + centre)
