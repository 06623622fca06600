"""The person to be drawn: photos, or a video, as T crops with landmarks, made as the training frames were."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eval.reenact.media import photo
from pipeline.core import fileio
from pipeline.core.errors import InputError
from pipeline.core.ledger import RejectedItem
from pipeline.frames import crops, extract
from pipeline.frames.crops import Box
from pipeline.landmarks.detect_landmarks import Predict
from pipeline.media import video

LONGEST = 1280  # pixels of a picture's longer side: more than that no trained size shows
TRIES = 3  # pictures of a video that are looked at for each one that is wanted


@dataclass(frozen=True)
class Source:
    """T pictures of one person."""

    crops: np.ndarray  # (T, size, size, 3) uint8 RGB
    points: np.ndarray  # (T, 68, 2) float32, pixels of the crops
    still: np.ndarray  # (H, W, 3) uint8: the first picture, whole
    box: Box  # of its crop, in pixels of `still`
    sha256: str  # over all files in their order


@dataclass(frozen=True)
class Eyes:
    """What looks at pictures, and how the training frames were made."""

    detect: extract.Detect
    predict: Predict
    config: extract.Config


def read(paths: Sequence[Path], shots: int, face: int | None, eyes: Eyes) -> Source:
    """T = `shots` pictures, fewer where there are not so many. `face`: the how-manieth from the left, where there are several.

    InputError: photos and videos mixed, several videos, or a file that cannot be used.
    """
    kinds = [_kind(path) for path in paths]
    if all(kinds):
        found = [_photo(path, face, eyes) for path in paths[:shots]]
        cut, points, (still, box) = np.stack([a for a, *_ in found]), np.stack([b for _, b, *_ in found]), found[0][2:]
    elif len(paths) == 1:
        cut, points, still, box = _video(paths[0], shots, eyes)
    else:
        raise InputError(f"{paths[kinds.index(False)]}: a source is any number of photos of one person or one video; this file "
                         f"among {len(paths)} is no photo")
    used = paths[:shots] if all(kinds) else paths
    digest = hashlib.sha256("".join(fileio.sha256(path) for path in used).encode()).hexdigest()
    return Source(cut, points, still, box, digest)


def _kind(path: Path) -> bool:
    try:
        if not path.is_file():
            raise RejectedItem("empty", "there is no such file" if not path.exists() else "not a file")
        return photo.is_photo(path)
    except RejectedItem as problem:
        raise InputError(f"{path}: {problem}") from None


def _photo(path: Path, face: int | None, eyes: Eyes) -> tuple[np.ndarray, np.ndarray, np.ndarray, Box]:
    """Crop, points in it, the photo and the crop's box in it."""
    config = eyes.config
    try:
        seen = photo.read(path, LONGEST, config.limits)
        box = one(eyes.detect(seen.image[None])[0], face, config, str(path))
        choice = extract.choose([(box, False)], seen.image.shape[:2], seen.scale, config.model_copy(update={"least": 1}),
                               crops.stored(config.crop))
    except RejectedItem as problem:
        raise InputError(f"{path}: {problem}") from None
    crop = crops.cut(seen.image, choice.frame, config.size)
    corner, ratio = np.array(choice.frame.box[:2] * 2), config.size / (choice.frame.box[2] - choice.frame.box[0])
    points = eyes.predict([crop], (choice.faces - corner) * ratio)[0]
    if not np.isfinite(points).all():
        raise InputError(f"{path}: no landmarks were found in the face (turned far aside, covered, or drawn); take another "
                         f"photo")
    return crop, points, seen.image, choice.frame.box


def one(found: np.ndarray, face: int | None, config: extract.Config, where: str) -> np.ndarray:
    """The box (4,) of the face that is meant. InputError: none is there, or it is not said which of several.

    Faces much smaller than the largest (`second_face`) are people in the background, as in training.
    """
    sure = np.asarray(found, np.float64).reshape(-1, 5)
    sure = sure[sure[:, 4] >= config.confidence]
    if not len(sure):
        raise InputError(f"{where}: no face is found in it; take a photo of a human face from the front, not too small")
    width = sure[:, 2] - sure[:, 0]
    sure = sure[width >= config.second_face * width.max()]
    if face is None and len(sure) > 1:
        raise InputError(f"{where}: {len(sure)} faces of like size; cut the photo, or name one, counted from the left: --face "
                         f"1 "
                         f"to --face {len(sure)}")
    if face is not None and not 1 <= face <= len(sure):
        raise InputError(f"{where}: --face {face} is asked for, of {len(sure)} in it")
    return np.asarray(sure[np.argsort(sure[:, 0])[(face or 1) - 1], :4])


def _video(path: Path, shots: int, eyes: Eyes) -> tuple[np.ndarray, np.ndarray, np.ndarray, Box]:
    """T crops spread over a video, their points, its first chosen picture and the crop's box in it."""
    config = eyes.config.model_copy(update={"faces": "detect", "per_clip": TRIES * shots, "least": 1, "longest": LONGEST})
    try:
        clip = extract.read(path, config, eyes.detect, None)
        points = eyes.predict(clip.crops, clip.faces)
        good = np.flatnonzero(np.isfinite(points).all((1, 2)))
        if not len(good):
            raise RejectedItem("no-face", "no landmarks are found in any of its pictures")
        good = good[np.unique(np.linspace(0, len(good) - 1, shots).round().astype(int))]
        whole = video.decode(path, clip.numbers[good[:1]], config.limits, LONGEST)
    except RejectedItem as problem:
        raise InputError(f"{path}: {problem}{'; cut a minute out of it' if problem.status == 'timeout' else ''}") from None
    x0, y0, x1, y1 = (float(edge) * whole.scale for edge in clip.box)
    return np.stack([clip.crops[k] for k in good]), points[good], whole.images[0], (x0, y0, x1, y1)
