"""Face detection: MTCNN, or S3FD where its weights are there (model/backbones/registry.py).

Images are uint8 RGB (H, W, 3); points are (x, y) in pixels, the centre of the top-left pixel being (0, 0). Every object here,
in landmark_detection.py and in identity.py has `.name` and `.sha256` (file -> hash of each file it runs on): they belong beside
every number it takes part in.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

import numpy as np

from model.backbones import registry
from model.backbones.mtcnn import Cascade
from model.backbones.windows import Array, need_image
from pipeline.core.errors import InputError


class Detector:
    """MTCNN. min_face: the smallest face looked for, as a part of the picture's shorter side; at least 20 px.

    The time goes with about the inverse square of min_face.
    """

    name = "mtcnn"

    def __init__(self, min_face: float = 0.1, device: str = "cpu") -> None:
        self.cascade, self.min_face = Cascade(device), min_face
        self.sha256 = registry.hashes("mtcnn_pnet", "mtcnn_rnet", "mtcnn_onet")

    def detect(self, images: Array) -> list[Array]:
        """images uint8 (N, H, W, 3) -> N arrays (k, 5) float32: x0, y0, x1, y1, probability; the largest face first.

        Each picture by itself, so that what is found in one does not depend on its neighbours.
        """
        if images.ndim != 4:
            raise InputError(f"faces are looked for in images (N, H, W, 3); got {images.shape}")
        smallest = max(20.0, self.min_face * min(images.shape[1:3]))
        return [_largest_first(self.cascade(need_image(image), smallest)) for image in images]


class S3FD:
    """The detector of the face-alignment package (Zhang et al. 2017): the paper's, where its weights are there."""

    name = "s3fd"

    def __init__(self, device: str = "cpu") -> None:
        path = registry.require("s3fd")
        sfd = _face_alignment("detection.sfd")
        self.net = sfd.FaceDetector(device, path_to_detector=str(path))
        self.sha256 = registry.hashes("s3fd")

    def detect(self, images: Array) -> list[Array]:
        """As Detector.detect."""
        return [_largest_first(np.asarray(self.net.detect_from_image(image), np.float32).reshape(-1, 5))
                for image in images]


def detector(name: str, **options: Any) -> Detector | S3FD:
    """ "mtcnn" (min_face, device) | "s3fd" (device)."""
    return registry.choose("detector", name, {"mtcnn": Detector, "s3fd": S3FD})(**options)


def _largest_first(boxes: Array) -> Array:
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return boxes[np.argsort(-area, kind="stable")]


def _face_alignment(module: str) -> Any:
    if importlib.util.find_spec("face_alignment") is None:
        raise InputError("the package face-alignment is not installed: `pip install -c constraints.txt -e .[fan]`")
    return importlib.import_module(f"face_alignment.{module}")
