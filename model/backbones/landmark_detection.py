"""Detects 68 landmarks of a face in a given box: dlib's regression trees, or 2DFAN-4 if its weights are present."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from model.backbones import fan, registry
from model.backbones.mtcnn import Stage, five_points
from model.backbones.windows import FACE, Array, inside, need_image, window
from pipeline.core.errors import InputError

# From an MTCNN box (w x h) to the box of dlib's own detector, which dlib's predictor expects: centred on the mean of the
# five points of O-Net, moved up by RAISE, with side SIDE, in units of sqrt(w h). Fitted to 222 frames of 12 real clips in
# which both detectors found the one face; the points then differ from those with dlib's own box by 0.6 % of the face
# (median; in the worst tenth over 1.6 %). With the centre of the MTCNN box it would be over 6.4 % in the worst tenth: on
# faces turned aside that box includes the ear, dlib's does not.
RAISE, SIDE = 0.031, 0.95
# Smallest probability of a face, by O-Net, in a box given for landmarks. Of 560 boxes that MTCNN found in rendered heads the
# least probable has 0.46; of 266 boxes on objects and animals one is above 0.3.
FACE_ODDS = 0.3


def choose(detector: str) -> str:
    """The detector's name; auto = fan where its weights are, else dlib68."""
    if detector != "auto":
        return detector
    return "fan" if registry.find("fan") else "dlib68"


class Dlib68:
    """68 points by dlib's regression trees (Kazemi & Sullivan 2014, trained on 300-W) in a box found by MTCNN."""

    name = "dlib68"

    def __init__(self) -> None:
        import dlib

        self.dlib, self.onet = dlib, Stage("onet")
        self.trees = dlib.shape_predictor(str(registry.require("dlib68")))
        self.sha256 = registry.hashes("dlib68", "mtcnn_onet")

    def predict(self, images: Sequence[Array], boxes: Array) -> Array:
        """images n of (H, W, 3) uint8, boxes (n, 4) x0, y0, x1, y1 of MTCNN faces -> (n, 68, 2) float32.

        NaN if a box is no face: empty, outside the image, or less than FACE_ODDS by MTCNN's last network. No detector runs, and
        the points of an image are the same bits whatever the other images are.
        """
        points = _nowhere(images, boxes)
        for k in _usable(images, boxes):
            points[k] = self._one(images[k], boxes[k])
        return points

    def _one(self, image: Array, box: Array) -> Array:
        five, probability = five_points(self.onet, image, box)
        if probability < FACE_ODDS:
            return np.full((68, 2), np.nan)
        unit = float(np.sqrt((box[2] - box[0]) * (box[3] - box[1])))
        centre, side = five.mean(0) - (0, RAISE * unit), SIDE * unit
        cut, there, back = window(image, centre, 2 * side, enlarge=FACE / side)
        corners = there(np.array([centre - side / 2, centre + side / 2]))
        rectangle = self.dlib.rectangle(*(int(v) for v in np.rint(corners).ravel()))
        points = [(part.x, part.y) for part in self.trees(cut, rectangle).parts()]
        return back(np.array(points))


class FAN:
    """68 points by 2DFAN-4 of the face-alignment package (Bulat & Tzimiropoulos 2017), the paper's choice.

    batch: images per batch on a GPU; each takes about 40 MB of memory (measured on a CPU, without cuDNN's workspace), the
    weights 96 MB. Batches are padded with black windows, so that the arithmetic does not depend on the number of images. A CPU
    processes one at a time: in batches its convolutions change the last bits (7e-7 of the largest value) and are not faster
    (0.63 s per image against 0.62 s).
    """

    name = "fan"

    def __init__(self, device: str | None = None, batch: int = 8) -> None:
        place = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.net, self.batch = fan.Network(registry.state("fan"), place), 1 if place == "cpu" else batch
        self.sha256 = registry.hashes("fan")

    def predict(self, images: Sequence[Array], boxes: Array) -> Array:
        """The same as Dlib68.predict, but a box inside the image without a face gets points, too.

        The points are those of the package, see `fan.seen` and `fan.decode`.
        """
        points = _nowhere(images, boxes)
        usable = (k for k in _usable(images, boxes) if fan.fits(images[k], boxes[k]))
        while some := [k for _, k in zip(range(self.batch), usable)]:
            seen = [fan.seen(images[k], boxes[k]) for k in some]
            windows = np.zeros((self.batch, fan.SIDE, fan.SIDE, 3), np.uint8)
            windows[:len(some)] = [cut for cut, _, _, _ in seen]
            for k, heat, (_, centre, side, back) in zip(some, self.net(windows), seen):
                points[k] = back(fan.decode(heat, centre, side))
        return points


def _nowhere(images: Sequence[Array], boxes: Array) -> Array:
    """(n, 68, 2) of NaN. InputError when there is not one box per image."""
    if np.ndim(boxes) != 2 or len(boxes) != len(images) or np.shape(boxes)[1] < 4:
        raise InputError(f"landmark detection takes n images and boxes (n, 4); got {len(images)} and {np.shape(boxes)}")
    return np.full((len(images), 68, 2), np.nan, np.float32)


def _usable(images: Sequence[Array], boxes: Array) -> Iterator[int]:
    """Indices of the images whose box lies inside."""
    return (k for k, (image, box) in enumerate(zip(images, boxes)) if inside(box, need_image(image)))


def landmarker(name: str, **options: Any) -> Dlib68 | FAN:
    """The landmark detector of that name: "dlib68" | "fan" (device, batch)."""
    return registry.choose("landmark", name, {"dlib68": Dlib68, "fan": FAN})(**options)
