"""frames -> landmarks: 68 points of every stored frame, and how far a renderer's own points lie from them."""

from __future__ import annotations

import argparse
import json
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline import config, landmarks, points, run, shelf


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
    return found | {"sha256": np.array(json.dumps(landmarker.sha256, sort_keys=True))}


def main() -> None:
    """Makes the landmarks folder of one data set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--videos", type=Path, required=True)
    parser.add_argument("--frames", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    data = config.pick(config.load(args.params).data, args.dataset, "data")
    name = choose(config.parse(landmarks.Config, data.landmarks, f"data.{args.dataset}.landmarks").detector)
    inputs = {"videos": args.videos, "frames": args.frames}
    with run.stage("landmarks", out=args.out, inputs=inputs, config=name) as job:
        index = pd.read_parquet(args.frames / "index.parquet")
        task = partial(find, frames=args.frames, name=name)
        records = list(shelf.each(task, points.clips(index), job.work, data.workers, f"landmarks {args.dataset}"))
        hashes = {str(record["sha256"]) for record in records}
        if len(hashes) != 1:
            raise config.Refused(f"the weights of {name} changed between two runs; remove {job.work} and run again")
        made = points.publish(job.out, index, records)
        error = points.error(made, points.oracle(index, args.videos, job.inputs["frames"]["size"]))
        body = points.found(made) | {"oracle_nme": error}
        print(f"landmarks: {body}")
        job.publish("landmarks", body | {"detector": {"name": name, "sha256": json.loads(hashes.pop())}})


if __name__ == "__main__":
    run.main(main)
