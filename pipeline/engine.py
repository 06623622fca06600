"""Maps a pure function over items in local processes; results come in the order of the items."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any, TypeVar

from pipeline import run

Item = TypeVar("Item")
Result = TypeVar("Result")


def map(function: Callable[[Item], Result], items: Sequence[Item], workers: int) -> Iterator[Result]:
    """Yields function(item) in the order of `items`, whatever the number of processes.

    `function` must be importable (top level, or functools.partial of one). An exception of one item ends the map: a function
    whose items may fail returns the failure as a record. A worker that dies (killed, out of memory) raises BrokenProcessPool.
    """
    if workers <= 1 or len(items) <= 1:
        yield from (function(item) for item in items)
        return
    context = multiprocessing.get_context("spawn")  # fork and threads of torch, OpenCV or ffmpeg do not mix
    with ProcessPoolExecutor(workers, context, initializer=_start, initargs=(os.getpid(),)) as pool:
        waiting: list[Future[Any]] = []
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > 4 * workers:  # bounded: a million items never wait in memory at once
                    yield waiting.pop(0).result()
            while waiting:
                yield waiting.pop(0).result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _start(parent: int) -> None:
    """One thread a worker, and no life after the parent."""
    import signal

    run.die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    os.environ["OMP_NUM_THREADS"] = "1"
    import cv2

    cv2.setNumThreads(1)
