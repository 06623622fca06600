"""frames -> landmarks: 68 points of every stored frame, and how far a renderer's own points lie from them."""

from __future__ import annotations

import argparse
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline import config, landmarks, points, run, shelf, store


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


def predict(image: np.ndarray, box: np.ndarray, name: str) -> np.ndarray | None:
    """One image's points by the named detector, loaded once a process."""
    found: np.ndarray | None = _landmarker(name).predict(image, box)
    return found


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
    detector = {"name": name, "sha256": _landmarker(name).sha256}
    inputs = {"videos": args.videos, "frames": args.frames}
    with run.stage("landmarks", out=args.out, inputs=inputs, config=detector) as job:
        index = pd.read_parquet(args.frames / "index.parquet")
        find = partial(points.find, frames=args.frames, predict=partial(predict, name=name))
        records = shelf.each(find, points.clips(index), job.work, data.workers, f"landmarks {args.dataset}")
        made = points.publish(job.out, index, records)
        error = points.error(made, points.oracle(index, args.videos, job.inputs["frames"]["size"]))
        body = points.found(made) | {"oracle_nme": error}
        store.write_json(job.out / "metrics.json", body)
        print(f"landmarks: {body}")
        job.publish("landmarks", body | {"detector": detector})


if __name__ == "__main__":
    run.main(main)
