"""Maps a pure function over items: in local processes, with Ray, or in SLURM jobs. Results come in the order of the items."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from itertools import islice
from typing import Any, Protocol, TypeVar

from pipeline.parallel.worker import Config

Item = TypeVar("Item")
Result = TypeVar("Result")
AHEAD = 4  # tasks per worker begun before the first is done; bounds the results in memory


class Pool(Protocol):
    """Workers of one kind, in pipeline/parallel/KIND.py."""

    def __init__(self, function: Callable[[Any], Any], config: Config, lives: int) -> None:
        """Starts nothing yet that could not be stopped."""

    def give(self, number: int, item: Any) -> None:
        """Starts a task."""

    def take(self) -> list[tuple[int, tuple[bool, Any]]]:
        """Waits until a task has ended: its number, and what `caught` returned. RuntimeError: its workers died too often."""

    def stop(self) -> None:
        """Ends all tasks."""


def local(workers: int) -> Config:
    """A configuration of `workers` processes on this machine."""
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
    from pipeline.parallel import local, ray, slurm

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
