"""The training loop: episodes fetched one ahead, scalars to a log, a checkpoint now and then, and going on from it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from pickle import UnpicklingError

import torch

from model.api import Episode, Method

Scalars = dict[str, float]
CHECKPOINT, PREVIOUS = "checkpoint.pt", "checkpoint.previous.pt"


def train(method: Method, episode: Callable[[int], Episode], steps: int, *, work: Path, log: Callable[[int, Scalars], None],
          log_every: int, save_every: int) -> None:
    """Takes `method` to `steps` updates, from the checkpoint in `work` where there is one.

    `episode(step)` must depend on nothing but the step; then an interrupted and resumed run ends with the bytes of an
    uninterrupted one (on a CPU, with the same number of threads). `log(step, scalars)` gets the means over each `log_every`
    updates; on resuming, what was logged before the checkpoint comes again, so `log` may start afresh.
    """
    history, recent, first = _resume(method, work)
    for step, scalars in history:
        log(step, scalars)
    started = time.monotonic()
    for step, batch in zip(range(first, steps), _ahead(episode, first, steps)):
        recent.append(method.learn(batch))
        if (step + 1) % log_every == 0 or step + 1 == steps:
            history.append((step + 1, _means(recent)))
            recent.clear()
            log(*history[-1])
            pace = (time.monotonic() - started) / (step + 1 - first)
            _tell(f"{method.name} step {step + 1}/{steps}", steps - step - 1, pace, len(batch.x_t), history[-1][1])
        if (step + 1) % save_every == 0 and step + 1 < steps:
            _save({"step": step + 1, "method": method.state(), "history": history, "recent": recent}, work)


def _ahead(episode: Callable[[int], Episode], first: int, steps: int) -> Iterator[Episode]:
    """episode(first), …: the next one is made while this one is learnt from."""
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(episode, first) if first < steps else None
        for step in range(first, steps):
            assert waiting is not None
            ready = waiting.result()
            waiting = pool.submit(episode, step + 1) if step + 1 < steps else None
            yield ready


def _save(content: dict[str, object], work: Path) -> None:
    """Whole or not at all; the one before is kept."""
    part = work / "checkpoint.part"
    torch.save(content, part)
    if (work / CHECKPOINT).exists():
        os.replace(work / CHECKPOINT, work / PREVIOUS)
    os.replace(part, work / CHECKPOINT)


def _resume(method: Method, work: Path) -> tuple[list[tuple[int, Scalars]], list[Scalars], int]:
    """Loads the newest readable checkpoint into `method` -> what was logged, what was not yet, the next step."""
    for name in (CHECKPOINT, PREVIOUS):
        if not (work / name).exists():
            continue
        try:
            found = torch.load(work / name, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, EOFError, UnpicklingError) as error:
            print(f"{work / name} cannot be read ({type(error).__name__}); trying the one before", file=sys.stderr)
            continue
        method.load_state(found["method"])
        print(f"going on after step {found['step']}", file=sys.stderr)
        return list(found["history"]), list(found["recent"]), found["step"]
    return [], [], 0


def _means(rows: list[Scalars]) -> Scalars:
    """The mean of each scalar over the updates that gave it."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: sum(values) / len(values) for name in names if (values := [row[name] for row in rows if name in row])}


def _tell(where: str, left: int, seconds: float, images: int, scalars: Scalars) -> None:
    values = ", ".join(f"{name} {value:.3g}" for name, value in scalars.items())
    pace = f"{seconds:.3f} s a step, {images / seconds:.1f} images/s, ETA {left * seconds:.0f} s"
    print(f"{where}, {pace}: {values}", file=sys.stderr, flush=True)
