"""Weights files for 2DFAN: drawn at random, or such that the heat maps are the colours of the picture."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from model.backbones import registry


def shapes(modules: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes as in the package's file."""
    found: dict[str, tuple[int, ...]] = {}

    def conv(name: str, to: int, of: int, kernel: int, bias: bool = True) -> None:
        found[f"{name}.weight"] = (to, of, kernel, kernel)
        if bias:
            found[f"{name}.bias"] = (to,)

    def norm(name: str, n: int) -> None:
        found.update({f"{name}.{part}": (n,) for part in ("weight", "bias", "running_mean", "running_var")})
        found[f"{name}.num_batches_tracked"] = ()

    def block(name: str, of: int, to: int) -> None:
        for k, (n, m) in enumerate(((of, to // 2), (to // 2, to // 4), (to // 4, to // 4)), 1):
            norm(f"{name}.bn{k}", n)
            conv(f"{name}.conv{k}", m, n, 3, bias=False)
        if of != to:
            norm(f"{name}.downsample.0", of)
            conv(f"{name}.downsample.2", to, of, 1, bias=False)

    conv("conv1", 64, 3, 7)
    norm("bn1", 64)
    for name, of, to in (("conv2", 64, 128), ("conv3", 128, 128), ("conv4", 128, 256)):
        block(name, of, to)
    for k in range(modules):
        for part in ("b2_plus_1", *(f"b{j}_{depth}" for depth in (4, 3, 2, 1) for j in (1, 2, 3))):
            block(f"m{k}.{part}", 256, 256)
        block(f"top_m_{k}", 256, 256)
        conv(f"conv_last{k}", 256, 256, 1)
        norm(f"bn_end{k}", 256)
        conv(f"l{k}", 68, 256, 1)
        if k + 1 < modules:
            conv(f"bl{k}", 256, 256, 1)
            conv(f"al{k}", 256, 68, 1)
    return found


def drawn(modules: int, seed: int = 0) -> dict[str, Tensor]:
    """Random weights under which the pictures still make a difference at the end."""
    draw = torch.Generator().manual_seed(seed)
    return {name: _drawn(name, shape, draw) for name, shape in shapes(modules).items()}


def _drawn(name: str, shape: tuple[int, ...], draw: torch.Generator) -> Tensor:
    if not shape:
        return torch.tensor(1)
    if len(shape) == 4:
        return torch.randn(shape, generator=draw) * (.5 / (shape[1] * shape[2] * shape[3])) ** .5
    if name.endswith(("running_var", "weight")):
        return .5 + torch.rand(shape, generator=draw)
    return .1 * torch.randn(shape, generator=draw)


def colours() -> dict[str, Tensor]:
    """Heat map k is the picture's colour k % 3, each hourglass adding blurred copies of it."""
    found = {name: torch.zeros(shape) for name, shape in shapes(1).items()}
    found |= {name: torch.ones(value.shape) for name, value in found.items() if name.endswith("running_var")}
    found |= {name: torch.ones(value.shape) for name, value in found.items() if value.ndim == 1 and name.endswith(".weight")}
    for name in ("conv1", "conv2.downsample.2", "conv4.downsample.2", "conv_last0", "l0"):
        kernel = found[f"{name}.weight"]
        for k in range(3) if name != "l0" else range(68):
            kernel[k, k % 3, kernel.shape[2] // 2, kernel.shape[3] // 2] = 1
    return found


def lay(folder: Path, weights: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file where the registry looks for it, accepted by its hash."""
    entry = registry.REGISTRY["fan"]
    path = folder / entry.file
    torch.save(weights, path)
    monkeypatch.setenv("TALKING_HEADS_WEIGHTS", str(folder))
    monkeypatch.setitem(registry.REGISTRY, "fan", dataclasses.replace(entry, sha256=registry.sha256(path), bytes=None))
    return path


def decode_slowly(heat: np.ndarray, centre: np.ndarray, side: float) -> np.ndarray:
    """Points (68, 2) of heat maps (68, 64, 64), number by number."""
    points = []
    for rows in heat.tolist():
        best, x, y = rows[0][0], 0, 0
        for i, row in enumerate(rows):
            for j, value in enumerate(row):
                if value > best:
                    best, x, y = value, j, i
        dx = dy = 0.0
        if 0 < x < 63 and 0 < y < 63:
            dx = .25 if rows[y][x + 1] > rows[y][x - 1] else -.25 if rows[y][x + 1] < rows[y][x - 1] else 0
            dy = .25 if rows[y + 1][x] > rows[y - 1][x] else -.25 if rows[y + 1][x] < rows[y - 1][x] else 0
        grow = side / 64
        points.append([int((x + .5 + dx) * grow + centre[0] - side / 2), int((y + .5 + dy) * grow + centre[1] - side / 2)])
    return np.array(points)


def crop_slowly(image: np.ndarray, centre: np.ndarray, side: float) -> np.ndarray:
    """The square (256, 256, 3) float64, pixel by pixel: cut at whole pixels, black outside, bilinear."""
    (x0, y0), (x1, y1) = ([int((k / 256 - .5) * side + c) for c in centre] for k in (1, 256))

    def pixel(x: int, y: int) -> np.ndarray:
        x, y = min(max(x, x0), x1 - 1), min(max(y, y0), y1 - 1)
        return image[y, x].astype(float) if 0 <= x < image.shape[1] and 0 <= y < image.shape[0] else np.zeros(3)

    out = np.zeros((256, 256, 3))
    for i in range(256):
        v = y0 + (i + .5) * (y1 - y0) / 256 - .5
        for j in range(256):
            u = x0 + (j + .5) * (x1 - x0) / 256 - .5
            x, y = int(np.floor(u)), int(np.floor(v))
            a, b = u - x, v - y
            out[i, j] = (1 - b) * ((1 - a) * pixel(x, y) + a * pixel(x + 1, y)) + b * ((1 - a) * pixel(x, y + 1)
                                                                                      + a * pixel(x + 1, y + 1))
    return out


def one(landmarker, image, box):
    """The points of a single picture."""
    return landmarker.predict([image], np.array(box)[None])[0]


def pictures(astronaut, box):
    """Faces of several sizes, one at the edge, a box without a face, and a picture of another size: with their boxes."""
    small = cv2.resize(astronaut, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    x0, y0 = int(box[0]) - 2, int(box[1]) - 2
    cut = np.ascontiguousarray(astronaut[y0:y0 + 200, x0:x0 + 200])
    made = [(astronaut, box[:4]), (small, (box[:4] + 0.5) / 4 - 0.5), (astronaut, (300, 300, 420, 420)),
            (cut, box[:4] - [x0, y0, x0, y0]), (astronaut, (0, np.nan, 50, 50)), (astronaut[::2, ::2].copy(), box[:4] / 2)]
    return [image for image, _ in made], np.array([at for _, at in made], np.float64)
