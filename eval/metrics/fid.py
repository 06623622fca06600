"""FID: the Fréchet distance of the Inception-2015 features of Heusel et al. 2017. Only with that network has it that name.

Needs the weights file and the extra `fid` (torch-fidelity has the network that fits them). Resize and quantisation are its own:
8-bit RGB in, TensorFlow-1 bilinear resize to 299 px.
"""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from typing import Any

import numpy as np

from eval.metrics.fd import Frechet


class Fid(Frechet):
    """Features: the 2048 pooled numbers of Inception-2015."""

    label, network, width = "FID", "fid_inception", 2048
    recipe = "8-bit frame, TensorFlow-1 bilinear resize to 299 px"
    compares = (f"Fréchet distance of the pooled Inception-2015 features (2048) of all real and all generated hold-out frames; "
                f"{recipe}. With fewer than 2048 frames the covariances are rank-deficient and the value is biased upwards")

    def missing(self) -> str | None:
        if importlib.util.find_spec("torch_fidelity") is None:
            return "torch-fidelity (the network that fits the weights) is not installed: pip install -c constraints.txt .[fid]"
        return super().missing()

    def forward(self, images: np.ndarray) -> np.ndarray:
        import torch

        with torch.no_grad():
            features = _inception()(torch.from_numpy(np.rint(images * 255).astype(np.uint8)))[0]
        found: np.ndarray = features.numpy()  # (n, 2048)
        return found


@lru_cache
def _inception() -> Any:
    from model import backbones

    backbones.torchvision_ops()  # torch-fidelity imports torchvision
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    path = str(backbones.require("fid_inception"))  # verified: torch-fidelity would unpickle whatever it finds
    return FeatureExtractorInceptionV3("inception", ["2048"], feature_extractor_weights_path=path)


COLUMNS = ("fid",)
METRIC = Fid
