"""MTCNN (Zhang, Zhang, Li, Qiao 2016): a cascade of three small networks; each rejects and corrects boxes of the previous.

The weights are facenet-pytorch's; the package itself is not imported, because it imports torchvision, which takes seconds.
Boxes are x0, y0, x1, y1 in the pixel coordinates of points: the centre of the top-left pixel is (0, 0).
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from model.backbones import registry
from model.backbones.windows import Array, inside, window

KEEP = (0.6, 0.7, 0.7)  # smallest probability of a face to pass each stage
SHRINK = 0.709  # factor between levels of the image pyramid
CELL, STRIDE = 12, 2  # receptive field and stride of a P-Net output, pixels
POOLS: dict[str, tuple[tuple[int, int] | None, ...]] = {  # (kernel, stride) of the pooling after each convolution
    "pnet": ((2, 2), None, None), "rnet": ((3, 2), (3, 2), None), "onet": ((3, 2), (3, 2), (2, 2), None)}


class Stage:
    """One network of the cascade: images -> probability of a face, box corrections and, for O-Net, five points."""

    def __init__(self, name: str, device: str = "cpu") -> None:
        self.weights = {key: value.to(device) for key, value in registry.state(f"mtcnn_{name}").items()}
        self.name, self.device = name, device

    @torch.no_grad()
    def __call__(self, images: Array) -> list[Array]:
        """images uint8 (N, h, w, 3) -> P-Net: (N, h', w'), (N, 4, h', w'); R-Net: (N,), (N, 4); O-Net: also (N, 10)."""
        x = torch.from_numpy(images).to(self.device).permute(0, 3, 1, 2).float()
        x = self._convolved((x - 127.5) / 128)
        heads = [key[:-len(".bias")] for key in self.weights if "_" in key and key.endswith(".bias")]  # in order
        if self.name == "pnet":
            out = [F.conv2d(x, *self._layer(head)) for head in heads]
        else:
            n = len(POOLS[self.name]) + 1
            x = F.linear(x.permute(0, 3, 2, 1).flatten(1), *self._layer(f"dense{n}"))  # weights expect column-major maps
            x = F.prelu(x, self.weights[f"prelu{n}.weight"])
            out = [F.linear(x, *self._layer(head)) for head in heads]
        return [out[0].softmax(1)[:, 1].cpu().numpy(), *(o.cpu().numpy() for o in out[1:])]

    def _convolved(self, x: Tensor) -> Tensor:
        for n, pool in enumerate(POOLS[self.name], 1):
            x = F.prelu(F.conv2d(x, *self._layer(f"conv{n}")), self.weights[f"prelu{n}.weight"])
            x = x if pool is None else F.max_pool2d(x, *pool, ceil_mode=True)
        return x

    def _layer(self, name: str) -> tuple[Tensor, Tensor]:
        return self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]


class Cascade:
    """All three stages on one image."""

    def __init__(self, device: str = "cpu") -> None:
        self.p, self.r, self.o = (Stage(name, device) for name in POOLS)

    def __call__(self, image: Array, smallest: float) -> Array:
        """image uint8 (H, W, 3), side of the smallest face in pixels -> (k, 5) float32: box and probability."""
        boxes = self._proposed(image, CELL / smallest)
        for stage, size, keep in ((self.r, 24, KEEP[1]), (self.o, 48, KEEP[2])):
            boxes = boxes[[inside(box, image, least=1) for box in boxes]]
            if not len(boxes):
                break
            boxes = _square(boxes)
            face, corrections = stage(np.stack([_crop(image, box, size)[0] for box in boxes]))[:2]
            passed = face > keep
            boxes = np.column_stack([boxes[passed, :4], face[passed]])
            boxes, corrections = _apart(boxes, 0.7, corrections[passed]) if size == 24 else (boxes, corrections[passed])
            boxes = _corrected(boxes, corrections)
        return _apart(boxes, 0.7, smaller=True)[0].astype(np.float32)

    def _proposed(self, image: Array, scale: float) -> Array:
        found = [np.zeros((0, 9))]
        while min(image.shape[:2]) * scale >= CELL:
            h, w = (int(np.ceil(n * scale)) for n in image.shape[:2])
            face, corrections = self.p(cv2.resize(image, (w, h), interpolation=cv2.INTER_AREA)[None])
            rows, columns = np.nonzero(face[0] >= KEEP[0])
            corner = np.stack([columns, rows], 1) * STRIDE
            boxes = np.concatenate([corner / scale, (corner + CELL) / scale], 1) - 0.5
            rest = [face[0, rows, columns][:, None], corrections[0][:, rows, columns].T]
            found.append(_apart(np.concatenate([boxes, *rest], 1), 0.5)[0])
            scale *= SHRINK
        boxes = _apart(np.concatenate(found), 0.7)[0]
        return _corrected(boxes[:, :5], boxes[:, 5:])


def five_points(onet: Stage, image: Array, box: Array) -> tuple[Array, float]:
    """Eyes, nose and corners of the mouth (5, 2) in a face's box, and the probability that the box is a face."""
    cut, back, n = _crop(image, _square(np.asarray(box, float)[None, :4])[0], 48)
    face, _, points = onet(cut[None])
    return back(points[0].reshape(2, 5).T * n - 0.5), float(face[0])


def _crop(image: Array, box: Array, size: int) -> tuple[Array, Any, int]:
    cut, _, back = window(image, (box[:2] + box[2:4]) / 2, box[2] - box[0])
    way = cv2.INTER_AREA if len(cut) > size else cv2.INTER_LINEAR
    return cv2.resize(cut, (size, size), interpolation=way), back, len(cut)


def _corrected(boxes: Array, by: Array) -> Array:
    """Boxes with each edge moved by its correction, a fraction of the box's width or height."""
    size = boxes[:, 2:4] - boxes[:, :2]
    return np.concatenate([boxes[:, :4] + by * np.tile(size, 2), boxes[:, 4:]], 1)


def _square(boxes: Array) -> Array:
    centre, half = (boxes[:, :2] + boxes[:, 2:4]) / 2, np.ptp(boxes[:, :4].reshape(-1, 2, 2), axis=1).max(1)[:, None] / 2
    return np.concatenate([centre - half, centre + half, boxes[:, 4:]], 1)


def _apart(boxes: Array, most: float, *others: Array, smaller: bool = False) -> list[Array]:
    """Non-maximum suppression on columns 0-3 by column 4; the overlap is relative to the union or the smaller box."""
    left, kept = np.argsort(-boxes[:, 4], kind="stable"), []
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    while len(left):
        best, left = left[0], left[1:]
        kept.append(best)
        sides = np.minimum(boxes[left, 2:4], boxes[best, 2:4]) - np.maximum(boxes[left, :2], boxes[best, :2])
        both = np.clip(sides, 0, None).prod(1)
        of = np.minimum(area[left], area[best]) if smaller else area[left] + area[best] - both
        left = left[both <= most * of]
    return [array[np.array(kept, int)] for array in (boxes, *others)]
