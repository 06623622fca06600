"""Previews during training: a few fixed people as the method generates them now, beside the ground truth."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw, PngImagePlugin
from torch import Tensor

from model.api import Method
from model.training.step_progress import say
from pipeline.core.errors import InputError

SHOWN, STRIP = 3, 14  # largest number of source frames shown; height of the caption above a row, pixels


class Person(NamedTuple):
    """One row of a preview. Images are RGB in [0, 1]."""

    name: str  # printed above the row
    x_s: Tensor  # (K, 3, H, W) source frames
    y_s: Tensor  # (K, 3, H, W) their landmark images
    x: Tensor  # (3, H, W) another frame of the person, the ground truth
    y: Tensor  # (3, H, W) its landmark image


class Look:
    """Writes a preview into `folder` every `minutes`; called after each step with the step, in the first process only."""

    def __init__(self, method: Method, people: Sequence[Person], folder: Path, minutes: float) -> None:
        self.method, self.people, self.folder, self.interval = method, people, folder, 60 * minutes
        self.due = time.monotonic() + self.interval

    def __call__(self, step: int) -> None:
        if time.monotonic() < self.due:
            return
        path = self.folder / f"{step:08d}.png"
        try:
            self.folder.mkdir(exist_ok=True)
            write(path, self.method, self.people)
            say(f"preview: {path}")
        except (OSError, torch.OutOfMemoryError) as error:
            say(f"{path}: no preview ({error})")
        self.due = time.monotonic() + self.interval


def write(path: Path, method: Method, people: Sequence[Person]) -> None:
    """Writes a PNG with one captioned row per person: source frames, landmark image, generated frame, ground truth."""
    mark = PngImagePlugin.PngInfo()
    mark.add_text("synthetic", "true")
    png, shown = io.BytesIO(), min(SHOWN, *(len(person.x_s) for person in people))
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        Image.fromarray(np.concatenate([_row(method, person, shown) for person in people])).save(png, "PNG", pnginfo=mark)
    part = path.with_suffix(".part")
    part.write_bytes(png.getvalue())
    os.replace(part, path)


def _row(method: Method, person: Person, shown: int) -> np.ndarray:
    """One row with `shown` source frames: (STRIP + H, W columns, 3) uint8."""
    images = [*person.x_s[:shown], person.y, _generated(method, person), person.x]
    strip = Image.new("RGB", (person.x.shape[-1] * len(images), STRIP))
    ImageDraw.Draw(strip).text((2, 1), f"{person.name}: {shown} of {len(person.x_s)} sources, landmarks, generated, truth")
    row = (torch.cat(images, 2).permute(1, 2, 0) * 255).round().byte().numpy()
    return np.concatenate([np.asarray(strip), row])


def _generated(method: Method, person: Person) -> Tensor:
    """The generated frame (3, H, W); a grey one, and a message, if the method raises InputError."""
    driving = person.x if method.driven_by == "frames" else person.y
    try:
        return method.preview(person.x_s, person.y_s)(driving[None])[0].cpu()
    except InputError as error:
        say(f"{person.name} cannot be generated: {error}")
        return torch.full_like(person.x, 0.5)
