"""frames -> landmarks: 68 points of every stored frame, and how far a renderer's own points lie from them."""

from __future__ import annotations

import argparse
import json
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.core import config, stage
from pipeline.core.errors import InputError
from pipeline.landmarks import detect_landmarks, landmark_image
from pipeline.parallel import executor, sharded_map


@cache
def _landmarker(name: str) -> Any:
    import torch

    from model.backbones import landmark_detection

    torch.set_num_threads(1)  # the same bits whatever the number of processes
    return landmark_detection.landmarker(name)


def choose(detector: str) -> str:
    """The detector's name; auto = fan where its weights are, else dlib68."""
    if detector != "auto":
        return detector
    from model.backbones import registry

    return "fan" if registry.find("fan") else "dlib68"


def find(item: detect_landmarks.Item, frames: Path, name: str) -> sharded_map.Record:
    """One clip's points, and the hashes of the files they were found with."""
    landmarker = _landmarker(name)
    found = detect_landmarks.find(item, frames, landmarker.predict)
    status = "no-face" if np.isnan(found["points"]).any((1, 2)).all() else "ok"
    return found | {"status": np.array(status), "sha256": np.array(json.dumps(landmarker.sha256, sort_keys=True))}


def main() -> None:
    """Makes the landmarks folder of one data set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--videos", type=Path, required=True)
    parser.add_argument("--frames", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    given = config.dataset(args.params, args.dataset)
    data = given.data
    name = choose(config.parse(landmark_image.Config, data.landmarks, given.where("data.landmarks")).detector)
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
    stage.main(main)
