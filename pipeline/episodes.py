"""Reads frames, landmarks and split, and samples meta-learning episodes from them."""

from __future__ import annotations

import json
import resource
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from pipeline.core import image_ops, takedown
from pipeline.core.config import Strict
from pipeline.core.errors import InputError
from pipeline.core.manifest import read_manifest
from pipeline.core.shards import ShardReader
from pipeline.core.tables import runs
from pipeline.landmarks import landmark_image as marks

CACHE = 2 * 2**30  # bytes of decoded frames kept in memory; further ones are decoded each time


class Augment(Strict):
    """Augmentation of an episode; 0 and false are off. Each applies equally to all frames of the episode."""

    flip: bool  # mirror half of the episodes: each is a new video with a column of its own
    gain: float  # colour channels times 1 ± gain, in 7 of 10 episodes
    hue: float  # hue rotated by up to ± hue degrees
    stretch: float  # width and height times 1 ± stretch about the centre, landmarks too: a face of other proportions


@dataclass(frozen=True)
class Subject:
    """One test person; frames are rows of index.parquet. T shots are the first T sources."""

    person: str
    video: str
    sources: list[int]
    holdout: list[int]


class Faces:
    """Frames and landmarks by row of index.parquet, at `size` pixels (area average of the stored size).

    Ids in `takedown.txt` (in the working directory, or beside the `frames` folder) are not served: a listed training video
    is never sampled (its column of W stays, unused), a listed subject is left out, and reading a listed row is InputError.
    """

    def __init__(self, frames: Path, landmarks: Path, split: Path, size: int) -> None:
        stored = int(read_manifest(frames, "frames")["size"])
        read_manifest(landmarks, "landmarks")
        read_manifest(split, "split")
        if size > stored:
            raise InputError(f"{frames}: frames are stored at {stored} pixels, {size} are requested; lower the method's size "
                             "or raise frames.size")
        self.size, self.stored = size, stored
        index = pd.read_parquet(frames / "index.parquet", columns=["shard", "offset", "length", "crc", "seconds"])
        _raise_file_limit()
        self._points = [np.load(shard, mmap_mode="r") for shard in sorted(landmarks.glob("*.npy"))]
        self._starts = np.cumsum([0, *map(len, self._points)])  # first row of each shard, then the total
        if self._starts[-1] != len(index):
            raise InputError(f"{landmarks}: {self._starts[-1]} rows of landmarks for the {len(index)} frames of {frames}; "
                             "run `dvc repro`")
        self._places = [index[name].to_numpy(np.int64) for name in ("shard", "offset", "length", "crc")]
        self.seconds = index["seconds"].to_numpy(np.float64)
        listed = takedown.read(Path(takedown.NAME), frames.parent / takedown.NAME)
        self._listed = _covered(frames, listed) if listed else np.zeros(len(index), bool)
        status = pd.read_parquet(landmarks / "ledger.parquet", columns=["status"])["status"]
        self._found = (status == "ok").to_numpy(bool) & ~self._listed
        train = pd.read_parquet(split / "train.parquet")
        self.videos = [str(name) for name in train["video"]]
        self._train = train[["start", "stop"]].to_numpy(np.int64)
        before = np.r_[0, np.cumsum(self._found)]
        self.counts = before[self._train[:, 1]] - before[self._train[:, 0]]  # usable frames of each training video
        subjects = [Subject(**entry) for entry in json.loads((split / "test.json").read_text())]
        self.subjects = [subject for subject in subjects if not self._listed[subject.sources + subject.holdout].any()]
        self._reader = ShardReader(frames)
        self._cache: dict[int, np.ndarray] = {}

    @property
    def num_videos(self) -> int:
        """Number of training videos, without mirrored ones."""
        return len(self._train)

    def train_rows(self, i: int) -> np.ndarray:
        """The rows of training video i that have landmarks; none when it is on the take-down list."""
        start, stop = self._train[i]
        return np.asarray(start + np.flatnonzero(self._found[start:stop]))

    def raw(self, row: int) -> np.ndarray:
        """One frame: (size, size, 3) uint8 RGB."""
        if row in self._cache:
            return self._cache[row]
        if self._listed[row]:
            raise InputError(f"row {row} of the frames is on the take-down list; remove what was made with it and run "
                             "`dvc repro`")
        image = image_ops.from_png(self._reader.read(*(int(column[row]) for column in self._places)))
        if self.size != self.stored:
            image = cv2.resize(image, (self.size, self.size), interpolation=cv2.INTER_AREA)
        if (len(self._cache) + 1) * image.nbytes <= CACHE:
            self._cache[row] = image
        return image

    def images(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Frames as float32 (n, 3, size, size), RGB in [0, 1]."""
        return planes([self.raw(int(row)) for row in rows])

    def points(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Landmarks (n, 68, 2) float32, pixels of `size`; NaN where no face was found."""
        scale, rows = self.size / self.stored, np.asarray(rows, np.int64)
        shards = np.searchsorted(self._starts, rows, side="right") - 1
        found = [self._points[shard][row] for shard, row in zip(shards, rows - self._starts[shards])]
        return np.asarray((np.array(found, np.float32).reshape(-1, 68, 2) + .5) * scale - .5, np.float32)

    def poses(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Landmark images y, float32 (n, 3, size, size) in [0, 1]; rasterised on each call, never stored."""
        return planes([marks.draw(points, self.size) for points in self.points(rows)])


def _raise_file_limit() -> None:
    """Allows as many open files as the hard limit: the usual 1,024 are too few for VoxCeleb2's 1,129 shards of two files."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with suppress(ValueError):  # some systems state "unlimited" but allow less
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _covered(frames: Path, listed: Collection[str]) -> np.ndarray:
    """(n,) bool: whether the row's clip is on the take-down list."""
    clips = pd.read_parquet(frames / "index.parquet", columns=["clip"])["clip"]
    start = runs(clips)
    down = [takedown.covers(listed, *clip.split("/", 1)) for clip in clips.iloc[start]]
    return np.repeat(down, np.diff(np.r_[start, len(clips)]))


def episode(faces: Faces, step: int, *, slots: Sequence[int], K: int, seed: int, augment: Augment) -> dict[str, np.ndarray]:
    """The B `slots` of a meta-learning batch: x_t, y_t (B, 3, H, W); x_s, y_s (B, K, 3, H, W) float32 in [0, 1]; i (B,) int64.

    Stateless: slot b of step s depends on (seed, s, b) only. So training resumes from its step number, and each of several
    processes makes its own slots. The target is never among the K sources. A mirrored episode has i + num_videos.
    InputError: no training video has K + 1 frames with landmarks.
    """
    x = np.empty((len(slots), K + 1, 3, faces.size, faces.size), np.float32)
    y, i = np.empty_like(x), np.empty(len(slots), np.int64)
    usable = _usable(faces, K)
    for place, slot in enumerate(slots):
        i[place], rows, flip, rng = _sample(faces, usable, step, slot, K, seed, augment)
        _fill(x[place], y[place], faces, rows, flip, rng, augment)
    return {"x_t": x[:, 0], "y_t": y[:, 0], "x_s": x[:, 1:], "y_s": y[:, 1:], "i": i}


def videos(faces: Faces, step: int, *, slots: Sequence[int], K: int, seed: int, augment: Augment) -> list[str]:
    """The names of the videos in these slots of a batch, without reading frames."""
    usable = _usable(faces, K)
    numbers = [_sample(faces, usable, step, slot, K, seed, augment)[0] for slot in slots]
    return [faces.videos[i % faces.num_videos] + (" mirrored" if i >= faces.num_videos else "") for i in numbers]


def _usable(faces: Faces, K: int) -> np.ndarray:
    usable = np.flatnonzero(faces.counts > K)
    if not len(usable):
        raise InputError(f"K = {K}: no training video has {K + 1} frames with landmarks; lower K or raise frames.per_clip")
    return usable


def _sample(faces: Faces, usable: np.ndarray, step: int, slot: int, K: int, seed: int,
            augment: Augment) -> tuple[int, np.ndarray, bool, np.random.Generator]:
    """The content of a slot: column of W, rows of the frames, whether they are mirrored; and the generator to continue with."""
    rng = np.random.Generator(np.random.Philox(key=[seed, 0], counter=[0, 0, slot, step]))
    i = int(usable[rng.integers(len(usable))])
    rows = rng.choice(faces.train_rows(i), K + 1, replace=False)
    flip = bool(rng.random() < .5 and augment.flip)
    return i + (faces.num_videos if flip else 0), rows, flip, rng


def _fill(x: np.ndarray, y: np.ndarray, faces: Faces, rows: np.ndarray, flip: bool, rng: np.random.Generator,
          augment: Augment) -> None:
    """Fills frames x and landmark images y of one episode, (K + 1, 3, H, W) each.

    The same random numbers are consumed whichever augmentations are on.
    """
    gain = 1 + augment.gain * rng.uniform(-1, 1, 3) * (rng.random() < .7)
    colour = np.diag(gain) @ _hue(augment.hue * rng.uniform(-1, 1))
    sx, sy = 1 + augment.stretch * rng.uniform(-1, 1, 2)
    images, points = [faces.raw(int(row)) for row in rows], faces.points(rows)
    if augment.stretch:
        images, points = [_stretch(image, sx, sy) for image in images], _about_centre(points, sx, sy, faces.size)
    if flip:
        images, points = [image[:, ::-1] for image in images], marks.mirror(points, faces.size)
    planes(images, x)
    if augment.gain or augment.hue:
        np.clip(np.einsum("dc,nchw->ndhw", colour.astype(np.float32), x, optimize=True), 0, 1, out=x)
    planes([marks.draw(point, faces.size) for point in points], y)


def _about_centre(points: np.ndarray, sx: float, sy: float, size: int) -> np.ndarray:
    centre = (size - 1) / 2
    return np.asarray((points - centre) * np.array([sx, sy], np.float32) + np.float32(centre))


def _stretch(image: np.ndarray, sx: float, sy: float) -> np.ndarray:
    """Scales an image about its centre; where it shrinks, border pixels are repeated."""
    centre = (len(image) - 1) / 2
    matrix = np.array([[sx, 0, centre * (1 - sx)], [0, sy, centre * (1 - sy)]])
    return np.asarray(cv2.warpAffine(image, matrix, (len(image), len(image)), flags=cv2.INTER_LINEAR,
                                     borderMode=cv2.BORDER_REPLICATE))


def _hue(degrees: float) -> np.ndarray:
    """Rotation of RGB about the grey axis, (3, 3); leaves greys unchanged."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    a, b = (1 - cos) / 3, sin / np.sqrt(3)
    return np.array([[cos + a, a - b, a + b], [a + b, cos + a, a - b], [a - b, a + b, cos + a]])


def planes(images: Sequence[np.ndarray] | np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """n images (H, W, 3) uint8 -> (n, 3, H, W) float32 in [0, 1], written to `out` if given."""
    out = np.empty((len(images), 3, *images[0].shape[:2]), np.float32) if out is None else out
    for image, place in zip(images, out, strict=True):
        np.divide(image.transpose(2, 0, 1), np.float32(255), out=place, dtype=np.float32)
    return out
