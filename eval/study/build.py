"""Builds a study: every cell of the table (method, T) over the same scenes, and the same scenes as attention checks.

So methods, T and people are balanced whatever their number, and each position of the fake is as frequent as the others. In an
attention check a frame of another video is in pieces and the true hold-out frame is whole: it does not tell which video the
methods draw.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eval.study import scenes
from eval.study.trials import CHECK, NAME, Config, Trial
from pipeline.core import fileio
from pipeline.core.errors import InputError
from pipeline.core.shards import Place, ShardWriter

if TYPE_CHECKING:
    from eval.scoring.protocol import Generated
    from pipeline.episodes import Faces

PIECES = 4  # an attention check is cut into as many rows and columns


@dataclass(frozen=True)
class Inputs:
    """Where the real frames lie, and what each method drew: (method, T) -> folder of images."""

    frames: Path
    landmarks: Path
    split: Path
    drawn: Mapping[tuple[str, int], Path]


@dataclass(frozen=True)
class Cell:
    """What is asked about: the frames of one method at one T, or (drawn None) whether somebody looks at all."""

    method: str
    shots: int
    drawn: Generated | None
    faces: Faces  # the real frames at the size of the drawn ones

    def show(self, person: str, scene: scenes.Scene, rng: np.random.Generator) -> tuple[int, list[int], np.ndarray]:
        """(row of the fake, rows of the real frames in the order shown, the fake (H, W, 3) uint8)."""
        row, *others = scene
        if self.drawn is None:
            return others[0], rng.permutation([others[1], row]).tolist(), in_pieces(self.faces.raw(others[0]), rng)
        try:
            picture = self.drawn.frames(person, [row])[0]
        except KeyError:
            raise InputError(f"{self.drawn.folder}: hold-out frame {row} of {person} is missing; remove the folder and run "
                             "`dvc repro`") from None
        return row, others, np.rint(picture.transpose(1, 2, 0) * 255).astype(np.uint8)


def build(inputs: Inputs, config: Config, seed: int, dataset: str, out: Path) -> dict[str, Any]:
    """Writes trials.json and the pictures in shards -> body of the manifest. The same inputs give the same bytes.

    What a person's trials are hangs on (seed, person) alone: somebody who is taken down changes nobody else's.
    InputError: nothing was drawn, or no person has a trial.
    """
    if not inputs.drawn:
        raise InputError(f"{dataset}: no method has drawn anything yet; run `make repro DATA={dataset}`")
    cells = _cells(inputs)
    faces, album, trials, left_out = cells[0].faces, Album(out), list[Trial](), dict[str, str]()
    clips = scenes.clips_of(inputs.frames, inputs.landmarks, {subject.person for subject in faces.subjects})
    for subject in faces.subjects:
        person = subject.person
        try:
            chosen = scenes.of_person(subject, clips[person], faces.seconds, config, scenes.stream(seed, person))
        except InputError as why:
            left_out[person] = str(why)
            continue
        for cell in cells:
            rng = scenes.stream(seed, person, cell.method, cell.shots)
            trials += _trials(dataset, cell, person, chosen, clips[person], album, rng)
    if not trials:
        way = "set study.rule to frames (same-video trials), or " if config.rule == "videos" else "lower study.apart, or "
        raise InputError(f"{dataset}: no trial can be made: {next(iter(left_out.values()), 'nobody is tested')}; {way}"
                         "add videos of the test people")
    album.close()
    fileio.write_json(out / NAME, {"pictures": album.places, "trials": [asdict(trial) for trial in trials]})
    return {"dataset": dataset, "design": config.design() | {"seed": seed, "dataset": dataset},
            "cells": [[cell.method, cell.shots, cell.faces.size] for cell in cells],
            "people": len({trial.person for trial in trials}), "trials": len(trials), "left_out": left_out}


def _cells(inputs: Inputs) -> list[Cell]:
    """Every cell of the table, and the attention checks."""
    from eval.scoring.protocol import Generated
    from pipeline.episodes import Faces

    drawn = {cell: Generated(folder) for cell, folder in inputs.drawn.items()}
    sizes = {cell: generated.size() for cell, generated in drawn.items()}
    sizes[CHECK, 0] = max(sizes.values())
    faces = {size: Faces(inputs.frames, inputs.landmarks, inputs.split, size) for size in set(sizes.values())}
    return [Cell(*cell, drawn.get(cell), faces[size]) for cell, size in sizes.items()]


def _trials(dataset: str, cell: Cell, person: str, chosen: Sequence[scenes.Scene], clips: Mapping[int, str], album: Album,
            rng: np.random.Generator) -> Iterator[Trial]:
    """One person's trials of a cell."""
    for scene, position in zip(chosen, scenes.positions(len(chosen), rng)):
        row, real, picture = cell.show(person, scene, rng)
        shown = [album.add(("real", cell.faces.size, r), cell.faces.raw(r)) for r in real]
        shown.insert(position, album.add((cell.method, cell.shots, scene), picture))
        names = [clips[r] for r in [*real[:position], row, *real[position:]]]
        place = (cell.method, cell.shots, person, scene[0], names, [album.digests[j] for j in shown], position)
        name = hashlib.sha256(json.dumps([dataset, *place]).encode()).hexdigest()[:16]
        yield Trial(name, cell.method, cell.shots, person, scene[0], names, shown, position)


class Album:
    """Pictures in shards. Each is a PNG of stored (not compressed) pixels without any other chunk: those of one size have
    one number of bytes, whatever they show."""

    def __init__(self, folder: Path) -> None:
        self._writer, self._known = ShardWriter(folder), dict[object, int]()
        self.places: list[Place] = []
        self.digests: list[str] = []

    def add(self, key: object, picture: np.ndarray) -> int:
        """Number of a picture (H, W, 3) uint8; what has been added under `key` is not added again."""
        from PIL import Image

        if key not in self._known:
            file = io.BytesIO()
            Image.fromarray(picture).save(file, "PNG", compress_level=0)
            self._known[key] = len(self.places)
            self.places.append(self._writer.add(f"{len(self.places):06d}.png", file.getvalue()))
            self.digests.append(hashlib.sha256(np.ascontiguousarray(picture).tobytes()).hexdigest())
        return self._known[key]

    def close(self) -> None:
        """Ends the last shard."""
        self._writer.close()


def in_pieces(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(H, W, 3) cut into squares, none of which is left in its place; what does not divide stays as a border."""
    n = len(picture) // PIECES
    order, out = rng.permutation(PIECES**2), picture.copy()
    for old, new in zip(order, np.roll(order, 1)):
        (i, j), (k, l) = divmod(int(old), PIECES), divmod(int(new), PIECES)
        out[k * n:(k + 1) * n, l * n:(l + 1) * n] = picture[i * n:(i + 1) * n, j * n:(j + 1) * n]
    return out
