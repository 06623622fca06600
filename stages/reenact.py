"""Generates an mp4 of a person who agreed to it, from photos or a video and a driving video, marked as synthetic.

`make reenact SOURCE="a.jpg b.jpg" DRIVER=talk.mp4`, or `python -m stages.reenact a.jpg b.jpg --driver talk.mp4`. Not a stage of
DVC's. docs/reenact.md says what each option does.
"""

from __future__ import annotations

import argparse
import math
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.core import config, fingerprint, stage, takedown
from pipeline.core.errors import InputError
from stages import _cli

if TYPE_CHECKING:
    from eval.reenact import driving_video, geometry
    from eval.reenact.render_video import Job, Report
    from eval.reenact.source_frames import Eyes, Source
    from eval.reenact.trained_head import Model
    from model.api import Head

OUT = Path("reenact.mp4")
LONG = 600  # seconds of a driving video above which its cost is announced
QUESTION = ("This generates images of a person doing what the person never did. Have the people in the source and in the "
            "driving video agreed to it? [yes/no] ")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = _cli.parser(__doc__.split("\n")[0], "params")
    made.add_argument("source", nargs="*", type=Path, help="photos of one person, or one video")
    made.add_argument("--driver", nargs="+", type=Path, default=[], help="a video, or a folder of landmark arrays (.npy)")
    made.add_argument("--method", default="ft", help="ft learns the person by gradient steps; ff draws at once")
    made.add_argument("--shots", type=int, default=8, help="T, pictures of the source to learn from")
    made.add_argument("--steps", type=int, help="fine-tuning steps; as trained for if left out")
    made.add_argument("--out", type=Path, help=f"the mp4 to write ({OUT}); with --rank-drivers nothing is written without it")
    made.add_argument("--view", choices=("crop", "side", "paste", "still"), default="crop", help="the face alone, beside the "
                        "driver, in the driver's picture, or in the source's own")
    made.add_argument("--start", type=float, default=0.0, help="second of the driver to begin at")
    made.add_argument("--seconds", type=float, help="so much of the driver")
    made.add_argument("--face", type=int, help="index of the face, from the left, in photos with several")
    made.add_argument("--adapt-landmarks", action="store_true", help="the driver's pose and expression on the source's shape")
    made.add_argument("--rank-drivers", action="store_true", help="orders several drivers by CSIM; the best drives --out")
    made.add_argument("--no-label", action="store_true", help="no visible label; the mark in the metadata stays")
    made.add_argument("--i-have-consent", action="store_true", help="the people shown agreed; otherwise it is asked")
    made.add_argument("--inspect", type=Path, metavar="FILE", help="prints the mark of a film that was made here")
    made.add_argument("--model", type=Path, help="folder of a trained model (models/DATASET/METHOD)")
    return made


def main(words: Sequence[str] | None = None) -> None:
    """Generates the video, ranks driving videos, or reads a mark."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, lambda got, _: sys.exit(128 + got))  # so that a half-written file is removed
    given = parser().parse_args(words)
    params = config.load(given.params)
    folder = given.model or Path("models") / params.datasets[0] / given.method
    if given.inspect:
        show(given.inspect, config.dataset(given.params, params.datasets[0]))
        return
    try:
        make(given, params, folder)
    except KeyboardInterrupt:  # not what a stage says: nothing is kept to go on from
        print("\ninterrupted; no video was written", file=sys.stderr)
        raise SystemExit(130) from None


def make(given: argparse.Namespace, params: config.Params, folder: Path) -> None:
    """Asks for consent, opens model, source and driving videos, adapts, then ranks, generates or both."""
    check(given)
    consent(given.i_have_consent)
    places = (Path(), stage.ROOT, *(Path("data", dataset) for dataset in config.known_datasets(given.params)))
    listed = takedown.read(*(place / takedown.NAME for place in places))
    for path in (*given.source, *given.driver):
        refuse_listed(path, listed)
    from eval.reenact import driving_video, render_video, source_frames, trained_head

    model = trained_head.load(folder, given.steps, params.seed)
    eyes = opened(config.dataset(given.params, model.manifest["dataset"]))
    drivers = [driving_video.open_driver(path, given.start, given.seconds, eyes) for path in given.driver]
    who = source_frames.read(given.source, given.shots, given.face, eyes)
    for of in drivers:
        render_video.size(of, given.view, model.size, who)  # fails before the adaptation
    adapts = [adaptation(of, eyes, who) if given.adapt_landmarks else None for of in drivers]
    head = learnt(model, who, params.seed)
    jobs = [render_video.Job(of, eyes, head, model.size, model.method.driven_by, who, given.view, not given.no_label, adapt)
            for of, adapt in zip(drivers, adapts)]
    if given.rank_drivers:
        jobs = best_first(jobs)
    if given.out or not given.rank_drivers:
        film(given, jobs[0], model, given.out or OUT)


def check(given: argparse.Namespace) -> None:
    """InputError: arguments that do not go together."""
    if not given.source or not given.driver:
        raise InputError("a source and a driver are needed: `make reenact SOURCE=\"a.jpg b.jpg\" DRIVER=talk.mp4`, or "
                             "`python -m stages.reenact a.jpg b.jpg --driver talk.mp4`")
    if len(given.driver) > 1 and not given.rank_drivers:
        raise InputError(f"--driver: {len(given.driver)} are given; name one, or let --rank-drivers order them")
    seconds = (given.start, 1.0 if given.seconds is None else given.seconds)
    if given.shots < 1 or not all(map(math.isfinite, seconds)) or seconds[0] < 0 or seconds[1] <= 0:
        raise InputError("--shots is at least 1, --start at least 0, --seconds above 0")
    out = given.out or OUT
    if out.suffix.lower() != ".mp4" or out.is_dir():
        raise InputError(f"{out}: the film is an mp4; give --out a name that ends in .mp4")
    if not out.parent.is_dir():
        raise InputError(f"{out}: there is no folder {out.parent}; make it first")
    if out.exists() and any(path.exists() and out.samefile(path) for path in (*given.source, *given.driver)):
        raise InputError(f"{out}: source or driver themselves; give --out another name")


def consent(given: bool) -> None:
    """Asked once a run. InputError: not given, and nobody there to ask, or the answer is not yes."""
    if given:
        return
    if not sys.stdin.isatty():
        raise InputError("have the people in source and driver agreed? Pass --i-have-consent if so (make reenact "
                             "CONSENT=yes); nothing is made without it")
    try:
        answer = input(QUESTION)
    except EOFError:  # Ctrl-D
        answer = ""
    if answer.strip().lower() not in ("yes", "y"):
        raise InputError("without the consent of the people shown nothing is made")


def refuse_listed(path: Path, listed: frozenset[str]) -> None:
    """InputError where a file or folder is, by the last parts of its path, of a person or video on the take-down list.

    Of a link both paths count: files may be links into a store that has no names.
    """
    for one in (Path(os.path.abspath(path)), path.resolve()):
        parts = [*one.parts[-3:-1], one.stem]
        for first in range(len(parts)):
            person, *video = parts[first:]
            if takedown.covers(listed, person, "/".join(video)):
                raise InputError(f"{path}: {person} is on the take-down list ({takedown.NAME}) and must not be used")


def opened(given: config.DatasetParams) -> Eyes:
    """Detectors and crop as the data set of the model's training frames has them."""
    from eval.reenact.source_frames import Eyes
    from model.backbones import face_detection, landmark_detection
    from pipeline.frames import extract
    from pipeline.landmarks import landmark_image

    chosen = config.parse(extract.Config, given.data.frames, given.where("data.frames"))
    wanted = config.parse(landmark_image.Config, given.data.landmarks, given.where("data.landmarks")).detector
    landmarker = landmark_detection.landmarker(landmark_detection.choose(wanted))
    return Eyes(face_detection.Detector().detect, landmarker.predict, chosen)


def adaptation(of: driving_video.Driver, eyes: Eyes, who: Source) -> geometry.Adaptation:
    """The map from the driving face's shape, as in its first frames, to the source's."""
    import numpy as np

    from eval.reenact import driving_video, geometry

    adapt = geometry.Adaptation(who.points, np.array([one.points for one in driving_video.glance(of, eyes)]))
    print(f"{of.path}: adapted to the source's face shape by {adapt.size:.3f} of the eyes' distance (mean of 68 points)",
          flush=True)
    return adapt


def learnt(model: Model, who: Source, seed: int) -> Head:
    """The person's head, on one thread: two slow each other down on a shared machine."""
    import time

    import torch

    from eval.reenact import trained_head

    torch.set_num_threads(1)
    start, steps = time.monotonic(), 0

    def report(done: int, total: int) -> None:
        nonlocal steps
        steps = total
        if done % 10 == 0 or done == total:
            print(f"\rlearning the person: step {done}/{total}", end="\n" if done == total else "", file=sys.stderr, flush=True)

    head = trained_head.learn(model, who.crops, who.points, seed, report)
    trained = f", trained on {of}" if (of := model.manifest["trained_on"]) else ""
    print(f"{model.method.label} ({model.size} x {model.size} pixels{trained}): learnt from T = {len(who.crops)} "
          f"picture{'s' * (len(who.crops) > 1)} in {steps} steps, {time.monotonic() - start:.1f} s")
    return head


def best_first(jobs: list[Job]) -> list[Job]:
    """Prints the ranking."""
    from eval.reenact import rank_drivers
    from model.backbones import identity

    describe = identity.descriptor("dlib128")
    ranks = rank_drivers.ranked(jobs, describe)
    print(rank_drivers.table(ranks, "dlib128, in the place of the paper's ArcFace"))
    order = {one.path: n for n, one in enumerate(ranks)}
    return sorted(jobs, key=lambda job: order[job.driver.path])


def film(given: argparse.Namespace, job: Job, model: Model, out: Path) -> None:
    """Generates the video and prints a summary."""
    from eval.reenact import render_video, synthetic_mark
    from pipeline.media.video import RATE

    seconds = job.driver.count / RATE
    if seconds >= LONG and given.seconds is None:
        print(f"{job.driver.path}: {seconds / 3600:.1f} h of it are {job.driver.count:,} pictures, which at 10 to 25 a second "
              f"take {seconds / 3600:.1f} to {2.5 * seconds / 3600:.1f} h; --start and --seconds choose a part", flush=True)
    report = render_video.make(job, out, synthetic_mark.make(
        method=model.method.name, model=model.sha256, source=job.source.sha256, shots=len(job.source.crops),
        size=model.size, adapted=given.adapt_landmarks, view=given.view,
        version=fingerprint.digest(fingerprint.files("reenact"))[:16]))
    for line in told(report, job, given.view):
        print(line)
    size = render_video.size(job.driver, job.view, model.size, job.source)
    print(f"{out}: {report.pictures} pictures, {report.pictures / RATE:.2f} s, {size[0]}x{size[1]}, "
          f"{'with the sound of the driver' if job.driver.sound else 'silent (the driver has no sound)'}; marked as synthetic, "
          f"the face drawn at {model.size} pixels")


def told(report: Report, job: Job, view: str) -> list[str]:
    """Sentences about faults of the driving video."""
    from pipeline.media.video import RATE

    lines = []
    if report.pictures < job.driver.count - 1:
        lines.append(f"{job.driver.path}: breaks off after {report.pictures / RATE:.2f} of {job.driver.count / RATE:.2f} s")
    if report.lost:
        some = ", ".join(f"{a / RATE:.2f} to {b / RATE:.2f} s" for a, b in report.lost[:3])
        more = f" and {len(report.lost) - 3} more" if len(report.lost) > 3 else ""
        held = "the driver's picture is left as it is" if view == "paste" else "the last pose is held"
        lines.append(f"{job.driver.path}: no face in {report.without} of {report.pictures} pictures ({some}{more}): there "
                     f"{held}")
    if report.rivals:
        lines.append(f"{job.driver.path}: a second face of like size in {report.rivals} of {report.looks} looks; the one "
                     "followed is the larger of the first picture")
    return lines


def show(path: Path, given: config.DatasetParams) -> None:
    """Prints the mark of a file as JSON."""
    import json

    from eval.reenact import synthetic_mark
    from pipeline.frames import extract

    limits = config.parse(extract.Config, given.data.frames, given.where("data.frames")).limits
    print(json.dumps(synthetic_mark.inspect(path, limits), indent=1, sort_keys=True))


if __name__ == "__main__":
    _cli.run(main)
