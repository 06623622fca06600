"""Tracks the face of a driving video: landmarks of each frame, and a steady square crop like that of a training clip."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np

from model.backbones.identity import FOREHEAD
from pipeline.frames import crops, extract
from pipeline.frames.tracks import JUMP
from pipeline.landmarks.detect_landmarks import Predict

EVERY = 25  # frames between two detections while a face is tracked
LOST = 5  # frames between two detections while no face is tracked
AROUND = 50  # frames before and after one whose boxes place its crop: two seconds; a training clip has some four to eight
Frame = crops.Frame


@dataclass(frozen=True)
class Seen:
    """One driving frame."""

    image: np.ndarray | None  # (H, W, 3) uint8 RGB; None if only landmarks are given
    points: np.ndarray | None  # (68, 2), pixels of the image; None: no face
    box: np.ndarray | None  # (4,), around the face
    shot: int  # index of the shot; a jump of the face (a cut, or another person) begins a new one
    frame: Frame | None = None  # of the crop; None before the first face


class Tracker:
    """Tracks the face of the first frame: the points of each frame give the box for the next."""

    def __init__(self, detect: extract.Detect, predict: Predict, config: extract.Config) -> None:
        self.detect, self.predict, self.config = detect, predict, config
        self.box: np.ndarray | None = None
        self.age = self.lost = self.looks = self.rivals = 0

    def __call__(self, image: np.ndarray) -> np.ndarray | None:
        """image (H, W, 3) uint8 -> its points (68, 2), or None."""
        fresh = self.age >= EVERY or (self.box is None and self.lost % LOST == 0)
        if fresh:
            self._detect(image)
        points = self._points(image)
        if points is None and self.box is not None and not fresh:  # the face moved away or disappeared
            self._detect(image)
            points = self._points(image)
        self.age, self.lost = self.age + 1, 0 if points is not None else self.lost + 1
        self.box = None if points is None else around(points)
        return points

    def _points(self, image: np.ndarray) -> np.ndarray | None:
        if self.box is None:
            return None
        points = np.asarray(self.predict([image], self.box[None])[0], np.float64)
        return points if np.isfinite(points).all() and (np.ptp(points, axis=0) > 1).all() else None

    def _detect(self, image: np.ndarray) -> None:
        """Sets `box` to the detected face that overlaps the tracked one most; to the largest if none does."""
        found = np.asarray(self.detect(image[None])[0], np.float64).reshape(-1, 5)
        found = found[found[:, 4] >= self.config.confidence, :4]
        self.age, self.looks = 0, self.looks + 1
        if not len(found):
            return  # the landmark detector decides whether the tracked box still shows a face
        width = found[:, 2] - found[:, 0]
        self.rivals += int((width >= self.config.second_face * width.max()).sum() > 1)
        share = np.array([overlap(box, self.box) for box in found])
        self.box = found[share.argmax() if share.max() > JUMP else width.argmax()]


def around(points: np.ndarray) -> np.ndarray:
    """The face box (4,) of points (68, 2), as the detector places it: their extent, and the forehead above it."""
    low, high = points.min(0), points.max(0)
    return np.array([low[0], low[1] - FOREHEAD * (high - low)[1], high[0], high[1]])


def overlap(a: np.ndarray, b: np.ndarray | None) -> float:
    """Intersection over union of two boxes (4,); 0 if b is None."""
    if b is None:
        return 0.0
    both = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None).prod()
    return float(both / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - both))


def seen(pairs: Iterable[tuple[np.ndarray | None, np.ndarray | None]]) -> Iterator[Seen]:
    """Frames and their points in turn, with boxes; a face that overlaps the last one by less than JUMP begins a new shot."""
    last, shot = None, 0
    for image, points in pairs:
        box = None if points is None else around(points)
        if box is not None:
            shot += int(last is not None and overlap(box, last) < JUMP)
            last = box
        yield Seen(image, points, box, shot)


def still(items: Iterable[Seen], preset: crops.Boxed) -> Iterator[Seen]:
    """The same frames with crops, each from the median box of the shot's frames up to AROUND before and after.

    A training clip has one crop, from the median of all its boxes; here the window moves with the video. A frame without a box
    in its window keeps the previous crop.
    """
    before: deque[Seen] = deque(maxlen=AROUND)
    after: deque[Seen] = deque()
    frame: Frame | None = None
    loose = preset.model_copy(update={"shift": 0.0})  # with landmarks alone the image's borders are unknown
    ends: Iterable[Any] = [None] * AROUND
    for item in chain(items, ends):
        if item is not None:
            after.append(item)
        if not after or (item is not None and len(after) <= AROUND):
            continue
        now = after.popleft()
        near = [other.box for other in chain(before, [now], after) if other.shot == now.shot and other.box is not None]
        if near:
            shape = (0, 0) if now.image is None else now.image.shape[:2]
            frame = crops.frame(preset if now.image is not None else loose, np.array(near), None, shape)
        before.append(replace(now, image=None))
        yield replace(now, frame=frame)
