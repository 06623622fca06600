"""A look at a training under way: a few fixed people drawn as the method would draw them now, beside the truth."""

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

SHOWN, STRIP = 3, 14  # source frames shown, at most; height of the line over a row, pixels


class Person(NamedTuple):
    """What a row shows. Images are RGB in [0, 1]."""

    name: str  # printed over the row
    x_s: Tensor  # (K, 3, H, W) source frames
    y_s: Tensor  # (K, 3, H, W) their landmark images
    x: Tensor  # (3, H, W) another frame of the person, the truth
    y: Tensor  # (3, H, W) its landmark image


class Look:
    """Draws into `folder` every so many minutes; called after each step with its number. The first process of several draws."""

    def __init__(self, method: Method, people: Sequence[Person], folder: Path, minutes: float) -> None:
        self.method, self.people, self.folder, self.pause = method, people, folder, 60 * minutes
        self.due = time.monotonic() + self.pause

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
        self.due = time.monotonic() + self.pause


def write(path: Path, method: Method, people: Sequence[Person]) -> None:
    """A PNG: over each row who it is, then source frames, landmark image, what the method draws, and the truth."""
    mark = PngImagePlugin.PngInfo()
    mark.add_text("synthetic", "true")
    png, shown = io.BytesIO(), min(SHOWN, *(len(person.x_s) for person in people))
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        Image.fromarray(np.concatenate([_row(method, person, shown) for person in people])).save(png, "PNG", pnginfo=mark)
    part = path.with_suffix(".part")
    part.write_bytes(png.getvalue())
    os.replace(part, path)


def _row(method: Method, person: Person, shown: int) -> np.ndarray:
    """(STRIP + H, W columns, 3) uint8, with so many source frames."""
    pictures = [*person.x_s[:shown], person.y, _drawn(method, person), person.x]
    strip = Image.new("RGB", (person.x.shape[-1] * len(pictures), STRIP))
    ImageDraw.Draw(strip).text((2, 1), f"{person.name}: {shown} of {len(person.x_s)} sources, landmarks, drawn, truth")
    row = (torch.cat(pictures, 2).permute(1, 2, 0) * 255).round().byte().numpy()
    return np.concatenate([np.asarray(strip), row])


def _drawn(method: Method, person: Person) -> Tensor:
    """(3, H, W); grey, with a sentence, where the method refuses."""
    driver = person.x if method.driven_by == "frames" else person.y
    try:
        return method.preview(person.x_s, person.y_s)(driver[None])[0].cpu()
    except InputError as error:
        say(f"{person.name} cannot be drawn: {error}")
        return torch.full_like(person.x, 0.5)
