"""Detects 68 landmarks in every stored frame; rendered data also get the error against the true points."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core import config, stage
from pipeline.core.errors import InputError
from pipeline.parallel import executor
from stages import _cli

if TYPE_CHECKING:
    from pipeline.landmarks import detect_landmarks
    from pipeline.parallel import sharded_map


@cache
def _landmarker(name: str) -> Any:
    import torch

    from model.backbones import landmark_detection

    torch.set_num_threads(1)  # the same bits whatever the number of processes
    return landmark_detection.landmarker(name)


def find(item: detect_landmarks.Item, frames: Path, name: str) -> sharded_map.Record:
    """One clip's points, and the hashes of the files they were found with."""
    import numpy as np

    from pipeline.landmarks import detect_landmarks

    landmarker = _landmarker(name)
    found = detect_landmarks.find(item, frames, landmarker.predict)
    status = "no-face" if np.isnan(found["points"]).any((1, 2)).all() else "ok"
    return found | {"status": np.array(status), "sha256": np.array(json.dumps(landmarker.sha256, sort_keys=True))}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    return _cli.parser(__doc__, "dataset", "params", "videos", "frames", "out")


def main(words: Sequence[str] | None = None) -> None:
    """Makes the landmarks folder of one data set."""
    args = parser().parse_args(words)
    import pandas as pd

    from model.backbones import landmark_detection
    from pipeline.landmarks import detect_landmarks, landmark_image
    from pipeline.parallel import sharded_map

    given = config.dataset(args.params, args.dataset)
    data = given.data
    chosen = config.parse(landmark_image.Config, data.landmarks, given.where("data.landmarks"))
    name = landmark_detection.choose(chosen.detector)
    where = config.parse(executor.Config, data.engine, given.where("data.engine"))
    inputs = {"videos": args.videos, "frames": args.frames}
    with stage.run("landmarks", out=args.out, inputs=inputs, config=name) as job:
        task = partial(find, frames=args.frames, name=name)
        files = partial(detect_landmarks.finish, frames=args.frames, videos=args.videos, size=job.inputs["frames"]["size"])
        plan = detect_landmarks.plan(pd.read_parquet(args.frames / "index.parquet", columns=["clip", "shard"]))
        folders = list(sharded_map.make(sharded_map.Work(task, detect_landmarks.lost, files), plan, job.shelf, where,
                                        f"landmarks {args.dataset}"))
        body = detect_landmarks.publish(job.out, folders)
        hashes = body.pop("sha256")
        if len(hashes) != 1:
            raise InputError(f"two detectors found points of one data set (did the weights of {name} change between two "
                                 f"runs?); remove {job.shelf} and run again")
        print(f"landmarks: {body}")
        job.publish("landmarks", body | {"detector": {"name": name, "sha256": json.loads(hashes[0])}})


if __name__ == "__main__":
    _cli.run(main)
