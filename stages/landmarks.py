"""frames -> landmarks: 68 points of every stored frame, and how far a renderer's own points lie from them."""

from __future__ import annotations

import argparse
import json
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline import config, engine, landmarks, points, run, shelf


@cache
def _landmarker(name: str) -> Any:
    import torch

    from model import faces

    torch.set_num_threads(1)  # the same bits whatever the number of processes
    return faces.landmarker(name)


def choose(detector: str) -> str:
    """The detector's name; auto = fan where its weights are, else dlib68."""
    if detector != "auto":
        return detector
    from model import backbones

    return "fan" if backbones.find("fan") else "dlib68"


def find(item: points.Item, frames: Path, name: str) -> shelf.Record:
    """One clip's points, and the hashes of the files they were found with."""
    landmarker = _landmarker(name)
    found = points.find(item, frames, landmarker.predict)
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
    name = choose(config.parse(landmarks.Config, data.landmarks, given.where("data.landmarks")).detector)
    where = config.parse(engine.Config, data.engine, given.where("data.engine"))
    inputs = {"videos": args.videos, "frames": args.frames}
    with run.stage("landmarks", out=args.out, inputs=inputs, config=name) as job:
        task = partial(find, frames=args.frames, name=name)
        files = partial(points.finish, frames=args.frames, videos=args.videos, size=job.inputs["frames"]["size"])
        plan = points.plan(pd.read_parquet(args.frames / "index.parquet", columns=["clip", "shard"]))
        folders = list(shelf.make(shelf.Work(task, points.lost, files), plan, job.shelf, where, f"landmarks {args.dataset}"))
        body = points.publish(job.out, folders)
        hashes = body.pop("sha256")
        if len(hashes) != 1:
            raise config.Refused(f"two detectors found points of one data set (did the weights of {name} change between two "
                                 f"runs?); remove {job.shelf} and run again")
        print(f"landmarks: {body}")
        job.publish("landmarks", body | {"detector": {"name": name, "sha256": json.loads(hashes[0])}})


if __name__ == "__main__":
    run.main(main)
