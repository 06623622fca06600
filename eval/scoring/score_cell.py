"""Every metric over all people of one cell of Table 1, and the outputs of the stages `score` and `floors`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from eval.scoring import cell_summary, cross_reenactment, per_frame, protocol
from pipeline.core import fileio, stage
from pipeline.core.progress import progress
from pipeline.driving_pairs import Config as Drivers
from pipeline.parallel import executor


class Bench(NamedTuple):
    """What is scored and how."""

    cell: protocol.Cell
    config: protocol.Config
    drivers: Drivers | None  # None: nothing was driven by others
    cache: Path
    seed: int


def measure(job: stage.Job, bench: Bench, facts: dict[str, Any], what: str) -> None:
    """All people, one after the other or side by side, and the outputs of the stage; `facts` go into the manifest."""
    people = protocol.people(bench.cell)
    if bench.drivers:
        cross_reenactment.people(bench.cell, bench.drivers)
    done = executor.map(partial(person, bench=bench), people, executor.local(bench.config.workers))
    both = list(progress(done, len(people), what))
    save(job, bench, [scored for scored, _ in both], [driven for _, driven in both if driven], facts)


def person(name: str, bench: Bench) -> tuple[per_frame.Scored, cross_reenactment.Driven | None]:
    """One person's own frames and those driven by others."""
    given: dict[str, Any] = {"cell": bench.cell, "cache": bench.cache}
    driven = cross_reenactment.score(name, names=bench.config.metrics, drivers=bench.drivers,
                                     **given) if bench.drivers else None
    return protocol.score(name, config=bench.config, **given), driven


def save(job: stage.Job, bench: Bench, scored: list[per_frame.Scored], driven: list[cross_reenactment.Driven],
         facts: dict[str, Any]) -> None:
    """The outputs of the stage."""
    frames, chosen = per_frame.gather(scored), bench.config
    per_frame.write(job.out, frames)
    body = {**facts, "seed": bench.seed, "code": job.code, "people": len(frames.lengths()), "frames": len(frames.row),
            "metrics": scored[0].facts, "not_measured": scored[0].missing, "level": chosen.level,
            "order": [name for name in chosen.metrics if name in frames.columns or name in frames.features],
            "resamples": {"means": chosen.resamples, "sets": chosen.set_resamples},
            "utterances": job.inputs["split"].get("utterances"),
            "inputs": {name: fileio.sha256(getattr(bench.cell, name) / "manifest.json") for name in job.inputs}}
    summary = cell_summary.summary(frames, per_frame.Recipe.of(body), bench.cache)
    fileio.write_json(job.out / "metrics.json", summary)
    if driven and bench.drivers:
        body["cross"] = cross_reenactment.about(driven, bench.drivers, chosen.metrics)
        cross_reenactment.write(job.out, *cross_reenactment.gather(driven))
        fileio.write_json(job.out / cross_reenactment.SUMMARY, cross_reenactment.summary(job.out, body))
    job.publish("score", body)
    print(f"{job.final}: " + ", ".join(f"{name} {cell['value']}" for name, cell in summary.items()))
