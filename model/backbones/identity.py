"""Face descriptors: networks that map a face to a vector of identity; the cosine of two vectors is CSIM (paper, section 4)."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from model.backbones import registry
from model.backbones.windows import FACE, Array, extent, need_image, window

# Height added on top of the extent of the 68 points to get the MTCNN box, median of 222 frames of 12 clips. The points end at
# the brows, the box on the forehead; the other three sides agree within 3 %.
FOREHEAD = 0.338


class Dlib128:
    """dlib's face network: vectors of 128 numbers, NOT normalised; dlib's threshold for one person is a distance of 0.6.

    dlib itself crops the face to 150 px along the given points (its own five-parameter alignment, padding 0.25).
    """

    name = "dlib128"

    def __init__(self, device: str = "cpu") -> None:
        import dlib

        self.dlib, self.net = dlib, dlib.face_recognition_model_v1(str(registry.require("dlib128")))
        self.sha256 = registry.hashes("dlib128")

    def __call__(self, image: Array, points: Array) -> Array:
        """image uint8 (H, W, 3), points (68, 2) of the face (in a comparison those of the target) -> (128,) float32."""
        need_image(image)
        low, high = extent(points)
        size = float((high - low).max())
        cut, there, _ = window(image, (low + high) / 2, 2.4 * size, enlarge=FACE / size)
        parts = [self.dlib.point(int(x), int(y)) for x, y in np.rint(there(points))]
        face = self.dlib.full_object_detection(self.dlib.rectangle(0, 0, len(cut), len(cut)), parts)
        return np.array(self.net.compute_face_descriptor(cut, face), np.float32)


class FacenetVGGFace2:
    """InceptionResnetV1 trained on VGGFace2 (facenet-pytorch): vectors of 512 numbers, length 1.

    Its input is the MTCNN box stretched to 160 px, as in facenet-pytorch; but the box is derived from the points, so that both
    images of a comparison are cropped alike.
    """

    name = "facenet_vggface2"

    def __init__(self, device: str = "cpu") -> None:
        weights = registry.state("facenet_vggface2")
        registry.torchvision_ops()
        from facenet_pytorch import InceptionResnetV1

        from model.backbones.perceptual import check

        self.net = InceptionResnetV1(pretrained=None, classify=False).eval().to(device)
        weights = {name: value for name, value in weights.items() if not name.startswith("logits.")}
        shapes = {name: tuple(value.shape) for name, value in self.net.state_dict().items()}
        check(weights, shapes, str(registry.require("facenet_vggface2")))
        self.net.load_state_dict(weights)
        self.sha256, self.device = registry.hashes("facenet_vggface2"), device

    @torch.no_grad()
    def __call__(self, image: Array, points: Array) -> Array:
        """image uint8 (H, W, 3), points (68, 2) of the face -> (512,) float32 of length 1."""
        need_image(image)
        low, high = extent(points)
        low = low - (0, FOREHEAD * (high - low)[1])
        cut, there, _ = window(image, (low + high) / 2, float((high - low).max()))
        (x0, y0), (x1, y1) = np.clip(np.rint(there(np.array([low, high]))).astype(int), 0, len(cut))
        face = cv2.resize(cut[y0:max(y1, y0 + 1), x0:max(x1, x0 + 1)], (160, 160), interpolation=cv2.INTER_AREA)
        x = (torch.from_numpy(face).permute(2, 0, 1)[None].float() - 127.5) / 128
        vector: Array = self.net(x.to(self.device))[0].cpu().numpy()
        return vector


def descriptor(name: str, device: str = "cpu") -> Dlib128 | FacenetVGGFace2:
    """The descriptor of that name: "dlib128" | "facenet_vggface2"."""
    return registry.choose("descriptor", name, {"dlib128": Dlib128, "facenet_vggface2": FacenetVGGFace2})(device)
