"""A grid of poses of one test person, yaw by opening of the mouth: the landmarks that drive, and the truth beside them.

A rendered person is rendered again, in the clothes, light and framing of the test video, as the renderer's own geometry has it.
Of other people the nearest of their hold-out frames stand in each cell: not the photos learnt from, which FT knows by heart.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from pipeline.episodes import Faces, Subject

YAW, MOUTH = 28.0, 1.0  # the ends: degrees to either side; of the widest vowel
MOUTHS = {"jaw": 0.85, "lower": 0.5, "upper": 0.25}  # an open mouth, by the weights of the renderer's `a`


class Grid(NamedTuple):
    """Cells in rows of one opening of the mouth, columns of one yaw."""

    points: np.ndarray  # (M, Y, 68, 2) pixels of the method's size
    truth: np.ndarray  # (M, Y, size, size, 3) uint8
    yaws: list[str]  # what the page calls each column
    mouths: list[str]
    told: str  # where the poses come from, a sentence
    rendered: bool


def rendered(fetch: Any, faces: Faces, subject: Subject, rows: pd.DataFrame, shape: tuple[int, int], videos: Path) -> Grid:
    """`fetch`: the Config of the source `sample`; rows: of index.parquet, the subject's sources; shape: (M, Y); videos: the
    folder whose true points of those frames say where the detector puts each point beside the true one in the mean."""
    from pipeline.sources import sample
    from pipeline.sources.renderer import motion, scene

    place = int(subject.person[1:]), int(subject.video.split("/")[1][1:])
    rng = sample.seeded(fetch, *place)
    shot = scene.Shot(scene.build(sample.seeded(fetch, place[0])), rng, fetch.pixels, fetch.supersample)
    own = motion.talk(rng, np.arange(fetch.test_frames) * fetch.seconds / fetch.frames)
    yaws, mouths = np.linspace(-YAW, YAW, shape[1]), np.linspace(0, MOUTH, shape[0])
    move = _posed(own, *(grid.ravel() for grid in np.meshgrid(np.radians(yaws), mouths)))
    drawn = [shot.draw(move, k) for k in range(shape[0] * shape[1])]
    box = tuple(rows[["x0", "y0", "x1", "y1"]].iloc[0])  # one for the whole clip
    points = _placed(np.array([marks for _, marks in drawn]), box, faces.size)
    if (file := videos / f"{subject.video}.points.npy").is_file():
        points += (faces.points(subject.sources) - _placed(np.load(file)[rows["frame"]], box, faces.size)).mean(0)
    truth = np.stack([_framed(picture, box, faces) for picture, _ in drawn])
    return Grid(points.reshape(*shape, 68, 2), truth.reshape(*shape, *truth.shape[1:]), [_turned(yaw) for yaw in yaws],
                ["closed" if mouth == 0 else f"{mouth:.0%} open" for mouth in mouths],
                "The head is rendered, so every pose is drawn anew for the landmarks and for the truth.", True)


def _posed(own: Any, yaw: np.ndarray, mouth: np.ndarray) -> Any:
    """The mean of a motion, but for yaw (n,) radians and mouth (n,) 0..1."""
    n, still = len(yaw), np.zeros_like(yaw)
    face = {name: MOUTHS.get(name, 0) * mouth for name in own.face}
    pitch, roll = own.angles[:, 1:].mean(0)
    angles = np.stack([yaw, still + pitch, still + roll], 1)
    return type(own)(angles, np.tile(own.shift.mean(0), (n, 1)), still + own.zoom.mean(), np.stack([-.5 * yaw, still], 1),
                     still, face)


def _turned(yaw: float) -> str:
    return "to the camera" if abs(yaw) < .5 else f"{abs(yaw):.0f}° to the {'right' if yaw > 0 else 'left'}"


def _placed(points: np.ndarray, box: tuple[float, ...], size: int) -> np.ndarray:
    """Points (…, 2) of the video in pixels of the crop."""
    return np.asarray((points + .5 - box[:2]) * size / (box[2] - box[0]) - .5)


def _framed(picture: np.ndarray, box: tuple[float, ...], faces: Faces) -> np.ndarray:
    """As the frames stage crops and the reader of episodes scales it."""
    import cv2

    from pipeline.core import image_ops

    stored = image_ops.crop(picture, box, faces.stored)
    return np.asarray(cv2.resize(stored, (faces.size, faces.size), interpolation=cv2.INTER_AREA))


def nearest(faces: Faces, subject: Subject, shape: tuple[int, int]) -> Grid:
    """The person's hold-out frames: in each cell that with the nearest yaw and opening of the mouth."""
    rows = np.array(sorted(subject.holdout))
    points = faces.points(rows)
    measured = np.stack([opening(points), turn(points)], 1)
    low, high = np.quantile(measured, [.03, .97], axis=0)
    grid = np.stack(np.meshgrid(*(np.linspace(low[axis], high[axis], shape[axis]) for axis in (0, 1)), indexing="ij"), -1)
    apart = (grid[:, :, None] - measured) / np.maximum(high - low, 1e-6)
    chosen = np.square(apart).sum(-1).argmin(-1)
    truth = np.stack([faces.raw(int(row)) for row in rows[chosen].ravel()])
    return Grid(points[chosen], truth.reshape(*shape, *truth.shape[1:]), [f"{yaw:+.2f}" for yaw in grid[0, :, 1]],
                [f"{mouth:.2f}" for mouth in grid[:, 0, 0]],
                "Each place shows the nearest of the person's hold-out frames: turned by the nose's distance from the middle "
                "of the jaw, over half its width; the mouth open by the gap of the lips, over the distance of the eyes.", False)


def drawn(points: np.ndarray, size: int) -> np.ndarray:
    """The landmark image of points (68, 2): (size, size, 3) uint8."""
    from pipeline.landmarks import landmark_image

    return landmark_image.draw(points, size)


def turn(points: np.ndarray) -> np.ndarray:
    """(n, 68, 2) -> (n,): the nose's tip from the middle between the ends of the jaw, in halves of their distance."""
    left, right, nose = points[:, 0, 0], points[:, 16, 0], points[:, 30, 0]
    return np.asarray((nose - (left + right) / 2) / np.maximum((right - left) / 2, 1e-6))


def opening(points: np.ndarray) -> np.ndarray:
    """(n, 68, 2) -> (n,): the gap between the inner lips over the distance of the outer corners of the eyes."""
    return np.asarray(np.linalg.norm(points[:, 66] - points[:, 62], axis=-1)
                      / np.maximum(np.linalg.norm(points[:, 45] - points[:, 36], axis=-1), 1e-6))
