"""Maps a pure function over items: in local processes, with Ray, or in SLURM jobs. Results come in the order of the items."""

from __future__ import annotations

import os
import pickle
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, Literal, Protocol, TypeVar

from pydantic import Field

from pipeline.config import Strict

Item = TypeVar("Item")
Result = TypeVar("Result")
THREADS, WORKER = "OMP_NUM_THREADS", "TALKING_HEADS_WORKER"
AHEAD = 4  # tasks a worker that may be begun before the first of them is done: a million results are never in memory at once


class Config(Strict):
    """`data.engine` of params/DATASET.yaml and `adapt.engine` of params.yaml: where the work is done, never what comes out."""

    kind: Literal["local", "ray", "slurm"]
    workers: int = Field(ge=1)  # tasks at a time
    slurm: dict[str, str | int]  # submitit's parameters of the executor (slurm_partition, timeout_min, …); {} elsewhere


class Pool(Protocol):
    """Workers of one kind, in pipeline/engines/KIND.py."""

    def __init__(self, function: Callable[[Any], Any], config: Config, lives: int) -> None:
        """Starts nothing yet that could not be stopped."""

    def give(self, number: int, item: Any) -> None:
        """Begins a task."""

    def take(self) -> list[tuple[int, tuple[bool, Any]]]:
        """Waits until a task has ended: its number, and what `caught` returned. RuntimeError: its workers died too often."""

    def stop(self) -> None:
        """Ends all tasks."""


def local(workers: int) -> Config:
    """So many processes of this machine."""
    return Config(kind="local", workers=workers, slurm={})


def map(function: Callable[[Item], Result], items: Iterable[Item], config: Config,
        lives: int = 3) -> Generator[Result, None, None]:
    """Yields function(item) in the order of `items`, whatever the engine and the number of workers.

    `function` must be importable (top level, or functools.partial of one). An exception of one item ends the map: a function
    whose items may fail returns the failure as a record. A worker that dies (killed, out of memory) is replaced and its item
    begun anew; the RuntimeError comes when `lives` workers have died at one item. A single local worker is this process.
    """
    if config.kind == "local" and config.workers == 1:
        yield from (function(item) for item in items)
        return
    from pipeline.engines import local, ray, slurm

    pools: dict[str, type[Pool]] = {"local": local.Pool, "ray": ray.Pool, "slurm": slurm.Pool}
    pool = pools[config.kind](function, config, lives)
    waiting, results, flying, due = enumerate(items), dict[int, Any](), 0, 0
    try:
        while True:
            room = min(config.workers - flying, AHEAD * config.workers - flying - len(results))
            for number, item in islice(waiting, max(room, 0)):
                pool.give(number, item)
                flying += 1
            if not flying:
                return
            for number, (failed, value) in pool.take():
                if failed:
                    raise value
                results[number] = value
                flying -= 1
            while due in results:
                yield results.pop(due)
                due += 1
    finally:
        pool.stop()


def caught(function: Callable[[Any], Any], item: Any) -> tuple[bool, Any]:
    """In the worker: whether the function failed, and its result or the exception."""
    try:
        return False, function(item)
    except Exception as error:  # noqa: BLE001 - raised again where the results are taken
        error.add_note("".join(traceback.format_exc()))
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:  # noqa: BLE001 - whatever it is that cannot travel
            return True, RuntimeError(f"{type(error).__name__}: {error}\n{traceback.format_exc()}")
        return True, error


@contextmanager
def one_thread() -> Iterator[None]:
    """While a worker starts: how many threads its libraries take they read from the environment as they are loaded.

    Two processes on two cores, each with two threads of OpenBLAS, were seen to wait for each other for minutes.
    """
    before = os.environ.get(THREADS)
    os.environ[THREADS] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[THREADS]
        else:
            os.environ[THREADS] = before


def worker() -> int:
    """Which of the local workers this process is, from 0: so that each may take a GPU of its own. 0 elsewhere."""
    return int(os.environ.get(WORKER, "0"))


def single() -> None:
    """In the worker: one thread, so that as many workers as cores do not stand in each other's way."""
    os.environ[THREADS] = "1"
    import cv2

    cv2.setNumThreads(1)
