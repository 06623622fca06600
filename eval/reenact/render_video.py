"""Renders the output video: decoding, landmarks, generation and encoding each in their own process or thread."""

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

BATCH = 4  # frames generated at a time
DEPTH = 8  # frames queued between two threads


@dataclass
class Report:
    """Statistics of one rendered video."""

    pictures: int = 0  # frames written
    lost: list[tuple[int, int]] = field(default_factory=list)  # stretches without a face: first frame, last + 1
    looks: int = 0  # detections
    rivals: int = 0  # detections with a second face of similar size
    spent: dict[str, float] = field(default_factory=dict)  # processor seconds of the threads

    def count(self, face: bool) -> None:
        """Adds one frame; face: whether it shows one."""
        if not face:
            joins = bool(self.lost) and self.lost[-1][1] == self.pictures
            first = self.lost.pop()[0] if joins else self.pictures
            self.lost.append((first, self.pictures + 1))
        self.pictures += 1

    @property
    def without(self) -> int:
        """Number of frames without a face."""
        return sum(stop - start for start, stop in self.lost)


@dataclass(frozen=True)
class Job:
    """All inputs of one output video."""

    driver: Driver
    eyes: Eyes
    head: Head
    size: int  # height and width of the generated frames, pixels
    driven_by: Literal["landmarks", "frames"]
    source: Source
    view: compose.View
    label: bool
    adapt: Adapt


def size(of: Driver, view: compose.View, pixels: int, source: Source) -> tuple[int, int]:
    """Width and height of the output video for a head of `pixels`. InputError: `paste` without driving frames."""
    one = compose.enlarged(pixels)
    if view == "paste":
        if of.part is None:
            raise InputError(f"--view paste: {of.path} has landmarks only and no frames to paste the face into; use --view "
                             "crop, side or still")
        return of.part.width, of.part.height
    if view == "still":
        height, width, _ = compose.even(source.still).shape
        return width, height
    return (2 * one, one) if view == "side" else (one, one)


def make(job: Job, out: Path, metadata: dict[str, str]) -> Report:
    """Writes the output video. InputError: no face in any frame, or a file cannot be read or written; then no video is left."""
    report, follow = Report(), face_tracking.Tracker(job.eyes.detect, job.eyes.predict, job.eyes.config)
    audio = job.driver.part if job.driver.sound else None
    with ExitStack() as stack:
        shape, seconds = size(job.driver, job.view, job.size, job.source), job.driver.count / RATE
        write = stack.enter_context(video_writer.film(out, shape, audio, metadata, seconds, job.eyes.config.limits))
        items = stack.enter_context(driving_video.items(job.driver, job.eyes, follow, job.adapt))
        seen = stack.enter_context(closing(ahead(items, DEPTH, report.spent, "landmarks")))
        generated = stack.enter_context(closing(ahead(generate(seen, job), DEPTH, report.spent, "drawing")))
        try:
            for one in progress(generated, job.driver.count, "reenact"):
                write(finished(job, one))
                report.count(one.points is not None)
        except RejectedItem as problem:
            raise InputError(f"{job.driver.path}: {problem}") from None
        report.looks, report.rivals = follow.looks, follow.rivals
        if not report.pictures:
            raise InputError(f"{job.driver.path}: no frame can be decoded there; --start names another place")
        if report.without == report.pictures:
            raise InputError(f"{job.driver.path}: no face in any of its {report.pictures} frames; use another driving video")
    return report


def generate(items: Iterable[face_tracking.Seen], job: Job) -> Generator[compose.Drawn, None, None]:
    """A generated frame for each driving frame; without a face the last one, before the first face the source's own pose."""
    stored = job.source.crops.shape[1]
    own = (job.source.points[0] + .5) * (job.size / stored) - .5
    pose = landmark_image.draw(own, job.size)
    face = job.source.crops[0] if job.driven_by == "frames" else None  # a method driven by frames shows a real one until then
    held = trained_head.generate(job.head, [pose])[0] if face is None else compose.resized(face, job.size)
    waiting = iter(items)
    while some := list(islice(waiting, BATCH)):
        points = [None if one.points is None or one.frame is None else crops.to_crop(one.points, one.frame, job.size)
                  for one in some]
        due = [pose_of(one, at, job) for one, at in zip(some, points) if at is not None]
        faces = iter(zip(trained_head.generate(job.head, due), due) if due else ())
        for one, at in zip(some, points):
            if at is not None:
                held, pose = next(faces)
            yield compose.Drawn(held, one.image, one.frame, pose, at)


def pose_of(one: face_tracking.Seen, points: np.ndarray, job: Job) -> np.ndarray:
    """The head's input, (size, size, 3) uint8: the landmark image, or the driving crop.

    InputError: the method needs driving frames and there are landmarks only.
    """
    if job.driven_by == "landmarks":
        return landmark_image.draw(points, job.size)
    if one.image is None or one.frame is None:
        raise InputError(f"{job.driver.path}: this method is driven by frames, and here are landmarks only; --method ft is "
                         "driven by landmarks")
    return crops.cut(one.image, one.frame, job.size)


def finished(job: Job, made: compose.Drawn) -> np.ndarray:
    """The frame of the output video, (H, W, 3) uint8, with the label if wanted."""
    views: dict[compose.View, Callable[[], np.ndarray]] = {
        "crop": lambda: compose.crop(made), "side": lambda: compose.side(made), "paste": lambda: compose.paste(made),
        "still": lambda: compose.even(compose.still(job.source.still, job.source.box, made))}
    image = views[job.view]()
    return compose.labelled(image) if job.label else image
