"""Scores one cell of Table 1: every metric over the hold-out frames of one method at one T."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from eval import metric, protocol, stored
from pipeline import config, engine, run, store


def main() -> None:
    """Writes per_frame.parquet, features.safetensors, metrics.json and the manifest."""
    arguments = argparse.ArgumentParser(description=__doc__)
    for name in ("dataset", "method"):
        arguments.add_argument(f"--{name}", required=True)
    arguments.add_argument("--shots", type=int, required=True, help="T, frames the method saw of each person")
    for name in ("images", "frames", "landmarks", "split", "out"):
        arguments.add_argument(f"--{name}", type=Path, required=True)
    arguments.add_argument("--params", type=Path, default=Path("params.yaml"))
    arguments.add_argument("--cache", type=Path, default=run.ROOT / "work" / "descriptors", help="may be removed at any time")
    given = arguments.parse_args()
    params = config.load(given.params)
    chosen = config.parse(protocol.Config, params.score, f"{given.params}: score")
    paths = {name: getattr(given, name) for name in ("images", "frames", "landmarks", "split")}
    for name in chosen.metrics:
        metric.load(name)  # an unknown name is refused before any work
    with run.stage("score", out=given.out, inputs=paths, config=[params.score, params.seed]) as job:
        cell = protocol.Cell(**paths)
        people = protocol.people(cell)
        one = partial(protocol.score, cell=cell, config=chosen, cache=given.cache)
        done = engine.map(one, people, chosen.workers)
        scored = list(run.progress(done, len(people), f"score {given.method} T={given.shots}"))
        save(job, scored, chosen, params.seed, given)


def save(job: run.Job, scored: list[protocol.Scored], chosen: protocol.Config, seed: int, given: argparse.Namespace) -> None:
    """The outputs of the stage."""
    frames = stored.gather(scored)
    order = [name for name in chosen.metrics if name in frames.columns or name in frames.features]
    recipe = stored.Recipe(order, chosen.level, chosen.resamples, chosen.set_resamples, seed)
    stored.write(job.out, frames)
    summary = protocol.summary(frames, recipe, given.cache)
    store.write_json(job.out / "metrics.json", summary)
    images = job.inputs["images"]
    body = {"dataset": given.dataset, "method": given.method, "shots": given.shots, "seed": seed,
            "label": images.get("label", given.method), "driven_by": images.get("driven_by", "landmarks"),
            "trained_on": images.get("trained_on", ""), "size": protocol.Generated(given.images).size(),
            "people": len(scored), "frames": sum(len(s.rows) for s in scored),
            "metrics": scored[0].facts, "order": order,
            "not_measured": scored[0].missing, "level": chosen.level,
            "resamples": {"means": chosen.resamples, "sets": chosen.set_resamples},
            "inputs": {name: store.sha256(getattr(given, name) / "manifest.json") for name in job.inputs}}
    job.publish("score", body)
    print(f"{given.out}: " + ", ".join(f"{name} {cell['value']}" for name, cell in summary.items()))


if __name__ == "__main__":
    run.main(main)
