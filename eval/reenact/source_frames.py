"""The source person: photos or a video as T crops with landmarks, made like the training frames."""

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

LONGEST = 1280  # pixels of an image's longer side; larger ones are averaged down
TRIES = 3  # frames of a video that are examined per frame needed


@dataclass(frozen=True)
class Source:
    """T images of one person."""

    crops: np.ndarray  # (T, size, size, 3) uint8 RGB
    points: np.ndarray  # (T, 68, 2) float32, pixels of the crops
    still: np.ndarray  # (H, W, 3) uint8: the first image, uncropped
    box: Box  # of its crop, in pixels of `still`
    sha256: str  # over all files in their order


@dataclass(frozen=True)
class Eyes:
    """Face detector, landmark detector, and the settings of the training frames."""

    detect: extract.Detect
    predict: Predict
    config: extract.Config


def read(paths: Sequence[Path], shots: int, face: int | None, eyes: Eyes) -> Source:
    """T = `shots` images, or fewer if there are fewer. `face`: index of the face from the left, from 1, if there are several.

    InputError: photos and videos mixed, several videos, or a file that cannot be used.
    """
    kinds = [_kind(path) for path in paths]
    if all(kinds):
        found = [_photo(path, face, eyes) for path in paths[:shots]]
        cut, points, (still, box) = np.stack([a for a, *_ in found]), np.stack([b for _, b, *_ in found]), found[0][2:]
    elif len(paths) == 1:
        cut, points, still, box = _video(paths[0], shots, eyes)
    else:
        raise InputError(f"{paths[kinds.index(False)]}: not a photo, among {len(paths)} files; a source is any number of "
                         "photos of one person, or one video")
    used = paths[:shots] if all(kinds) else paths
    digest = hashlib.sha256("".join(fileio.sha256(path) for path in used).encode()).hexdigest()
    return Source(cut, points, still, box, digest)


def _kind(path: Path) -> bool:
    """Whether the file is a photo."""
    try:
        if not path.is_file():
            raise RejectedItem("empty", "there is no such file" if not path.exists() else "not a file")
        return photo.is_photo(path)
    except RejectedItem as problem:
        raise InputError(f"{path}: {problem}") from None


def _photo(path: Path, face: int | None, eyes: Eyes) -> tuple[np.ndarray, np.ndarray, np.ndarray, Box]:
    """Crop, points in the crop, the photo, and the crop's box in the photo."""
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
        raise InputError(f"{path}: no landmarks were found in the face (in profile, covered, or a drawing); use another photo")
    return crop, points, seen.image, choice.frame.box


def one(found: np.ndarray, face: int | None, config: extract.Config, where: str) -> np.ndarray:
    """The box (4,) of the selected face. InputError: there is none, or several and no selection.

    As in training, faces much smaller than the largest (`second_face`) are people in the background and ignored.
    """
    sure = np.asarray(found, np.float64).reshape(-1, 5)
    sure = sure[sure[:, 4] >= config.confidence]
    if not len(sure):
        raise InputError(f"{where}: no face is found in it; use a photo of a human face from the front, not too small")
    width = sure[:, 2] - sure[:, 0]
    sure = sure[width >= config.second_face * width.max()]
    if face is None and len(sure) > 1:
        raise InputError(f"{where}: {len(sure)} faces of similar size; crop the photo, or select one, counted from the left: "
                         f"--face 1 to --face {len(sure)}")
    if face is not None and not 1 <= face <= len(sure):
        raise InputError(f"{where}: has {len(sure)} faces, but --face is {face}")
    return np.asarray(sure[np.argsort(sure[:, 0])[(face or 1) - 1], :4])


def _video(path: Path, shots: int, eyes: Eyes) -> tuple[np.ndarray, np.ndarray, np.ndarray, Box]:
    """T crops spread over a video, their points, the first chosen frame, and the crop's box in it."""
    config = eyes.config.model_copy(update={"faces": "detect", "per_clip": TRIES * shots, "least": 1, "longest": LONGEST})
    try:
        clip = extract.read(path, config, eyes.detect, None)
        points = eyes.predict(clip.crops, clip.faces)
        good = np.flatnonzero(np.isfinite(points).all((1, 2)))
        if not len(good):
            raise RejectedItem("no-face", "no landmarks are found in any of its frames")
        good = good[np.unique(np.linspace(0, len(good) - 1, shots).round().astype(int))]
        whole = video.decode(path, clip.numbers[good[:1]], config.limits, LONGEST)
    except RejectedItem as problem:
        raise InputError(f"{path}: {problem}{'; use a minute of it' if problem.status == 'timeout' else ''}") from None
    x0, y0, x1, y1 = (float(edge) * whole.scale for edge in clip.box)
    return np.stack([clip.crops[k] for k in good]), points[good], whole.images[0], (x0, y0, x1, y1)
