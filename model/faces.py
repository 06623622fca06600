"""Finding faces, their 68 landmarks and a vector of who they are, with networks trained by others (model/backbones.py).

Images are uint8 RGB (H, W, 3); points are (x, y) in pixels, the centre of the top-left pixel being (0, 0). Every object
has `.name` and `.sha256` (file -> hash of each file it runs on), which belong beside every number it takes part in.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from model import backbones, fan
from model.api import Refused
from model.descriptors import Dlib128, FacenetVGGFace2
from model.mtcnn import Cascade, Stage, five_points
from model.windows import FACE, Array, inside, need_image, window

# From an MTCNN box (w x h) to the box dlib's predictor expects, which is that of its own detector: centred on the mean
# of the five points of MTCNN's last network, moved up by RAISE, of side SIDE, in units of sqrt(w h). Fitted to 222
# frames of 12 real clips in which both detectors found the one face; the points then differ from those of dlib's own
# box by 0.6 % of the face (median; in the worst tenth over 1.6 %). Around the MTCNN box's own centre it would be over
# 6.4 % in the worst tenth: on faces turned aside it takes in the ear and dlib's box does not.
RAISE, SIDE = 0.031, 0.95
# Least probability, by MTCNN's last network, of a face in a box given for landmarks. Of 560 boxes that MTCNN found in
# rendered heads the least probable has 0.46; of 266 boxes put on things and animals one is above 0.3.
FACE_ODDS = 0.3


class Detector:
    """MTCNN. min_face: the smallest face looked for, as a part of the picture's shorter side; at least 20 px.

    The time goes with about the inverse square of min_face.
    """

    name = "mtcnn"

    def __init__(self, min_face: float = 0.1, device: str = "cpu") -> None:
        self.cascade, self.min_face = Cascade(device), min_face
        self.sha256 = backbones.hashes("mtcnn_pnet", "mtcnn_rnet", "mtcnn_onet")

    def detect(self, images: Array) -> list[Array]:
        """images uint8 (N, H, W, 3) -> N arrays (k, 5) float32: x0, y0, x1, y1, probability; the largest face first.

        Each picture by itself, so that what is found in one does not depend on its neighbours.
        """
        if images.ndim != 4:
            raise Refused(f"faces are looked for in images (N, H, W, 3); got {images.shape}")
        smallest = max(20.0, self.min_face * min(images.shape[1:3]))
        return [_largest_first(self.cascade(need_image(image), smallest)) for image in images]


class S3FD:
    """The detector of the face-alignment package (Zhang et al. 2017): the paper's, where its weights are there."""

    name = "s3fd"

    def __init__(self, device: str = "cpu") -> None:
        path = backbones.require("s3fd")
        sfd = _face_alignment("detection.sfd")
        self.net = sfd.FaceDetector(device, path_to_detector=str(path))
        self.sha256 = backbones.hashes("s3fd")

    def detect(self, images: Array) -> list[Array]:
        """As Detector.detect."""
        return [_largest_first(np.asarray(self.net.detect_from_image(image), np.float32).reshape(-1, 5))
                for image in images]


class Dlib68:
    """68 points by dlib's regression trees (Kazemi & Sullivan 2014, trained on 300-W) in a box found by MTCNN."""

    name = "dlib68"

    def __init__(self) -> None:
        import dlib

        self.dlib, self.onet = dlib, Stage("onet")
        self.trees = dlib.shape_predictor(str(backbones.require("dlib68")))
        self.sha256 = backbones.hashes("dlib68", "mtcnn_onet")

    def predict(self, images: Sequence[Array], boxes: Array) -> Array:
        """images n of (H, W, 3) uint8, boxes (n, 4) x0, y0, x1, y1 of MTCNN faces -> (n, 68, 2) float32.

        NaN where a box is no face: empty, outside, or MTCNN's last network gives it less than FACE_ODDS. No detector runs, and
        the points of a picture are the same bits whatever its neighbours.
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
    """68 points by 2DFAN-4 of the face-alignment package (Bulat & Tzimiropoulos 2017): the paper's choice.

    batch: pictures that a GPU sees at a time; each takes about 40 MB of its memory (measured on a CPU, without cuDNN's needs),
    the weights 96 MB. A batch is always full (black windows at the end), so that its arithmetic does not hang on how many
    pictures there are. A CPU sees one at a time: in company its convolutions give other last bits (7e-7 of the largest value)
    and are no faster (0.63 s a picture against 0.62 s).
    """

    name = "fan"

    def __init__(self, device: str | None = None, batch: int = 8) -> None:
        place = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.net, self.batch = fan.Network(backbones.state("fan"), place), 1 if place == "cpu" else batch
        self.sha256 = backbones.hashes("fan")

    def predict(self, images: Sequence[Array], boxes: Array) -> Array:
        """As Dlib68.predict; a box inside the picture that holds something else than a face gets points all the same.

        The points are the package's own: `fan.seen` and `fan.decode` say how.
        """
        points = _nowhere(images, boxes)
        usable = (k for k in _usable(images, boxes) if fan.fits(images[k], boxes[k]))
        while some := [k for _, k in zip(range(self.batch), usable)]:
            seen = [fan.seen(images[k], boxes[k]) for k in some]
            pictures = np.zeros((self.batch, fan.SIDE, fan.SIDE, 3), np.uint8)
            pictures[:len(some)] = [picture for picture, _, _, _ in seen]
            for k, heat, (_, centre, side, back) in zip(some, self.net(pictures), seen):
                points[k] = back(fan.decode(heat, centre, side))
        return points


def _nowhere(images: Sequence[Array], boxes: Array) -> Array:
    """(n, 68, 2) of NaN. Refused: not one box a picture."""
    if np.ndim(boxes) != 2 or len(boxes) != len(images) or np.shape(boxes)[1] < 4:
        raise Refused(f"landmarks are looked for in n pictures with boxes (n, 4); got {len(images)} and {np.shape(boxes)}")
    return np.full((len(images), 68, 2), np.nan, np.float32)


def _usable(images: Sequence[Array], boxes: Array) -> Iterator[int]:
    """Numbers of the pictures whose box lies in them."""
    return (k for k, (image, box) in enumerate(zip(images, boxes)) if inside(box, need_image(image)))


def detector(name: str, **options: Any) -> Detector | S3FD:
    """ "mtcnn" (min_face, device) | "s3fd" (device)."""
    return _named("detector", name, {"mtcnn": Detector, "s3fd": S3FD})(**options)


def landmarker(name: str, **options: Any) -> Dlib68 | FAN:
    """ "dlib68" | "fan" (device, batch)."""
    return _named("landmark", name, {"dlib68": Dlib68, "fan": FAN})(**options)


def descriptor(name: str, device: str = "cpu") -> Dlib128 | FacenetVGGFace2:
    """ "dlib128" | "facenet_vggface2"; see model/descriptors.py."""
    return _named("descriptor", name, {"dlib128": Dlib128, "facenet_vggface2": FacenetVGGFace2})(device)


def _named(what: str, name: str, known: dict[str, Any]) -> Any:
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        raise Refused(f"there is no {what} network {name!r}; " + (f"did you mean {near[0]!r}?" if near else
                                                                  f"the known ones are {', '.join(known)}"))
    return known[name]


def _largest_first(boxes: Array) -> Array:
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return boxes[np.argsort(-area, kind="stable")]


def _face_alignment(module: str) -> Any:
    if importlib.util.find_spec("face_alignment") is None:
        raise Refused("the package face-alignment is not installed: `pip install -c constraints.txt -e .[fan]`")
    return importlib.import_module(f"face_alignment.{module}")
