"""Ranks driving videos as the paper chose them: by CSIM between the person's own images and the frames they generate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from eval.reenact import driving_video, face_tracking, trained_head
from eval.reenact.render_video import Job, pose_of
from pipeline.frames import crops

if TYPE_CHECKING:
    from model.backbones.identity import Dlib128, FacenetVGGFace2


@dataclass(frozen=True)
class Rank:
    """One driving video."""

    path: Path
    csim: float  # mean over its frames
    pictures: int  # number of frames


def ranked(jobs: Sequence[Job], describe: Dlib128 | FacenetVGGFace2) -> list[Rank]:
    """The driving videos of these jobs, which differ in nothing else, best first."""
    source = jobs[0].source
    own = np.mean([unit(describe(crop, points)) for crop, points in zip(source.crops, source.points)], axis=0)  # (d,)
    return sorted((rank(job, own, describe) for job in jobs), key=lambda one: -one.csim)


def rank(job: Job, own: np.ndarray, describe: Dlib128 | FacenetVGGFace2) -> Rank:
    """CSIM = mean of <e(x̂), e(x)> over the generated frames x̂ and the person's own images x, |e| = 1.

    x̂ is aligned by its driving landmarks, as the benchmark's CSIM aligns by the target's.
    """
    seen = driving_video.glance(job.driver, job.eyes)
    adapted = face_tracking.seen((one.image, driving_video.adapted(one.points, job.adapt)) for one in seen)
    posed = [(one, crops.to_crop(one.points, one.frame, job.size))
             for one in face_tracking.still(adapted, crops.stored(job.eyes.config.crop))
             if one.points is not None and one.frame]
    generated = trained_head.generate(job.head, [pose_of(one, points, job) for one, points in posed])
    values = [float(unit(describe(x_hat, points)) @ own) for x_hat, (_, points) in zip(generated, posed)]
    return Rank(job.driver.path, float(np.mean(values)), len(values))


def unit(vector: np.ndarray) -> np.ndarray:
    """The descriptor normalised to length 1."""
    return np.asarray(vector / np.linalg.norm(vector), np.float64)


def table(ranks: Sequence[Rank], network: str) -> str:
    """The ranking as printed text."""
    width = max(len("driving video"), *(len(str(one.path)) for one in ranks))
    rows = [f"{n}  {one.path!s:<{width}}  {one.csim:.4f}  {one.pictures}" for n, one in enumerate(ranks, 1)]
    return "\n".join([f"#  {'driving video':<{width}}  CSIM ({network})  frames", *rows])
