"""The crops of the field: computes the presets of crops.yaml in pixels, and cuts them.

Boxes are x0, y0, x1, y1 on the pixel grid (pixel i covers [i, i + 1)); points have (0, 0) in the centre of the top-left pixel.
Every crop is a square with one scale: the aspect ratio is kept.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import cv2
import numpy as np
from pydantic import Field

from pipeline.core import image_ops
from pipeline.core.config import Strict, parse, pick
from pipeline.core.errors import InputError

PATH = Path(__file__).with_name("crops.yaml")
MOST = 0.15  # share of a re-cut crop that may lie outside the stored crop
FINE = 64  # sampling points along each side for that share
Box = tuple[float, float, float, float]


class Boxed(Strict):
    """A square around the face box; crops.yaml explains each number."""

    by: Literal["box"]
    of: Literal["width", "longer", "shorter"]
    times: float
    clip: Literal["median", "union"]
    shift: float
    shape: Literal["square", "face"]
    shown: float
    outside: Literal["repeat", "black"]
    size: int
    stated: list[str]
    source: str
    note: str


class Aligned(Strict):
    """A square aligned with the eyes."""

    by: Literal["points"]
    eyes: float
    mouth: float
    down: float
    size: int
    stated: list[str]
    source: str
    note: str


Preset = Boxed | Aligned


class Presets(Strict):
    """The whole of crops.yaml."""

    presets: dict[str, Annotated[Preset, Field(discriminator="by")]]


@dataclass(frozen=True)
class Frame:
    """Position of a crop in an image."""

    box: Box  # a square
    angle: float  # clockwise rotation about its centre, radians
    shown: Box  # the part of the box that shows the image; the rest is black
    black: bool  # whether the outside of the image is black; otherwise the border is repeated


@cache
def load(path: Path = PATH) -> dict[str, Preset]:
    """Reads all presets, by name. InputError when the file breaks the schema."""
    from ruamel.yaml import YAML

    return parse(Presets, {"presets": YAML(typ="safe").load(path.read_text())}, str(path)).presets


def preset(name: str) -> Preset:
    """One preset. InputError, naming the closest preset, when there is none."""
    found: Preset = pick(load(), name, "crops.yaml")
    return found


def stored(name: str) -> Boxed:
    """A preset for storing frames. InputError: it needs landmarks, which are detected in stored frames only."""
    found = preset(name)
    if isinstance(found, Aligned):
        raise InputError(f"crop {name!r} needs landmarks, which are detected in stored frames: store fsth and cut {name} from "
                         "it (pipeline/frames/crops.py: recrop)")
    return found


def frame(preset: Preset, faces: np.ndarray, points: np.ndarray | None, shape: tuple[int, ...]) -> Frame:
    """The crop for the face boxes (n, 4) of a clip or (4,) of an image; an `Aligned` preset needs one image's points (68, 2).

    `shape`: (H, W) of the image. InputError: the boxes or points that the preset needs are missing.
    """
    if isinstance(preset, Boxed):
        faces = np.asarray(faces, np.float64).reshape(-1, 4)
        if not (np.isfinite(faces).all() and (faces[:, 2:] > faces[:, :2]).all() and len(faces)):
            raise InputError("this crop is a square around the face and needs its box; leave out frames without a box")
        return boxed(preset, faces, shape)
    if points is None or not np.isfinite(points).all():
        raise InputError("this crop is aligned with the eyes and needs all 68 landmarks; leave out frames without landmarks")
    return aligned(preset, np.asarray(points, np.float64))


def boxed(preset: Boxed, faces: np.ndarray, shape: tuple[int, ...]) -> Frame:
    """One fixed square for the faces (n, 4) of a clip, rounded to 0.1 pixel so that a detector's last bits do not move it."""
    low, high = faces[:, :2], faces[:, 2:]
    if preset.clip == "union":
        low, high = low.min(0, keepdims=True), high.max(0, keepdims=True)
    width, height = (float(side) for side in np.median(high - low, axis=0))
    side = {"width": width, "longer": max(width, height), "shorter": min(width, height)}[preset.of]
    half = round(side * preset.times / 2, 1)
    a, b = (half * preset.shown * (part / max(width, height) if preset.shape == "face" else 1) for part in (width, height))
    x, y = (round(float(value), 1) for value in np.median((low + high) / 2, axis=0))
    x, y = (round(_shifted(*values, preset.shift), 1) for values in ((x, a, shape[1]), (y, b, shape[0])))
    return Frame((x - half, y - half, x + half, y + half), 0.0, (x - a, y - b, x + a, y + b), preset.outside == "black")


def _shifted(centre: float, half: float, length: int, share: float) -> float:
    """The centre moved so that the side 2 x half fits into [0, length), by at most `share` of the side."""
    low, high = min(half, length / 2), max(length - half, length / 2)  # a box wider than the image is centred in it
    return centre + float(np.clip(np.clip(centre, low, high) - centre, -2 * half * share, 2 * half * share))


def aligned(preset: Aligned, points: np.ndarray) -> Frame:
    """The square of one image with points (68, 2), rotated so that the eyes are level and the mouth is below them."""
    left, right = points[36:42].mean(0), points[42:48].mean(0)
    middle, eyes = (left + right) / 2, right - left
    mouth = (points[48] + points[54]) / 2 - middle
    across = eyes + np.array([mouth[1], -mouth[0]])  # two estimates of "right": along the eyes, perpendicular to eyes-mouth
    half = max(preset.eyes * float(np.hypot(*eyes)), preset.mouth * float(np.hypot(*mouth)))
    x, y = (float(value) for value in middle + preset.down * mouth + .5)
    box = (x - half, y - half, x + half, y + half)
    return Frame(box, float(np.arctan2(across[1], across[0])), box, False)


def cut(image: np.ndarray, frame: Frame, size: int) -> np.ndarray:
    """The crop of an image (H, W, 3) uint8 as (size, size, 3) uint8."""
    if frame.angle:
        return _rotated(image, frame, size)
    rows, columns = (_cover(frame, axis, size, image.shape[1 - axis]) for axis in (1, 0))
    return np.asarray(np.rint(image_ops.crop(image, frame.box, size) * (rows[:, None] * columns)[..., None]), np.uint8)


def _cover(frame: Frame, axis: int, size: int, end: int) -> np.ndarray:
    """Share of each of the `size` columns (axis 0) or rows (axis 1) that shows the image [0, end), not black: (size,)."""
    low, high = frame.shown[axis], frame.shown[axis + 2]
    if frame.black:
        low, high = max(low, 0), min(high, end)
    step = (frame.box[axis + 2] - frame.box[axis]) / size
    edge = frame.box[axis] + step * np.arange(size)
    return np.clip((np.minimum(edge + step, high) - np.maximum(edge, low)) / step, 0, 1)


def _rotated(image: np.ndarray, frame: Frame, size: int) -> np.ndarray:
    """A rotated square: sampled at the image's resolution or finer, then averaged down."""
    fine = max(1, int(np.ceil((frame.box[2] - frame.box[0]) / size)))
    large = cv2.warpAffine(image, _to_image(frame, size * fine), (size * fine, size * fine), borderMode=cv2.BORDER_REPLICATE,
                           flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP)
    return np.asarray(np.rint(large.reshape(size, fine, size, fine, 3).mean((1, 3))), np.uint8)


def _to_image(frame: Frame, size: int) -> np.ndarray:
    """The matrix (2, 3) from pixels of the crop to pixels of the image."""
    x0, y0, x1, y1 = frame.box
    step, cos, sin = (x1 - x0) / size, np.cos(frame.angle), np.sin(frame.angle)
    turn = step * np.array([[cos, -sin], [sin, cos]])
    centre = np.array([x0 + x1, y0 + y1]) / 2 - .5
    return np.column_stack([turn, centre - turn @ np.full(2, (size - 1) / 2)])


def to_crop(points: np.ndarray, frame: Frame, size: int) -> np.ndarray:
    """Points (…, 2) from pixels of the image to pixels of the crop."""
    matrix = _to_image(frame, size)
    return np.asarray((points - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T)


def outside(frame: Frame, shape: tuple[int, ...]) -> float:
    """Share of the shown part that lies outside an image (H, W)."""
    matrix, grid = _to_image(frame, FINE), np.arange(FINE)
    places = np.stack(np.meshgrid(grid, grid), -1) @ matrix[:, :2].T + matrix[:, 2] + .5
    inside = ((places >= 0) & (places <= np.array(shape[1::-1]))).all(-1)
    rows, columns = (_cover(replace(frame, black=False), axis, FINE, 0) > .5 for axis in (1, 0))
    return float(1 - inside[rows][:, columns].mean())


def recrop(image: np.ndarray, faces: np.ndarray, points: np.ndarray | None, preset: Preset, size: int) -> np.ndarray:
    """Cuts another crop from a stored one (H, W, 3): (size, size, 3).

    `faces`, in its pixels: (4,), or (n, 4) for one fixed crop of a clip. Outside of the stored crop it is padded as the preset
    states. InputError: padding would be more than MOST of it, or points are missing.
    """
    where = frame(preset, faces, points, image.shape)
    if (share := outside(where, image.shape)) > MOST:
        raise InputError(f"{share:.0%} of this crop lies outside the stored one; store a looser crop (frames.crop)")
    return cut(image, where, size)


def describe(preset: Preset) -> dict[str, Any]:
    """The numbers of a preset, for manifests."""
    return preset.model_dump(exclude={"stated", "source", "note"})
