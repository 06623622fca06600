"""What drives: a video, or a folder of landmark arrays; one item a picture, 25 a second."""

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
LOOKS, SECONDS = 32, 40.0  # of `glance`
Adapt = Callable[[np.ndarray], np.ndarray] | None


@dataclass(frozen=True)
class Driver:
    """A driver that can be read."""

    path: Path
    part: video_reader.Part | None  # of a video
    points: np.ndarray | None  # (n, 68, 2) float64 of a folder, NaN rows without a face
    sound: bool

    @property
    def count(self) -> int:
        """Pictures that will come."""
        return len(self.points) if self.points is not None else self.part.count if self.part else 0


def open_driver(path: Path, start: float, seconds: float | None, eyes: Eyes) -> Driver:
    """Looks into the driver. InputError: it cannot be used, or has nothing in the stretch that is asked for."""
    if path.is_dir():
        points = arrays(path)[round(start * RATE):]
        points = points if seconds is None else points[:max(round(seconds * RATE), 1)]
        if not len(points):
            raise InputError(f"{path}: its landmarks end before the {start:g} s at which they should begin")
        return Driver(path, None, points, False)
    limits = eyes.config.limits
    try:
        if not path.exists():
            raise RejectedItem("empty", "there is no such file or folder")
        if path.is_file() and photo.is_photo(path):
            raise RejectedItem("corrupt", "a photo drives nothing; a driver is a video or a folder of landmark arrays")
        part, about = video_reader.part(path, start, seconds, LONGEST, limits), video_writer.about(path, limits)
        return Driver(path, replace(part, first=about["first"], jumps=about["jumps"]), None, bool(about["sound"]))
    except RejectedItem as problem:
        raise InputError(f"{path}: {problem}") from None


@contextmanager
def items(of: Driver, eyes: Eyes, follow: face_tracking.Tracker, adapt: Adapt) -> Iterator[Iterator[face_tracking.Seen]]:
    """Its pictures in turn, with points, adapted, and crops. RejectedItem while they are read: nothing comes any more."""
    preset = crops.stored(eyes.config.crop)
    if of.points is not None:
        yield face_tracking.still(face_tracking.seen((None, adapted(points, adapt)) for points in of.points), preset)
        return
    assert of.part
    with video_reader.pictures(of.part, eyes.config.limits) as pictures:
        yield face_tracking.still(face_tracking.seen((picture, adapted(follow(picture), adapt)) for picture in pictures),
                                  preset)


def adapted(points: np.ndarray | None, adapt: Adapt) -> np.ndarray | None:
    """Points (68, 2), if there is a face and no coordinate is missing; on the source's shape where that is asked for."""
    if points is None or not np.isfinite(points).all():
        return None
    return points if adapt is None else adapt(points)


def glance(of: Driver, eyes: Eyes) -> list[face_tracking.Seen]:
    """LOOKS of its pictures at most, those with a face, spread over its first SECONDS: for its face's shape, and for ranking.

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
            with video_reader.pictures(some, eyes.config.limits, every) as pictures:
                found = [(picture, face_tracking.Tracker(eyes.detect, eyes.predict,
                                                         eyes.config)(picture)) for picture in pictures]
        except RejectedItem as problem:
            raise InputError(f"{of.path}: {problem}") from None
    faces = [item for item in face_tracking.seen(found) if item.points is not None]
    if not faces:
        raise InputError(f"{of.path}: no face in any of {len(found)} pictures of its first {many / RATE:.0f} s; --start names "
                         "another place")
    return faces


def arrays(folder: Path) -> np.ndarray:
    """All .npy files of a folder by name, each (68, 2) or (n, 68, 2), as (n, 68, 2) float64.

    InputError: none, another shape.
    """
    files = sorted(folder.glob("*.npy"))
    if not files:
        raise InputError(f"{folder}: a folder that drives holds landmarks as .npy files of shape (68, 2) or (n, 68, 2); it has "
                         "none")
    return np.concatenate([_array(file) for file in files])


def _array(file: Path) -> np.ndarray:
    due = "a .npy of numbers (68, 2) or (n, 68, 2), written by numpy.save, is due"
    if not file.is_file() or file.stat().st_size > LARGEST:
        raise InputError(f"{file}: no file of at most {LARGEST >> 20} MiB; {due}")
    try:
        points = np.load(file, allow_pickle=False)
        fits = points.shape[-2:] == (68, 2) and points.ndim <= 3 and points.dtype.kind in "fiu"
        shaped = points.astype(np.float64).reshape(-1, 68, 2) if fits else None
    except Exception:  # noqa: BLE001 (a damaged header makes NumPy raise whatever its parser does)
        raise InputError(f"{file}: cannot be read; {due}") from None
    if shaped is None:
        raise InputError(f"{file}: {points.dtype} {points.shape}; {due}")
    sizes = np.ptp(shaped[np.isfinite(shaped).all((1, 2))], axis=1)
    if (np.abs(shaped[np.isfinite(shaped)]) > 1e6).any() or (sizes < 1).any():
        raise InputError(f"{file}: not points in pixels (all within one pixel, or beyond a million); {due}")
    return shaped
