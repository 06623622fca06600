"""A drawn person whose every place is known, and the pictures of all crop presets made of it.

`python tests/made_crops.py` writes the golden crops anew, and the strip that docs/crops.md shows.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import made_faces
import numpy as np

from pipeline.core import image_ops
from pipeline.frames import crops
from stages.crops import labelled

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT / "tests/data/crops"
STRIP = ROOT / "docs/crops.png"
SIZE, SHOWN = 48, 112  # pixels of a golden crop, and of one in the strip
FINE = 4  # drawn so many times larger and averaged: edges do not hang on how OpenCV draws them
TILT, SCALE, CORNER = np.radians(12), 150.0, np.array([90.0, 22.0])


def points() -> np.ndarray:
    """The 68 landmarks of the drawn face, its head tilted: (68, 2)."""
    return _placed(made_faces.face(1.0) + .5)


def box() -> np.ndarray:
    """The face's box, as a detector would give it: taller than wide, without the top of the head."""
    x, y = CORNER + SCALE * np.array([.5, .46])
    return np.array([x - 47, y - 58, x + 47, y + 58])


def person(width: int = 320, height: int = 240) -> np.ndarray:
    """The picture: (height, width, 3) uint8."""
    image = np.full((height * FINE, width * FINE, 3), (150, 175, 190), np.uint8)
    image[:, (np.arange(width * FINE) // (24 * FINE)) % 2 == 0] = (140, 165, 182)
    marks = made_faces.face(1.0) + .5
    _fill(image, _ellipse(.62, 1.35, .62, .5), (70, 90, 140), level=True)
    _fill(image, _ellipse(.5, .42, .38, .5), (60, 40, 30))
    _fill(image, _ellipse(.5, .47, .3, .42), (225, 180, 150))
    for low, high, colour in ((17, 22, (60, 40, 30)), (22, 27, (60, 40, 30)), (31, 36, (190, 140, 115))):
        line = marks[low:high]
        _fill(image, np.concatenate([line, line[::-1] + np.array([0, .02])]), colour)
    for low, high, colour in ((36, 42, (245, 245, 245)), (42, 48, (245, 245, 245)), (48, 60, (170, 60, 70))):
        _fill(image, marks[low:high], colour)
    for x in (.36, .64):
        _fill(image, _ellipse(x, .4, .02, .02), (40, 60, 40))
    _fill(image, _ellipse(.36, .55, .012, .012), (120, 70, 50))  # a mole: left and right differ
    return np.asarray(np.rint(image.reshape(height, FINE, width, FINE, 3).mean((1, 3))), np.uint8)


def _ellipse(x: float, y: float, a: float, b: float) -> np.ndarray:
    turn = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    return np.c_[x + a * np.cos(turn), y + b * np.sin(turn)]


def _placed(shares: np.ndarray, level: bool = False) -> np.ndarray:
    """Shares of the face's square -> pixels of the picture, turned about the middle of the face."""
    cos, sin = (1.0, 0.0) if level else (np.cos(TILT), np.sin(TILT))
    return CORNER + SCALE * (.5 + (shares - .5) @ np.array([[cos, sin], [-sin, cos]])) - .5


def _fill(image: np.ndarray, shares: np.ndarray, colour: tuple[int, int, int], level: bool = False) -> None:
    cv2.fillPoly(image, [np.rint((_placed(shares, level) + .5) * FINE).astype(np.int32)], colour)


def crop(name: str, size: int) -> np.ndarray:
    """The drawn person in one preset."""
    image = person()
    return crops.cut(image, crops.frame(crops.preset(name), box(), points(), image.shape), size)


def strip() -> np.ndarray:
    """The picture with its box, and every preset beside it under its name."""
    image = person()
    x0, y0, x1, y1 = (round(edge) for edge in box())
    cv2.rectangle(image, (x0, y0), (x1, y1), (255, 255, 0), 2)
    cells = [("picture, box", image_ops.crop(image, (0, -40, 320, 280), SHOWN))]
    cells += [(name, crop(name, SHOWN)) for name in crops.load()]
    columns = [labelled(name, cell) for name, cell in cells]
    columns += [np.full_like(columns[0], 255)] * (-len(columns) % 2)
    half = len(columns) // 2
    return np.concatenate([np.concatenate(columns[:half], 1), np.concatenate(columns[half:], 1)])


def main() -> None:
    """Writes the golden crops and the strip."""
    GOLDEN.mkdir(parents=True, exist_ok=True)
    for name in crops.load():
        (GOLDEN / f"{name}.png").write_bytes(image_ops.to_png(crop(name, SIZE)))
    STRIP.write_bytes(image_ops.to_png(strip()))


if __name__ == "__main__":
    main()
