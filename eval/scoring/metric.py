"""What a metric is. One file in eval/metrics/ each; a column `a` or `a_b` of the tables lives in the file `a.py`.

Images at this border are RGB float32 in [0, 1], (n, 3, H, W), and every value is a multiple of 1/255: both the real and the
generated frame have been 8-bit images, so neither gains from a precision that the other lost.
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

    name: str  # the column; says what was computed with what, so that it cannot be taken for another's number
    label: str  # as the table prints it
    better: Literal["higher", "lower"]
    unit: ClassVar[str]
    range: ClassVar[tuple[float, float]]  # smallest and largest possible value
    compares: str  # what is compared with what and how, one or two sentences for the report
    main: bool = False  # whether it stands in Table 1 (the paper's columns and L1) or among the further metrics
    networks: tuple[str, ...] = ()  # their names in the registry of foreign weights
    landmarks: str | None = None  # the detector whose landmarks it takes: a name, "" = any, None = it takes none

    def __init__(self, name: str, cache: Cache) -> None:
        self.name, self.cache = name, cache

    @property
    def backbones(self) -> dict[str, str]:
        """Every weights file the value depends on: name -> sha256."""
        if not self.networks:
            return {}
        from model.backbones import registry

        return registry.hashes(*self.networks)

    def missing(self) -> str | None:
        """Why it cannot be computed here and the way out, or None.

        InputError when a weights file is not the one it should be.
        """
        if not self.networks:
            return None
        from model.backbones import registry

        entries = [registry.REGISTRY[name] for name in self.networks if registry.find(name) is None]
        return "; ".join(f"{entry.file} ({entry.role}) is not here: {entry.way_out}" for entry in entries) or None

    def facts(self) -> dict[str, object]:
        """What the report prints about it."""
        return {"label": self.label, "better": self.better, "unit": self.unit, "compares": self.compares, "main": self.main,
                "backbones": self.backbones}


class PerFrame(Metric):
    """Compares a generated frame with the real one at the same instant."""

    crosses: str = ""  # what it compares when another person drives; "" = nothing: there is no true frame then

    @abstractmethod
    def per_frame(self, real: np.ndarray, fake: np.ndarray, points: np.ndarray) -> np.ndarray:
        """One person's frames. real, fake (n, 3, H, W); points (n, 68, 2) of the REAL frames, pixels -> (n,) float64.

        NaN = could not be scored; it is counted, never left out.
        """

    def driven(self, own: np.ndarray, at: np.ndarray, driver: np.ndarray, fake: np.ndarray, points: np.ndarray) -> np.ndarray:
        """One person driven by others; only of metrics that say what they compare in `crosses`.

        own (m, 3, H, W), at (m, 68, 2): the person's real frames and their landmarks. driver, fake (n, 3, H, W): the frames
        that drove and those drawn; points (n, 68, 2) of the DRIVER's frames -> (n,) float64, NaN = could not be scored.
        """
        raise NotImplementedError(self.name)


class OfSets(Metric):
    """Compares the set of generated frames with the set of real ones."""

    @abstractmethod
    def features(self, images: np.ndarray) -> np.ndarray:
        """(n, 3, H, W) -> (n, d) float32."""

    @abstractmethod
    def value(self, real: np.ndarray, fake: np.ndarray, whose: np.ndarray) -> float:
        """Features (n, d) twice, row by row of the same frames; whose (n,): the person of each -> the value, NaN = none."""

    def resampled(self, real: np.ndarray, fake: np.ndarray, whose: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """As `value`; counts (R, n): how often resample r holds frame j -> (R,)."""
        return np.array([self.value(*(np.repeat(x, count, axis=0) for x in (real, fake, whose))) for count in counts])


def known() -> list[str]:
    """The files of eval/metrics/."""
    import eval.metrics

    return sorted(module.name for module in pkgutil.iter_modules(eval.metrics.__path__))


def load(name: str, cache: Cache | None = None) -> Metric:
    """The metric of the column `name`. InputError, with the nearest known name, when no file offers it."""
    file = name.split("_")[0]
    if file not in known():
        pick(dict.fromkeys(known()), name, "score.metrics")
    module = importlib.import_module(f"eval.metrics.{file}")
    pick(dict.fromkeys(module.COLUMNS), name, f"score.metrics: eval/metrics/{file}.py")
    found: Metric = module.METRIC(name, cache or Cache(None))
    return found
