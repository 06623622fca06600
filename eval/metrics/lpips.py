"""LPIPS of Zhang et al. 2018, version 0.1. The column names the backbone: values of AlexNet and VGG16 differ by half."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from eval.scoring.metric import PerFrame

NETS = {"lpips_alex": ("AlexNet", "alex", ("alexnet", "lpips_alex")), "lpips_vgg": ("VGG16", "vgg", ("vgg16", "lpips_vgg"))}


class Perceptual(PerFrame):
    """Σ_l mean over pixels of w_l · (ŷ_l(x) − ŷ_l(x̂))² (model/backbones/lpips_networks.py)."""

    better, unit, range = "lower", "0 = equal", (0.0, float("inf"))

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        called, self.net, self.networks = NETS[self.name]
        self.label = f"LPIPS ({called})"
        self.compares = (f"the real and the generated frame at their own size, features of {called} (torchvision's ImageNet "
                         f"weights) weighted by the linear heads of LPIPS 0.1")

    def per_frame(self, real: np.ndarray, fake: np.ndarray, points: np.ndarray) -> np.ndarray:
        import torch

        pairs = [[torch.from_numpy(image[None]) for image in pair] for pair in zip(real, fake)]
        # One pair at a time: no value depends on the rest of a batch.
        return np.array([float(_network(self.net)(x, y)) for x, y in pairs], np.float64)  # (n,)


@lru_cache
def _network(net: str) -> Any:
    from model.backbones import lpips_networks

    return lpips_networks.build(net)


COLUMNS = tuple(NETS)
METRIC = Perceptual
