"""The 68 facial landmarks: rasterises them as the landmark image y, mirrors them, and measures their error."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np

from pipeline.core.config import Strict

# Parts of the 68 points (iBUG order): first, last + 1, closed, RGB. The paper states no colours; these are a co-author's.
PARTS = (
    (0, 17, False, (255, 255, 255)),  # jaw
    (17, 22, False, (255, 0, 0)),  # brow on the left of the image
    (22, 27, False, (0, 255, 0)),  # brow on the right
    (27, 31, False, (0, 0, 255)),  # bridge of the nose
    (31, 36, False, (0, 0, 255)),  # nostrils
    (36, 42, True, (255, 0, 255)),  # eye on the left of the image
    (42, 48, True, (0, 255, 255)),  # eye on the right
    (48, 60, True, (255, 255, 0)),  # outer lips
    (60, 68, True, (255, 255, 0)),  # inner lips
)
LINE = 3.4  # line width in pixels at 256 pixels: OpenCV's `thickness=2`, antialiased; scales with the size
_SHIFT = 4  # fractional bits of OpenCV's coordinates


def _flip() -> np.ndarray:
    """Order of the 68 points after mirroring: point k of the mirrored face is point FLIP[k] of the original."""
    groups = [range(16, -1, -1), range(26, 16, -1), range(27, 31), range(35, 30, -1), (45, 44, 43, 42, 47, 46),
              (39, 38, 37, 36, 41, 40), range(54, 47, -1), range(59, 54, -1), range(64, 59, -1), range(67, 64, -1)]
    return np.array([point for group in groups for point in group])


FLIP = _flip()


class Config(Strict):
    """The section `data.landmarks` of params/DATASET.yaml."""

    detector: Literal["auto", "fan", "dlib68"]  # auto: fan where its weights are, else dlib68


def draw(points: np.ndarray, size: int) -> np.ndarray:
    """The landmark image y of points (68, 2), in pixels of a square image of `size`: (size, size, 3) uint8 RGB on black.

    Line segments join the points of each part (paper, section 3.1). The inner lips are included, in the colour of the outer
    ones: at 64 pixels the outer contour of an open mouth differs from a closed one by about a pixel, so speech would not show.
    Below 256 pixels it is rasterised larger and averaged down, so that lines keep their relative width. All black when any
    point is NaN (no face). ValueError: another shape.
    """
    fine = max(1, -(-256 // size))  # rasterised at 256 pixels or more
    canvas = np.zeros((size * fine, size * fine, 3), np.uint8)
    points = np.asarray(points, np.float64)
    if points.shape != (68, 2):
        raise ValueError(f"landmarks have shape (68, 2); got {points.shape}")
    if np.isnan(points).any():
        return canvas[:size, :size].copy()
    place = np.clip((points + .5) * fine - .5, -4 * len(canvas), 5 * len(canvas))
    fixed = np.rint(place * (1 << _SHIFT)).astype(np.int32)
    thickness = max(2, 2 * round((LINE * len(canvas) / 256 - 1.4) / 2))  # OpenCV's even widths come out 1.4 pixels wider
    for first, last, closed, colour in PARTS:
        cv2.polylines(canvas, [fixed[first:last]], closed, colour, thickness, cv2.LINE_AA, _SHIFT)
    return canvas if fine == 1 else np.asarray(cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA))


def mirror(points: np.ndarray, size: int) -> np.ndarray:
    """The points (…, 68, 2) of the mirrored image, reordered so that each keeps its meaning."""
    mirrored = points[..., FLIP, :].copy()
    mirrored[..., 0] = size - 1 - mirrored[..., 0]
    return mirrored


def nme(points: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Error of each point over the distance of the true outer eye corners (36, 45): two (n, 68, 2) -> (n, 68)."""
    eyes = np.linalg.norm(truth[:, 45] - truth[:, 36], axis=-1, keepdims=True)
    return np.asarray(np.linalg.norm(points - truth, axis=-1) / eyes)
