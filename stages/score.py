"""Computes every metric over the hold-out and cross-reenactment frames of one method at one T."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from pipeline.core import config, stage
from stages import _cli


def parser() -> argparse.ArgumentParser:
    """The command line."""
    names = ("dataset", "method", "shots", "images", "frames", "landmarks", "split", "out", "params", "cache")
    return _cli.parser(__doc__, *names)


def main(words: Sequence[str] | None = None) -> None:
    """Writes per_frame.parquet, features.safetensors, metrics.json, cross_per_frame.parquet, cross.json and the manifest."""
    given = parser().parse_args(words)
    from eval.scoring import metric, protocol, score_cell
    from pipeline.driving_pairs import Config as Drivers

    params = config.load(given.params)
    chosen = config.parse(protocol.Config, params.score, f"{given.params}: score")
    paths = {name: getattr(given, name) for name in ("images", "frames", "landmarks", "split")}
    for name in chosen.metrics:
        metric.load(name)  # an unknown name is refused before any work
    with stage.run("score", out=given.out, inputs=paths, config=[params.score, params.seed]) as job:
        images = job.inputs["images"]
        drivers = config.parse(Drivers, images["cross"], f"{given.images}: cross") if "cross" in images else None
        bench = score_cell.Bench(protocol.Cell(**paths), chosen, drivers, given.cache, params.seed)
        facts = {"dataset": given.dataset, "method": given.method, "shots": given.shots,
                 "label": images.get("label", given.method), "driven_by": images.get("driven_by", "landmarks"),
                 "trained_on": images.get("trained_on", ""), "model": images.get("model", ""),
                 "size": protocol.Generated(given.images).size()}
        score_cell.measure(job, bench, facts, f"score {given.method} T={given.shots}")


if __name__ == "__main__":
    _cli.run(main)
