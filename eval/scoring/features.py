"""Features of frames by networks of others. Metrics share them through the cache: each network runs once per frame."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np

from eval.scoring.feature_cache import Cache, key
from eval.scoring.metric import OfSets, PerFrame

KEPT = 32  # frames per batch; after each batch its features are cached
SIDE = 224  # px: the training size of EfficientNet-Lite0


class Pooled(OfSets):
    """Pooled features of an image network, for distances between sets."""

    recipe: str  # preprocessing, in words
    width: int

    def features(self, images: np.ndarray) -> np.ndarray:
        recipe = f"{sorted(self.backbones.items())} {self.recipe}"
        keys = [key(recipe, np.rint(image * 255).astype(np.uint8)) for image in images]

        def compute(missing: list[int]) -> Iterator[np.ndarray]:
            for j in missing:  # one image at a time: no value depends on which others are missing
                yield self.forward(images[j:j + 1])[0]

        return self.cache.vectors(self.networks[0], keys, self.width, compute)

    def forward(self, images: np.ndarray) -> np.ndarray:
        """(n, 3, H, W) in [0, 1] -> (n, d)."""
        raise NotImplementedError


class EffLite0(Pooled):
    """1280 pooled features of EfficientNet-Lite0 (ImageNet)."""

    networks, width = ("efflite0",), 1280
    recipe = f"8-bit frame, antialiased bilinear resize to {SIDE} px"

    def forward(self, images: np.ndarray) -> np.ndarray:
        import torch
        import torch.nn.functional as F

        x = torch.from_numpy(np.ascontiguousarray(images))
        if x.shape[-1] != SIDE:
            x = F.interpolate(x, size=(SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)
        with torch.no_grad():
            return _efflite0().pool(x).numpy()  # (n, 1280)


@lru_cache
def _efflite0() -> Any:
    from model.backbones import perceptual

    return perceptual.efflite0()


class Inception(Pooled):
    """2048 pooled features of Inception-2015 (Heusel et al. 2017); torch-fidelity implements the network for these weights."""

    networks, width = ("fid_inception",), 2048
    recipe = "8-bit frame, TensorFlow-1 bilinear resize to 299 px"

    def missing(self) -> str | None:
        if importlib.util.find_spec("torch_fidelity") is None:
            return "torch-fidelity (the network for these weights) is not installed: pip install -c constraints.txt .[fid]"
        return super().missing()

    def forward(self, images: np.ndarray) -> np.ndarray:
        import torch

        with torch.no_grad():
            features = _inception()(torch.from_numpy(np.rint(images * 255).astype(np.uint8)))[0]
        found: np.ndarray = features.numpy()  # (n, 2048)
        return found


@lru_cache
def _inception() -> Any:
    from model.backbones import registry

    registry.torchvision_ops()  # torch-fidelity imports torchvision
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    path = str(registry.require("fid_inception"))  # hash verified first: torch-fidelity unpickles the file
    return FeatureExtractorInceptionV3("inception", ["2048"], feature_extractor_weights_path=path)


def eight_bit(images: np.ndarray) -> np.ndarray:
    """(n, 3, H, W) in [0, 1] -> (n, H, W, 3) uint8."""
    return np.ascontiguousarray(np.rint(images * 255).astype(np.uint8).transpose(0, 2, 3, 1))


# descriptor -> label in the table, dimensions, alignment of the face
DESCRIPTORS = {
    "dlib128": ("dlib", 128, "faces under 200 px enlarged to that bicubically, then dlib's own chip of 150 px"),
    "facenet_vggface2": ("FaceNet VGGFace2", 512, "the box of the landmarks and forehead, stretched to 160 px"),
}


class Described(PerFrame):
    """Face descriptors; real and generated frame are both aligned by the REAL frame's 68 landmarks.

    So no detector runs on the generated frame, and no detection failure can be dropped.
    """

    landmarks = ""
    descriptors: ClassVar[dict[str, str]]  # column -> one of DESCRIPTORS

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.networks = (self.descriptors[self.name],)
        self.net, self.width, self.cut = DESCRIPTORS[self.networks[0]]

    def described(self, real: np.ndarray, fake: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(n,) bool: frames with usable landmarks; their real and generated descriptors, normalised to length 1, float64."""
        (seen, e), (_, e_hat) = self.units(real, points), self.units(fake, points)
        return seen, e, e_hat

    def units(self, images: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n,) bool: frames with usable landmarks; their descriptors, aligned by them, normalised to length 1, float64."""
        seen = np.isfinite(points).all(axis=(1, 2)) & (np.ptp(points, axis=1) > 1).all(axis=1)
        e = self._describe(images[seen], points[seen]).astype(np.float64)
        return seen, e / np.linalg.norm(e, axis=1, keepdims=True)

    def _describe(self, images: np.ndarray, points: np.ndarray) -> np.ndarray:
        """(n, 3, H, W), (n, 68, 2) -> (n, d)."""
        net, recipe = self.networks[0], f"{self.networks[0]} {sorted(self.backbones.items())} {self.cut}"
        return _each_face(self.cache, net, recipe, images, points, self.width,
                          lambda pixels, points: np.stack([_descriptor(net)(x, p) for x, p in zip(pixels, points)]))


def _each_face(cache: Cache, kind: str, recipe: str, images: np.ndarray, points: np.ndarray, width: int,
               see: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
    """Vectors (n, width) from `cache`; missing ones by see(8-bit frames (k, H, W, 3), their points (k, 68, 2)) -> (k, width).

    No row of the result may depend on the other frames of a batch: which frames are missing is arbitrary.
    """
    pixels = eight_bit(images)
    keys = [key(recipe, x, p.astype(np.float32)) for x, p in zip(pixels, points)]

    def compute(missing: list[int]) -> Iterator[np.ndarray]:
        for start in range(0, len(missing), KEPT):
            some = missing[start:start + KEPT]
            yield from see(pixels[some], points[some])

    return cache.vectors(kind, keys, width, compute)


@lru_cache
def _descriptor(name: str) -> Any:
    from model.backbones import identity

    return identity.descriptor(name)


# detector -> its weights files
DETECTORS = {"dlib68": ("dlib68", "mtcnn_onet"), "fan": ("fan",)}


class Redetected(PerFrame):
    """The 68 landmarks of the generated frame, by the same detector as the real frame's."""

    columns: ClassVar[dict[str, str]]  # column -> one of DETECTORS
    BOX = ("the face box given to the detector is that of the real frame's points (their extent, and the forehead above it); "
           "where the detector rejects it as no face, the frame counts as failed and is not in the mean")
    crosses = "as in Table 1b, but against the landmarks of the DRIVING frame, with its face box and inter-ocular distance"

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.landmarks = self.columns[self.name]
        self.networks = DETECTORS[self.landmarks]

    def driven(self, own: np.ndarray, at: np.ndarray, driving: np.ndarray, fake: np.ndarray, points: np.ndarray) -> np.ndarray:
        return self.per_frame(driving, fake, points)

    def found(self, fake: np.ndarray, points: np.ndarray) -> np.ndarray:
        """fake (n, 3, H, W), points (n, 68, 2) of the real frames -> (n, 68, 2) float64, NaN where no face is detected."""
        recipe = f"{self.landmarks} {sorted(self.backbones.items())} {self.BOX}"

        def see(pixels: np.ndarray, points: np.ndarray) -> np.ndarray:
            at = _landmarker(self.landmarks or "").predict(pixels, np.stack([box(p) for p in points]))
            return np.asarray(at.reshape(-1, 136))

        found = _each_face(self.cache, f"{self.landmarks}_points", recipe, fake, points, 136, see)
        return found.reshape(-1, 68, 2).astype(np.float64)


def box(points: np.ndarray) -> np.ndarray:
    """points (68, 2) -> the face box x0, y0, x1, y1 as MTCNN would place it; NaN without points."""
    from model.backbones.identity import FOREHEAD

    low, high = points.min(axis=0), points.max(axis=0)
    return np.array([low[0], low[1] - FOREHEAD * (high - low)[1], high[0], high[1]])


@lru_cache
def _landmarker(name: str) -> Any:
    from model.backbones import landmark_detection

    return landmark_detection.landmarker(name)
