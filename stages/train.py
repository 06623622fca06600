"""Meta-trains one method on the training videos of one data set."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import PositiveInt

from pipeline.core import config, stage
from pipeline.core.errors import InputError
from pipeline.core.progress import Bar
from stages import _cli

if TYPE_CHECKING:
    from model.api import Episode, Method
    from model.training.preview import Person
    from pipeline.episodes import Faces


class Config(config.Strict):
    """The section `train` of params.yaml: how training runs; it does not affect the result, and DVC does not track it."""

    processes: PositiveInt  # that share each batch, one per GPU
    readers: PositiveInt  # threads of each process that make episodes ahead
    preview: float  # minutes between two previews in the work folder


def parser() -> argparse.ArgumentParser:
    """The command line."""
    return _cli.parser(__doc__, "dataset", "method", "frames", "landmarks", "split", "out", "params")


def main(words: Sequence[str] | None = None) -> None:
    """Writes weights.safetensors, log/ and the manifest."""
    given = parser().parse_args(words)
    params = config.load(given.params)
    how = config.parse(Config, params.train, f"{given.params}: train")
    paths = {name: getattr(given, name) for name in ("frames", "landmarks", "split")}
    from model.api import DataInfo, load
    from model.training import distributed

    dataset = config.dataset(given.params, given.dataset)
    where = dataset.where(f"learn.{given.method}")
    kind = load(given.method)
    section = dataset.method(given.method)
    chosen: Any = config.parse(kind.Config, section, where)
    processes = how.processes if chosen.steps and kind.shares_batches else 1
    if processes > 1 and "WORLD_SIZE" not in os.environ:
        spread(processes, sys.argv[1:] if words is None else words)
        return
    run: dict[str, Any] = {"out": given.out, "inputs": paths, "config": [section, params.seed], "method": given.method}
    with together(), (stage.run if distributed.first() else stage.beside)("train", **run) as job:
        from pipeline.episodes import Faces

        faces = Faces(**paths, size=chosen.size)
        flip = getattr(chosen, "augment", {}).get("flip", False)
        facts = DataInfo(size=chosen.size, num_videos=faces.num_videos * (2 if flip else 1))
        method = kind(chosen, facts, params.seed)
        before = method.prepare()
        learn(method, chosen, how, faces, where, job, given.dataset)
        if not distributed.first():
            return
        save(method, job.out / "weights.safetensors")
        seen = f"{given.dataset}: {faces.num_videos} videos, {chosen.steps * chosen.batch:,} targets" if chosen.steps else ""
        job.publish("model", {"dataset": given.dataset, "method": given.method, "label": method.label, "seed": params.seed,
                              "driven_by": kind.driven_by, "trained_on": ", then ".join(filter(None, (before, seen))),
                              "facts": asdict(facts), "steps": chosen.steps, "parameters": method.parameters(),
                              "backbones": method.backbones(), "config": section})


def spread(processes: int, words: Sequence[str]) -> None:
    """Runs this stage in several processes by torchrun's agent; ends as the first one that fails, or as signalled.

    words: its command line.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    stage.die_with_parent(os.getppid())
    logging.disable()  # the failed process has printed its error
    chosen = LaunchConfig(min_nodes=1, max_nodes=1, nproc_per_node=processes, rdzv_backend="c10d", max_restarts=0,
                          rdzv_endpoint="127.0.0.1:0", local_addr="127.0.0.1")
    try:
        elastic_launch(chosen, sys.executable)("-m", "stages.train", *words)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode < 0:
            raise InputError(f"process {rank} of {processes} was killed by signal {-failure.exitcode}; run again to go on "
                                 "from the last checkpoint") from None
        raise SystemExit(failure.exitcode) from None
    except SignalException as error:
        raise SystemExit(128 + error.sigval) from None


@contextmanager
def together() -> Iterator[None]:
    """Within, this process is one of torchrun's, where that has started it."""
    from model.training import distributed

    distributed.start()
    try:
        yield
    finally:
        distributed.stop()


def learn(method: Method, chosen: Any, how: Config, faces: Faces, where: str, job: stage.Job, dataset: str) -> None:
    """Runs all updates, resuming from job.work; logs to job.out/log and writes job.out/preview.png."""
    import torch

    from model.training import distributed, loop, preview, step_progress
    from model.training.curves import curves

    people = look_at(faces, chosen.K)
    with curves(job.out / "log") as live:
        if chosen.steps:
            torch.set_num_threads(chosen.threads)
            step_progress.say(f"train {dataset} {method.name}: {chosen.steps} steps, {method.facts.num_videos} videos")
            read, who = reader(faces, chosen, method.seed, where)
            loop.train(method, read, chosen.steps, work=job.work, log=live.log, log_every=chosen.log_every,
                       save_every=chosen.save_every, readers=how.readers, who=who, bar=Bar,
                       look=preview.Look(method, people, job.work / "preview", how.preview))
        live.log(chosen.steps, {"images": float(chosen.steps * chosen.batch)})
    if distributed.first():
        preview.write(job.out / "preview.png", method, people)


def reader(faces: Faces, chosen: Any, seed: int, where: str) -> tuple[Callable[[int], Episode], Callable[[int], str]]:
    """step -> Episode, this process's share, by the augmentation of the method's section; and step -> who is in the batch."""
    import torch

    from model.api import Episode
    from model.training import distributed
    from pipeline.core.errors import InputError
    from pipeline.episodes import Augment, episode, videos

    given: dict[str, Any] = {"K": chosen.K, "seed": seed,
                             "augment": config.parse(Augment, chosen.augment, f"{where}.augment")}

    def read(step: int) -> Episode:
        try:
            arrays = episode(faces, step, slots=distributed.share(chosen.batch), **given)
        except InputError as error:  # the loop stops all processes by it
            raise InputError(str(error)) from None
        return Episode(**{name: torch.from_numpy(array) for name, array in arrays.items()})

    return read, lambda step: ", ".join(videos(faces, step, slots=range(chosen.batch), **given))


def look_at(faces: Faces, K: int) -> list[Person]:
    """Two people of the training and two of the test, K sources and another frame of each."""
    import numpy as np
    import torch

    from model.training.preview import Person

    def person(name: str, sources: Any, row: int) -> Person:
        x, y = (torch.from_numpy(read([*sources, row])) for read in (faces.images, faces.poses))
        return Person(name, x[:-1], y[:-1], x[-1], y[-1])

    usable = np.flatnonzero(faces.counts > K)
    rows = {faces.videos[i]: faces.train_rows(i) for i in usable[[0, -1][:len(usable)]]}
    trained = [person(f"{name}, trained on", found[np.linspace(0, len(found) - 2, K).astype(int)], found[-1])
               for name, found in rows.items()]
    return trained + [person(f"{subject.person}, never seen", subject.sources[:K], subject.holdout[0])
                      for subject in faces.subjects[:2]]


def save(method: Method, path: Path) -> None:
    """Writes the weights that `adapt` needs, as safetensors."""
    from safetensors.torch import save_file

    save_file({name: value.detach().cpu().contiguous() for name, value in method.weights().items()}, path)


if __name__ == "__main__":
    _cli.run(main)
