"""Face detection: MTCNN, or S3FD if its weights are present (model/backbones/registry.py).

Images are uint8 RGB (H, W, 3); points are (x, y) in pixels; the centre of the top-left pixel is (0, 0). Every object here, in
landmark_detection.py and in identity.py has `.name` and `.sha256` (file -> hash of its weights files), to be reported with
every result that depends on it.
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
    """MTCNN. min_face: size of the smallest face to detect, as a fraction of the image's shorter side; at least 20 px.

    The run time is roughly proportional to 1 / min_face^2.
    """

    name = "mtcnn"

    def __init__(self, min_face: float = 0.1, device: str = "cpu") -> None:
        self.cascade, self.min_face = Cascade(device), min_face
        self.sha256 = registry.hashes("mtcnn_pnet", "mtcnn_rnet", "mtcnn_onet")

    def detect(self, images: Array) -> list[Array]:
        """images uint8 (N, H, W, 3) -> N arrays (k, 5) float32: x0, y0, x1, y1, probability; the largest face first.

        Images are processed one by one, so that a result does not depend on the other images.
        """
        if images.ndim != 4:
            raise InputError(f"face detection takes images (N, H, W, 3); got {images.shape}")
        smallest = max(20.0, self.min_face * min(images.shape[1:3]))
        return [_largest_first(self.cascade(need_image(image), smallest)) for image in images]


class S3FD:
    """The detector of the face-alignment package (Zhang et al. 2017), the paper's choice; needs its weights."""

    name = "s3fd"

    def __init__(self, device: str = "cpu") -> None:
        path = registry.require("s3fd")
        sfd = _face_alignment("detection.sfd")
        self.net = sfd.FaceDetector(device, path_to_detector=str(path))
        self.sha256 = registry.hashes("s3fd")

    def detect(self, images: Array) -> list[Array]:
        """The same as Detector.detect."""
        return [_largest_first(np.asarray(self.net.detect_from_image(image), np.float32).reshape(-1, 5))
                for image in images]


def detector(name: str, **options: Any) -> Detector | S3FD:
    """The detector of that name: "mtcnn" (min_face, device) | "s3fd" (device)."""
    return registry.choose("detector", name, {"mtcnn": Detector, "s3fd": S3FD})(**options)


def _largest_first(boxes: Array) -> Array:
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return boxes[np.argsort(-area, kind="stable")]


def _face_alignment(module: str) -> Any:
    if importlib.util.find_spec("face_alignment") is None:
        raise InputError("the package face-alignment is not installed: `pip install -c constraints.txt -e .[fan]`")
    return importlib.import_module(f"face_alignment.{module}")
