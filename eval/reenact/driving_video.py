"""Reads a driving video, or a folder of landmark arrays: one item per frame, 25 per second."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from eval.reenact import face_tracking
from eval.reenact.media import photo, video_reader, video_writer
from eval.reenact.source_frames import LONGEST, Eyes
from pipeline.core.errors import InputError
from pipeline.core.ledger import RejectedItem
from pipeline.frames import crops
from pipeline.media.video import RATE

LARGEST = 2**30  # bytes of one landmark array
LOOKS, SECONDS = 32, 40.0  # frames that `glance` samples, at most, and the stretch they are spread over
Adapt = Callable[[np.ndarray], np.ndarray] | None


@dataclass(frozen=True)
class Driver:
    """A readable driving video or folder of landmarks."""

    path: Path
    part: video_reader.Part | None  # of a video
    points: np.ndarray | None  # (n, 68, 2) float64 of a folder, NaN rows without a face
    sound: bool  # whether it has decodable audio

    @property
    def count(self) -> int:
        """Number of frames."""
        return len(self.points) if self.points is not None else self.part.count if self.part else 0


def open_driver(path: Path, start: float, seconds: float | None, eyes: Eyes) -> Driver:
    """The checked driving video in `path`. InputError: it cannot be used, or has nothing in the given stretch."""
    if path.is_dir():
        points = arrays(path)[round(start * RATE):]
        points = points if seconds is None else points[:max(round(seconds * RATE), 1)]
        if not len(points):
            raise InputError(f"{path}: its landmarks end before the start at {start:g} s; lower --start")
        return Driver(path, None, points, False)
    limits = eyes.config.limits
    try:
        if not path.exists():
            raise RejectedItem("empty", "there is no such file or folder")
        if path.is_file() and photo.is_photo(path):
            raise RejectedItem("corrupt", "is a photo; a driving video or a folder of landmark arrays is needed")
        part, about = video_reader.part(path, start, seconds, LONGEST, limits), video_writer.about(path, limits)
        return Driver(path, replace(part, first=about["first"], jumps=about["jumps"]), None, bool(about["sound"]))
    except RejectedItem as problem:
        raise InputError(f"{path}: {problem}") from None


@contextmanager
def items(of: Driver, eyes: Eyes, follow: face_tracking.Tracker, adapt: Adapt) -> Iterator[Iterator[face_tracking.Seen]]:
    """Its frames in turn, with adapted points and crops. RejectedItem while iterating: the file cannot be read further."""
    preset = crops.stored(eyes.config.crop)
    if of.points is not None:
        yield face_tracking.still(face_tracking.seen((None, adapted(points, adapt)) for points in of.points), preset)
        return
    assert of.part
    with video_reader.pictures(of.part, eyes.config.limits) as frames:
        yield face_tracking.still(face_tracking.seen((frame, adapted(follow(frame), adapt)) for frame in frames), preset)


def adapted(points: np.ndarray | None, adapt: Adapt) -> np.ndarray | None:
    """Points (68, 2), on the source's shape if `adapt` is given; None without a face or with a missing coordinate."""
    if points is None or not np.isfinite(points).all():
        return None
    return points if adapt is None else adapt(points)


def glance(of: Driver, eyes: Eyes) -> list[face_tracking.Seen]:
    """Up to LOOKS frames spread over the first SECONDS, those with a face: to fit its face shape, and for ranking.

    InputError: no face in any of them.
    """
    many = min(of.count, round(SECONDS * RATE))
    every = max(-(-many // LOOKS), 1)
    found: list[tuple[np.ndarray | None, np.ndarray | None]]
    if of.points is not None:
        found = [(None, adapted(points, None)) for points in of.points[:many:every]]
    else:
        assert of.part
        some = replace(of.part, seconds=min(of.part.seconds, SECONDS))
        try:
            with video_reader.pictures(some, eyes.config.limits, every) as frames:
                found = [(frame, face_tracking.Tracker(eyes.detect, eyes.predict, eyes.config)(frame)) for frame in frames]
        except RejectedItem as problem:
            raise InputError(f"{of.path}: {problem}") from None
    faces = [item for item in face_tracking.seen(found) if item.points is not None]
    if not faces:
        raise InputError(f"{of.path}: no face in any of {len(found)} frames of its first {many / RATE:.0f} s; --start names "
                         "another place")
    return faces


def arrays(folder: Path) -> np.ndarray:
    """All .npy files of a folder in order of their names, each (68, 2) or (n, 68, 2), as (n, 68, 2) float64.

    InputError: there is none, or one has another shape.
    """
    files = sorted(folder.glob("*.npy"))
    if not files:
        raise InputError(f"{folder}: contains no .npy file; a driving folder holds landmarks of shape (68, 2) or (n, 68, 2)")
    return np.concatenate([_array(file) for file in files])


def _array(file: Path) -> np.ndarray:
    due = "expected numbers of shape (68, 2) or (n, 68, 2), written by numpy.save"
    if not file.is_file() or file.stat().st_size > LARGEST:
        raise InputError(f"{file}: not a file of at most {LARGEST >> 20} MiB; {due}")
    try:
        points = np.load(file, allow_pickle=False)
        fits = points.shape[-2:] == (68, 2) and points.ndim <= 3 and points.dtype.kind in "fiu"
        shaped = points.astype(np.float64).reshape(-1, 68, 2) if fits else None
    except Exception:  # noqa: BLE001 (NumPy raises anything on a damaged header)
        raise InputError(f"{file}: cannot be read; {due}") from None
    if shaped is None:
        raise InputError(f"{file}: {points.dtype} {points.shape}; {due}")
    sizes = np.ptp(shaped[np.isfinite(shaped).all((1, 2))], axis=1)
    if (np.abs(shaped[np.isfinite(shaped)]) > 1e6).any() or (sizes < 1).any():
        raise InputError(f"{file}: not coordinates in pixels (all within one pixel, or above a million); {due}")
    return shaped
