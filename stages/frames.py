"""Extracts frames of every clip, cropped to the face, into shards with an index."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import cache, partial
from typing import TYPE_CHECKING

from pipeline.core import config, ledger, stage
from pipeline.parallel import executor
from stages import _cli

if TYPE_CHECKING:
    import numpy as np

    from pipeline.frames import extract


@cache
def _detector() -> extract.Detect:
    import torch

    from model.backbones import face_detection

    torch.set_num_threads(1)  # the same bits whatever the number of processes
    detect: extract.Detect = face_detection.Detector().detect
    return detect


def detect(images: np.ndarray) -> list[np.ndarray]:
    """The face detector, loaded once a process."""
    return _detector()(images)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    return _cli.parser(__doc__, "dataset", "params", "videos", "origin", "out")


def main(words: Sequence[str] | None = None) -> None:
    """Makes the frames folder of one data set."""
    args = parser().parse_args(words)
    import pandas as pd

    from model.backbones import registry
    from pipeline.frames import clips, crops, extract
    from pipeline.parallel import sharded_map

    given = config.dataset(args.params, args.dataset)
    data = given.data
    settings = config.parse(extract.Config, data.frames, given.where("data.frames"))
    where = config.parse(executor.Config, data.engine, given.where("data.engine"))
    with stage.run("frames", out=args.out, inputs={"videos": args.videos}, config=data.frames) as job:
        table = pd.read_parquet(args.videos / "ledger.parquet")
        usable = table[table["status"] == "ok"].sort_values(["person", "video"])
        videos = job.inputs["videos"]
        shelves = clips.shelves(args.videos, args.origin, videos.get("archives", {}))
        work = sharded_map.Work(partial(extract.pack, clips=shelves, config=settings, detect=detect), extract.lost,
                                extract.finish)
        plan = sharded_map.cut(usable[["person", "video", "path", "boxes"]], settings.per_shard)
        made = extract.publish(job.out, list(sharded_map.make(work, plan, job.shelf, where, f"frames {args.dataset}")))
        made = ledger.complete(job.out / "ledger.parquet", made, table)
        ledger.report(made)
        tested = {"test_people": videos["test_people"]} if "test_people" in videos else {}
        facts = {"size": settings.size, "crop": crops.describe(crops.preset(settings.crop)), "status": ledger.summary(made)}
        job.publish("frames", tested | facts | {
            "detector": registry.hashes("mtcnn_pnet", "mtcnn_rnet", "mtcnn_onet")})


if __name__ == "__main__":
    _cli.run(main)
