"""CSIM: cosine of two face descriptors. The column names the network; numbers of different networks must not be compared.

Both images are aligned by the landmarks of the TARGET (the real frame): no detector runs on the generated frame, so none of its
failures can be dropped. A frame without landmarks gets NaN and is counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np

from eval.cache import key
from eval.metric import PerFrame

# column -> descriptor, what the table calls it, numbers, how the face is cut
NETWORKS = {
    "csim_dlib128": ("dlib128", "dlib", 128, "faces under 200 px enlarged to that bicubically, then dlib's own chip of 150 px"),
    "csim_facenet": ("facenet_vggface2", "FaceNet VGGFace2", 512, "the box of the landmarks and forehead, stretched to 160 px"),
}


class Csim(PerFrame):
    """<e(x), e(x̂)> / (|e(x)| |e(x̂)|), e the descriptor of the face."""

    better, unit, range = "higher", "cosine", (-1.0, 1.0)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.network, net, self.width, self.cut = NETWORKS[self.name]
        self.label = f"CSIM ({net})"
        self.compares = (f"face descriptors ({net}, {self.width} numbers) of the real and the generated frame, both aligned by "
                         f"the real frame's 68 landmarks, so no detection on generated frames and no dropped failures; "
                         f"{self.cut}")

    def per_frame(self, real: np.ndarray, fake: np.ndarray, points: np.ndarray) -> np.ndarray:
        seen = np.isfinite(points).all(axis=(1, 2)) & (np.ptp(points, axis=1) > 1).all(axis=1)
        e = self._describe(np.concatenate([real[seen], fake[seen]]), np.concatenate([points[seen]] * 2)).astype(np.float64)
        e /= np.linalg.norm(e, axis=1, keepdims=True)
        cosine = np.full(len(real), np.nan)
        cosine[seen] = (e[:seen.sum()] * e[seen.sum():]).sum(axis=1)
        return cosine  # (n,)

    def _describe(self, images: np.ndarray, points: np.ndarray) -> np.ndarray:
        """(n, 3, H, W), (n, 68, 2) -> (n, d)."""
        recipe = f"{self.network} {sorted(self.backbones.items())} {self.cut}"
        pixels = np.rint(images.transpose(0, 2, 3, 1) * 255).astype(np.uint8)
        keys = [key(recipe, x, p.astype(np.float32)) for x, p in zip(pixels, points)]

        def compute(missing: list[int]) -> Iterator[np.ndarray]:
            for j in missing:
                yield _network(self.network)(np.ascontiguousarray(pixels[j]), points[j])

        return self.cache.vectors(self.name, keys, self.width, compute)


@lru_cache
def _network(name: str) -> Any:
    from model import faces

    return faces.descriptor(name)


COLUMNS = tuple(NETWORKS)
METRIC = Csim
