"""Scores real frames in the place of generated ones: others of the same person, and of another person. No method is run."""

from __future__ import annotations

import argparse
from pathlib import Path

from eval.scoring import metric, protocol, real_frames
from pipeline.core import config, stage
from pipeline.driving_pairs import Config as Drivers
from stages import score


def main() -> None:
    """Writes what the stage `score` writes, into OUT/same/metrics and OUT/other/metrics."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--dataset", required=True)
    for name in ("frames", "landmarks", "split", "out"):
        arguments.add_argument(f"--{name}", type=Path, required=True)
    arguments.add_argument("--params", type=Path, default=Path("params.yaml"))
    arguments.add_argument("--cache", type=Path, default=stage.ROOT / "work" / "descriptors", help="may be removed at any time")
    given = arguments.parse_args()
    params = config.load(given.params)
    chosen = config.parse(protocol.Config, params.score, f"{given.params}: score")
    drivers = config.parse(Drivers, params.cross, f"{given.params}: cross")
    paths = {name: getattr(given, name) for name in ("frames", "landmarks", "split")}
    for name in chosen.metrics:
        metric.load(name)  # an unknown name is refused before any work
    size = pixels(params.methods, config.dataset(given.params, given.dataset))
    for which, label in real_frames.LABELS.items():
        settings = [params.score, params.cross, params.seed, size]
        with stage.run("floors", out=given.out / which / "metrics", inputs=paths, config=settings) as job:
            cell = protocol.Cell(images=real_frames.Floor(which, size), **paths)
            facts = {"dataset": given.dataset, "method": label, "floor": which, "shots": None, "label": label, "driven_by": "",
                     "trained_on": "", "model": "", "size": size}
            score.measure(job, score.Bench(cell, chosen, drivers, given.cache, params.seed), facts, label)


def pixels(methods: list[str], dataset: config.DatasetParams) -> int:
    """The size that the methods draw at; the largest where they differ."""
    return max(int(config.pick(dataset.method(name), "size", dataset.where(f"learn.{name}"))) for name in methods)


if __name__ == "__main__":
    stage.main(main)
