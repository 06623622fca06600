"""Loads a trained method, adapts it to one person, and generates frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from eval.scoring.features import eight_bit
from pipeline.core import config, fileio
from pipeline.core.errors import InputError
from pipeline.core.manifest import read_manifest
from pipeline.episodes import planes
from pipeline.landmarks import landmark_image

if TYPE_CHECKING:
    from model.api import Head, Method


@dataclass(frozen=True)
class Model:
    """A method with its weights."""

    method: Method
    manifest: dict[str, Any]
    sha256: str  # of the weights

    @property
    def size(self) -> int:
        """Height and width of its frames, pixels."""
        return self.method.facts.size


def load(folder: Path, steps: int | None, seed: int) -> Model:
    """The method trained in `folder` (models/DATASET/METHOD). `steps`: of fine-tuning, None: as configured.

    InputError: no trained model, weights other than the manifest's, or `steps` for a method without fine-tuning.
    """
    import model.api as api

    if not (folder / "manifest.json").is_file():
        raise InputError(f"{folder}: contains no trained model; `make repro` trains one in a quarter of an hour, --model names "
                         "another folder")
    manifest = read_manifest(folder, "model")
    weights = folder / "weights.safetensors"
    sha256 = fileio.sha256(weights)
    if manifest["files"].get(weights.name, {}).get("sha256") != sha256:
        raise InputError(f"{weights}: differs from the file in its manifest; run `dvc checkout` or `make repro`")
    kind = api.load(manifest["method"])
    try:
        chosen: Any = config.parse(kind.Config, manifest["config"], "config")
    except InputError as problem:
        raise InputError(f"{folder}: trained by another version of this program, with other settings ({problem}); `make repro` "
                         "trains it again") from None
    if steps is not None:
        chosen = _tuned(chosen, manifest["method"], steps)
    method = kind(chosen, api.DataInfo(**manifest["facts"]), seed)
    from safetensors.torch import load_file

    method.load_weights(load_file(weights))
    return Model(method, manifest, sha256)


def _tuned(chosen: Any, method: str, steps: int) -> Any:
    """The method's settings with `steps` steps, at the learning rates of each T."""
    if steps < 1:
        raise InputError(f"--steps {steps}: must be at least 1; --method ff needs no steps")
    tuning: Any = getattr(chosen, "tuning", None)
    if not hasattr(tuning, "budgets"):
        raise InputError(f"--steps: {method} has no fine-tuning steps to set; leave the option out")
    budgets = [budget.model_copy(update={"steps": steps}) for budget in tuning.budgets]
    return chosen.model_copy(update={"tuning": tuning.model_copy(update={"budgets": budgets})})


def learn(model: Model, crops: np.ndarray, points: np.ndarray, seed: int,
          report: Callable[[int, int], None] | None = None) -> Head:
    """The head of one person. crops (T, stored, stored, 3) uint8, points (T, 68, 2) in their pixels."""
    import torch

    size, stored = model.size, crops.shape[1]
    images = [crop if size == stored else cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA) for crop in crops]
    poses = [landmark_image.draw((at + .5) * (size / stored) - .5, size) for at in points]
    return model.method.adapt(torch.from_numpy(planes(images)), torch.from_numpy(planes(poses)), seed, report)


def generate(head: Head, poses: list[np.ndarray]) -> list[np.ndarray]:
    """n landmark images (or driving crops) (size, size, 3) uint8 -> n generated frames (size, size, 3) uint8."""
    import torch

    return list(eight_bit(head(torch.from_numpy(planes(poses))).numpy()))
