"""Images in memory, RGB uint8 (H, W, 3): exact resampling of a square, points in it, PNG."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np


def crop(image: np.ndarray, box: Sequence[float] | np.ndarray, size: int) -> np.ndarray:
    """Resamples the square `box` x0, y0, x1, y1 of an image (H, W, 3) uint8 to (size, size, 3) uint8.

    Box edges are positions on the pixel grid (pixel i covers [i, i + 1)), fractions allowed. Downsampling: exact area average;
    upsampling: cubic (Catmull-Rom). Outside the image, border pixels are repeated: a network would learn the edges of black
    bars, and reflection would show a second chin.
    """
    x0, y0, x1, y1 = map(float, box)
    rows, top = _weights(y0, y1, size, image.shape[0])
    columns, left = _weights(x0, x1, size, image.shape[1])
    part = image[top:top + rows.shape[1], left:left + columns.shape[1]].astype(np.float32)
    lines = (rows @ part.reshape(len(part), -1)).reshape(size, columns.shape[1], 3)
    out = np.matmul(columns, lines)  # (size, size, 3)
    return np.asarray(np.clip(np.floor(out + .501), 0, 255), np.uint8)  # not .5: ties must not depend on summation order


def _weights(start: float, stop: float, size: int, n: int) -> tuple[np.ndarray, int]:
    """Matrix (size, m) that resamples [start, stop) to `size` pixels, over the image's pixels from `first` on; and `first`."""
    step = (stop - start) / size
    low, high = int(np.floor(start)) - 2, int(np.ceil(stop)) + 2
    pixel = np.arange(low, high)
    edge = start + step * np.arange(size)[:, None]
    if step >= 1:
        weight = np.clip(np.minimum(edge + step, pixel + 1) - np.maximum(edge, pixel), 0, None)
    else:
        weight = _cubic(np.abs(edge + step / 2 - .5 - pixel))
    weight /= weight.sum(1, keepdims=True)
    inside = np.clip(pixel, 0, n - 1)
    first = int(inside[0])
    folded = np.zeros((int(inside[-1]) - first + 1, size))
    np.add.at(folded, inside - first, weight.T)
    return np.ascontiguousarray(folded.T, np.float32), first


def _cubic(d: np.ndarray) -> np.ndarray:
    """Catmull-Rom kernel at distances d >= 0, in pixels."""
    near, far = 1.5 * d**3 - 2.5 * d**2 + 1, -.5 * d**3 + 2.5 * d**2 - 4 * d + 2
    return np.where(d < 1, near, np.where(d < 2, far, 0.0))


def to_crop(points: np.ndarray, box: Sequence[float] | np.ndarray, size: int) -> np.ndarray:
    """Points (…, 2) from pixels of the image to pixels of the crop; in both, the centre of the top-left pixel is (0, 0)."""
    x0, y0, x1, _ = map(float, box)
    return np.asarray((points + .5 - np.array([x0, y0])) * (size / (x1 - x0)) - .5)


def to_png(image: np.ndarray) -> bytes:
    """Encodes an image (H, W, 3) uint8 RGB as PNG."""
    return bytes(cv2.imencode(".png", image[:, :, ::-1])[1])


def from_png(data: bytes) -> np.ndarray:
    """Decodes a PNG: (H, W, 3) uint8 RGB. ValueError when `data` is not an image."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError("not an image")
    return np.ascontiguousarray(image[:, :, ::-1])
