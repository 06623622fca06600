"""Finding faces, their 68 landmarks and a vector of who they are, with networks trained by others (model/backbones.py).

Images are uint8 RGB (H, W, 3); points are (x, y) in pixels, the centre of the top-left pixel being (0, 0). Every object
has `.name` and `.sha256` (file -> hash of each file it runs on), which belong beside every number it takes part in.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from model import backbones
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
CENTRE_UP, WINDOW = 0.12, 200 / 195  # the window that FAN was trained on, from a box: Bulat & Tzimiropoulos 2017


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

    def __init__(self, device: str = "cpu") -> None:
        import dlib

        self.dlib, self.onet = dlib, Stage("onet")
        self.trees = dlib.shape_predictor(str(backbones.require("dlib68")))
        self.sha256 = backbones.hashes("dlib68", "mtcnn_onet")

    def predict(self, image: Array, box: Array) -> Array | None:
        """image uint8 (H, W, 3), box x0, y0, x1, y1 of an MTCNN face -> (68, 2) float32; None where the box is no face.

        No face: the box is empty or outside, or MTCNN's last network gives it less than FACE_ODDS.
        """
        need_image(image)
        if not inside(box, image):
            return None
        five, probability = five_points(self.onet, image, box)
        if probability < FACE_ODDS:
            return None
        unit = float(np.sqrt((box[2] - box[0]) * (box[3] - box[1])))
        centre, side = five.mean(0) - (0, RAISE * unit), SIDE * unit
        cut, there, back = window(image, centre, 2 * side, enlarge=FACE / side)
        corners = there(np.array([centre - side / 2, centre + side / 2]))
        rectangle = self.dlib.rectangle(*(int(v) for v in np.rint(corners).ravel()))
        points = [(part.x, part.y) for part in self.trees(cut, rectangle).parts()]
        return back(np.array(points)).astype(np.float32)


class FAN:
    """68 points by 2DFAN-4 of the face-alignment package (Bulat & Tzimiropoulos 2017): the paper's choice."""

    name = "fan"

    def __init__(self, device: str = "cpu") -> None:
        path = backbones.require("fan")
        package = _face_alignment("api")
        with _hub_folder(path):  # the package opens whatever lies under that name: here only the verified file does
            self.net = package.FaceAlignment(package.LandmarksType.TWO_D, device=device, flip_input=False,
                                             face_detector="folder", compile=False)
        self.sha256 = backbones.hashes("fan")

    def predict(self, image: Array, box: Array) -> Array | None:
        """As Dlib68.predict. A small face is enlarged to FAN's 256 px, as the package rounds points to whole pixels."""
        need_image(image)
        if not inside(box, image):
            return None
        size = np.array([box[2] - box[0], box[3] - box[1]])
        centre = np.array([box[0] + box[2], box[1] + box[3]]) / 2
        side = size.sum() * WINDOW
        cut, there, back = window(image, centre - (0, CENTRE_UP * size[1]), side, enlarge=256 / side)
        inner = there(np.array([centre - size / 2, centre + size / 2])).ravel()
        points = self.net.get_landmarks_from_image(cut, detected_faces=[inner])
        return None if points is None else back(points[0]).astype(np.float32)


def detector(name: str, **options: Any) -> Detector | S3FD:
    """ "mtcnn" (min_face, device) | "s3fd" (device)."""
    return _named("detector", name, {"mtcnn": Detector, "s3fd": S3FD})(**options)


def landmarker(name: str, device: str = "cpu") -> Dlib68 | FAN:
    """ "dlib68" | "fan"."""
    return _named("landmark", name, {"dlib68": Dlib68, "fan": FAN})(device)


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


@contextmanager
def _hub_folder(path: Path) -> Iterator[None]:
    """For the time being torch.hub's folder is one that holds this file alone."""
    before = torch.hub.get_dir()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "checkpoints").mkdir()
        (Path(folder) / "checkpoints" / path.name).symlink_to(path.resolve())
        torch.hub.set_dir(folder)
        try:
            yield
        finally:
            torch.hub.set_dir(before)
