"""Scores the reference rows: real frames of the same and of another person in place of generated ones."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from pipeline.core import config, stage
from stages import _cli


def parser() -> argparse.ArgumentParser:
    """The command line."""
    return _cli.parser(__doc__, "dataset", "frames", "landmarks", "split", "out", "params", "cache")


def main(words: Sequence[str] | None = None) -> None:
    """Writes what the stage `score` writes, into OUT/same/metrics and OUT/other/metrics."""
    given = parser().parse_args(words)
    from eval.scoring import metric, protocol, real_frames, score_cell
    from pipeline.driving_pairs import Config as Drivers

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
            score_cell.measure(job, score_cell.Bench(cell, chosen, drivers, given.cache, params.seed), facts, label)


def pixels(methods: list[str], dataset: config.DatasetParams) -> int:
    """Size of the generated frames, pixels; the largest if methods differ."""
    return max(int(config.pick(dataset.method(name), "size", dataset.where(f"learn.{name}"))) for name in methods)


if __name__ == "__main__":
    _cli.run(main)
