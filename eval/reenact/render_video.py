"""From driver to film: decoding, landmarks, drawing and encoding each in a process or thread of its own."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from eval.reenact import compose, driving_video, face_tracking, trained_head
from eval.reenact.driving_video import Adapt, Driver
from eval.reenact.media import video_writer
from eval.reenact.prefetch import ahead
from eval.reenact.source_frames import Eyes, Source
from pipeline.core.errors import InputError
from pipeline.core.ledger import RejectedItem
from pipeline.core.progress import progress
from pipeline.frames import crops
from pipeline.landmarks import landmark_image
from pipeline.media.video import RATE

if TYPE_CHECKING:
    from model.api import Head

BATCH = 4  # pictures drawn at a time
DEPTH = 8  # pictures that wait between two threads


@dataclass
class Report:
    """What became of the driver's pictures."""

    pictures: int = 0
    lost: list[tuple[int, int]] = field(default_factory=list)  # stretches without a face: first picture, last + 1
    looks: int = 0  # of the face detector
    rivals: int = 0  # of them that saw a second face of like size
    spent: dict[str, float] = field(default_factory=dict)  # processor seconds of the threads

    def count(self, face: bool) -> None:
        """One more picture."""
        if not face:
            joins = bool(self.lost) and self.lost[-1][1] == self.pictures
            first = self.lost.pop()[0] if joins else self.pictures
            self.lost.append((first, self.pictures + 1))
        self.pictures += 1

    @property
    def without(self) -> int:
        """Pictures without a face."""
        return sum(stop - start for start, stop in self.lost)


@dataclass(frozen=True)
class Job:
    """Everything a film is made from."""

    driver: Driver
    eyes: Eyes
    head: Head
    size: int  # pixels of a side of what the head draws
    driven_by: Literal["landmarks", "frames"]
    source: Source
    view: compose.View
    label: bool
    adapt: Adapt


def size(of: Driver, view: compose.View, pixels: int, source: Source) -> tuple[int, int]:
    """Width and height of the film of a head of `pixels`. InputError: `paste` without a driver's picture."""
    one = compose.enlarged(pixels)
    if view == "paste":
        if of.part is None:
            raise InputError(f"--view paste: {of.path} has landmarks only, and no picture to put the face into; "
                             "--view crop, side or still")
        return of.part.width, of.part.height
    if view == "still":
        height, width, _ = compose.even(source.still).shape
        return width, height
    return (2 * one, one) if view == "side" else (one, one)


def make(job: Job, out: Path, metadata: dict[str, str]) -> Report:
    """Writes the film. InputError: no face in any picture, or nothing can be read or written; then there is no film."""
    report, follow = Report(), face_tracking.Tracker(job.eyes.detect, job.eyes.predict, job.eyes.config)
    sound = job.driver.part if job.driver.sound else None
    with ExitStack() as stack:
        shape, seconds = size(job.driver, job.view, job.size, job.source), job.driver.count / RATE
        write = stack.enter_context(video_writer.film(out, shape, sound, metadata, seconds, job.eyes.config.limits))
        items = stack.enter_context(driving_video.items(job.driver, job.eyes, follow, job.adapt))
        seen = stack.enter_context(closing(ahead(items, DEPTH, report.spent, "landmarks")))
        drawn = stack.enter_context(closing(ahead(driven(seen, job), DEPTH, report.spent, "drawing")))
        try:
            for one in progress(drawn, job.driver.count, "reenact"):
                write(finished(job, one))
                report.count(one.points is not None)
        except RejectedItem as problem:
            raise InputError(f"{job.driver.path}: {problem}") from None
        report.looks, report.rivals = follow.looks, follow.rivals
        if not report.pictures:
            raise InputError(f"{job.driver.path}: no picture of it can be decoded there; --start names another place")
        if report.without == report.pictures:
            raise InputError(f"{job.driver.path}: no face in any of its {report.pictures} pictures, so it drives nothing")
    return report


def driven(items: Iterable[face_tracking.Seen], job: Job) -> Generator[compose.Drawn, None, None]:
    """Every picture drawn; without a face the last one is held, before the first face the source's own first pose."""
    stored = job.source.crops.shape[1]
    own = (job.source.points[0] + .5) * (job.size / stored) - .5
    pose = landmark_image.draw(own, job.size)
    face = job.source.crops[0] if job.driven_by == "frames" else None  # a method driven by frames shows a real one till then
    held = trained_head.draw(job.head, [pose])[0] if face is None else compose.resized(face, job.size)
    waiting = iter(items)
    while some := list(islice(waiting, BATCH)):
        points = [None if one.points is None or one.frame is None else crops.to_crop(one.points, one.frame, job.size)
                  for one in some]
        due = [pose_of(one, at, job) for one, at in zip(some, points) if at is not None]
        faces = iter(zip(trained_head.draw(job.head, due), due) if due else ())
        for one, at in zip(some, points):
            if at is not None:
                held, pose = next(faces)
            yield compose.Drawn(held, one.picture, one.frame, pose, at)


def pose_of(one: face_tracking.Seen, points: np.ndarray, job: Job) -> np.ndarray:
    """What the head is given, (size, size, 3) uint8: the landmark image, or the driver's crop.

    InputError: it has no picture.
    """
    if job.driven_by == "landmarks":
        return landmark_image.draw(points, job.size)
    if one.picture is None or one.frame is None:
        raise InputError(f"{job.driver.path}: this method is driven by pictures, and here are landmarks only; --method ft is "
                         "driven by landmarks")
    return crops.cut(one.picture, one.frame, job.size)


def finished(job: Job, drawn: compose.Drawn) -> np.ndarray:
    """The film's picture, (H, W, 3) uint8, with the label."""
    ways: dict[compose.View, Callable[[], np.ndarray]] = {
        "crop": lambda: compose.crop(drawn), "side": lambda: compose.side(drawn), "paste": lambda: compose.paste(drawn),
        "still": lambda: compose.even(compose.still(job.source.still, job.source.box, drawn))}
    picture = ways[job.view]()
    return compose.labelled(picture) if job.label else picture
