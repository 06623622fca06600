"""Meta-learns one method on the training videos of one data set."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import config, run

if TYPE_CHECKING:
    from model.api import Episode, Method
    from pipeline.episodes import Faces


def main() -> None:
    """Writes weights.safetensors, log/ and the manifest."""
    arguments = argparse.ArgumentParser(description=__doc__)
    for name in ("dataset", "method"):
        arguments.add_argument(f"--{name}", required=True)
    for name in ("frames", "landmarks", "split", "out"):
        arguments.add_argument(f"--{name}", type=Path, required=True)
    arguments.add_argument("--params", type=Path, default=Path("params.yaml"))
    given = arguments.parse_args()
    params = config.load(given.params)
    paths = {name: getattr(given, name) for name in ("frames", "landmarks", "split")}
    from model.api import Facts, load

    where = f"learn.{given.dataset}.{given.method}"
    kind = load(given.method)
    section = config.pick(config.pick(params.learn, given.dataset, "learn"), given.method, f"learn.{given.dataset}")
    chosen: Any = config.parse(kind.Config, section, where)
    with run.stage("train", out=given.out, inputs=paths, config=[section, params.seed]) as job:
        from pipeline.episodes import Faces

        faces = Faces(**paths, size=chosen.size)
        flip = getattr(chosen, "augment", {}).get("flip", False)
        facts = Facts(size=chosen.size, num_videos=faces.num_videos * (2 if flip else 1))
        method = kind(chosen, facts, params.seed)
        before = method.prepare()
        learn(method, chosen, faces, where, job, given.dataset)
        save(method, job.out / "weights.safetensors")
        seen = f"{given.dataset}: {faces.num_videos} videos, {chosen.steps * chosen.batch:,} targets" if chosen.steps else ""
        job.publish("model", {"dataset": given.dataset, "method": given.method, "label": method.label, "seed": params.seed,
                              "driven_by": kind.driven_by, "trained_on": ", then ".join(filter(None, (before, seen))),
                              "facts": asdict(facts), "steps": chosen.steps, "parameters": method.parameters(),
                              "backbones": method.backbones(), "config": section})


def learn(method: Method, chosen: Any, faces: Faces, where: str, job: run.Job, dataset: str) -> None:
    """All updates, logged to job.out/log; goes on from job.work. No clock enters the log: the same run gives the same bytes."""
    import torch
    from dvclive import Live

    from model import loop

    with Live(str(job.out / "log"), save_dvc_exp=False, dvcyaml=None, report=None, monitor_system=False) as live:
        def log(step: int, scalars: dict[str, float]) -> None:
            live.step = step
            for name, value in scalars.items():
                live.log_metric(name, value)

        if chosen.steps:
            torch.set_num_threads(chosen.threads)
            print(f"train {dataset} {method.name}: {chosen.steps} steps, {method.facts.num_videos} videos", flush=True)
            loop.train(method, reader(faces, chosen, method.seed, where), chosen.steps, work=job.work, log=log,
                       log_every=chosen.log_every, save_every=chosen.save_every)
        log(chosen.steps, {"images": float(chosen.steps * chosen.batch)})


def reader(faces: Faces, chosen: Any, seed: int, where: str) -> Callable[[int], Episode]:
    """step -> Episode, by the augmentation of the method's section."""
    import torch

    from model.api import Episode
    from pipeline.episodes import Augment, episode

    augment = config.parse(Augment, chosen.augment, f"{where}.augment")

    def read(step: int) -> Episode:
        arrays = episode(faces, step, batch=chosen.batch, K=chosen.K, seed=seed, augment=augment)
        return Episode(**{name: torch.from_numpy(array) for name, array in arrays.items()})

    return read


def save(method: Method, path: Path) -> None:
    """What `adapt` needs, as safetensors."""
    from safetensors.torch import save_file

    save_file({name: value.detach().cpu().contiguous() for name, value in method.weights().items()}, path)


if __name__ == "__main__":
    run.main(main)
