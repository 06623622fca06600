"""Adapts a method to every test person from T frames and generates their hold-out and cross-reenactment frames."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from pipeline.core import config, fileio, stage, takedown
from pipeline.core.errors import InputError
from pipeline.core.progress import progress
from pipeline.parallel import executor
from stages import _cli


class Config(config.Strict):
    """The section `adapt` of params.yaml."""

    engine: executor.Config  # a task per person, on one thread: two processes do more work than one process with two threads


def parser() -> argparse.ArgumentParser:
    """The command line."""
    return _cli.parser(__doc__, "dataset", "method", "shots", "frames", "landmarks", "split", "model", "out", "params")


def main(words: Sequence[str] | None = None) -> None:
    """Writes the generated frames in shards, index.parquet, cross.parquet and the manifest."""
    given = parser().parse_args(words)
    from eval import generation
    from pipeline import driving_pairs

    params = config.load(given.params)
    chosen = config.parse(Config, params.adapt, f"{given.params}: adapt")
    drivers = config.parse(driving_pairs.Config, params.cross, f"{given.params}: cross")
    dataset = config.dataset(given.params, given.dataset)
    paths = {name: getattr(given, name) for name in ("frames", "landmarks", "split", "model")}
    # It decides who is left, and the pairs of cross-reenactment.
    listed = sorted(takedown.read(Path(takedown.NAME), given.frames.parent / takedown.NAME))
    settings = [given.shots, params.seed, params.cross, listed]
    with stage.run("adapt", out=given.out, inputs=paths, config=settings, method=given.method) as job:
        cell = generation.Cell(**paths, shots=given.shots, seed=params.seed, drivers=drivers, work=job.work)
        method, faces = generation.opened(cell)
        if short := [s.person for s in faces.subjects if len(s.sources) < given.shots]:
            raise InputError(f"shots: {given.shots} are asked for, {short[0]} has fewer source frames; lower `shots`, or "
                             f"raise the frames per video ({dataset.where('data.frames')})")
        people = list(range(len(faces.subjects)))
        engine = chosen.engine if method.fine_tunes else executor.local(1)
        drawn = executor.map(partial(generation.person, cell=cell), people, engine)
        files = list(progress(drawn, len(people), f"adapt {given.method} T={given.shots}"))
        generation.pack(files, job.out)
        job.publish("images", {"dataset": given.dataset, "method": given.method, "label": method.label, "shots": given.shots,
                               "driven_by": method.driven_by, "trained_on": job.inputs["model"].get("trained_on", ""),
                               "model": fileio.sha256(given.model / "manifest.json"),
                               "size": faces.size, "people": len(people), "seed": params.seed, "cross": params.cross})


if __name__ == "__main__":
    _cli.run(main)
