"""The interface of a metric: one file each in eval/metrics/; the columns `a` and `a_b` of the tables are computed in `a.py`.

Images at this interface are RGB float32 in [0, 1], (n, 3, H, W), and every value is a multiple of 1/255: real and generated
frames have both been 8-bit images, so neither has more precision than the other.
"""

from __future__ import annotations

import importlib
import pkgutil
from abc import ABC, abstractmethod
from typing import ClassVar, Literal

import numpy as np

from eval.scoring.feature_cache import Cache
from pipeline.core.config import pick


class Metric(ABC):
    """A column of Table 1."""

    name: str  # the column; names the network or variant, so that it cannot be mistaken for another metric
    label: str  # printed in the tables
    better: Literal["higher", "lower"]
    unit: ClassVar[str]
    range: ClassVar[tuple[float, float]]  # smallest and largest possible value
    compares: str  # what is compared with what and how, one or two sentences for the report
    main: bool = False  # in Table 1 (the paper's columns and L1); otherwise in Table 1b
    networks: tuple[str, ...] = ()  # their names in model/backbones/registry.py
    landmarks: str | None = None  # the detector whose landmarks it needs: a name, "" = any, None = it needs none

    def __init__(self, name: str, cache: Cache) -> None:
        self.name, self.cache = name, cache

    @property
    def backbones(self) -> dict[str, str]:
        """Every weights file that the value depends on: name -> sha256."""
        if not self.networks:
            return {}
        from model.backbones import registry

        return registry.hashes(*self.networks)

    def missing(self) -> str | None:
        """Why the metric cannot be computed here and the way out, or None.

        InputError if a weights file does not have the registered hash.
        """
        if not self.networks:
            return None
        from model.backbones import registry

        entries = [registry.REGISTRY[name] for name in self.networks if registry.find(name) is None]
        return "; ".join(f"{entry.file} ({entry.role}) is not here: {entry.way_out}" for entry in entries) or None

    def facts(self) -> dict[str, object]:
        """What the report prints about the metric."""
        return {"label": self.label, "better": self.better, "unit": self.unit, "compares": self.compares, "main": self.main,
                "backbones": self.backbones}


class PerFrame(Metric):
    """Compares a generated frame with the real one at the same instant."""

    crosses: str = ""  # what it compares in cross-reenactment; "" = not defined there: no true frame exists

    @abstractmethod
    def per_frame(self, real: np.ndarray, fake: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Scores of one person's frames. real, fake (n, 3, H, W); points (n, 68, 2) of the REAL frames, pixels -> (n,) float64.

        NaN = could not be scored; such frames are counted, never dropped.
        """

    def driven(self, own: np.ndarray, at: np.ndarray, driving: np.ndarray, fake: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Scores of one person in cross-reenactment; only for metrics with a text in `crosses`.

        own (m, 3, H, W), at (m, 68, 2): the person's real frames and their landmarks. driving, fake (n, 3, H, W): driving and
        generated frames; points (n, 68, 2) of the DRIVING frames -> (n,) float64, NaN = could not be scored.
        """
        raise NotImplementedError(self.name)


class OfSets(Metric):
    """Compares the set of generated frames with the set of real ones."""

    @abstractmethod
    def features(self, images: np.ndarray) -> np.ndarray:
        """Features of images (n, 3, H, W) -> (n, d) float32."""

    @abstractmethod
    def value(self, real: np.ndarray, fake: np.ndarray, whose: np.ndarray) -> float:
        """Distance of features real, fake (n, d), row by row of the same frames; whose (n,): their person. NaN = none."""

    def resampled(self, real: np.ndarray, fake: np.ndarray, whose: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """`value` of each resample -> (R,); counts (R, n): how often resample r contains frame j."""
        return np.array([self.value(*(np.repeat(x, count, axis=0) for x in (real, fake, whose))) for count in counts])


def known() -> list[str]:
    """Module names in eval/metrics/, sorted."""
    import eval.metrics

    return sorted(module.name for module in pkgutil.iter_modules(eval.metrics.__path__))


def load(name: str, cache: Cache | None = None) -> Metric:
    """The metric of the column `name`. InputError, with the closest known name, if no file defines it."""
    file = name.split("_")[0]
    if file not in known():
        pick(dict.fromkeys(known()), name, "score.metrics")
    module = importlib.import_module(f"eval.metrics.{file}")
    pick(dict.fromkeys(module.COLUMNS), name, f"score.metrics: eval/metrics/{file}.py")
    found: Metric = module.METRIC(name, cache or Cache(None))
    return found
