"""Processes of this machine, spawned (fork and threads of torch, OpenCV or ffmpeg do not mix) and fed one task at a time."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections import Counter
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import Any

from pipeline.core import stage
from pipeline.parallel.worker import WORKER, Config, caught, one_thread, single


class Pool:
    """As in pipeline/parallel/executor.py. A process that has died is replaced, and its task given to the new one."""

    def __init__(self, function: Callable[[Any], Any], config: Config, lives: int) -> None:
        self._function, self._lives = function, lives
        self._idle: list[_Worker] = []
        self._busy: list[_Worker] = []
        self._deaths: Counter[int] = Counter()

    def give(self, number: int, item: Any) -> None:
        """Begins a task."""
        worker = self._idle.pop() if self._idle else _Worker(self._function, self._free())
        worker.give(number, item)
        self._busy.append(worker)

    def _free(self) -> int:
        """The least number that no worker has, where all are busy."""
        return min(set(range(len(self._busy) + 1)) - {worker.place for worker in self._busy})

    def take(self) -> list[tuple[int, tuple[bool, Any]]]:
        """Waits until tasks have ended."""
        ended: list[tuple[int, tuple[bool, Any]]] = []
        while not ended:
            ready = wait([worker.pipe for worker in self._busy])
            for worker in [worker for worker in self._busy if worker.pipe in ready]:
                self._busy.remove(worker)
                try:
                    ended.append((worker.number, worker.pipe.recv()))
                    self._idle.append(worker)
                except (EOFError, OSError):
                    self._bury(worker)
        return ended

    def _bury(self, worker: _Worker) -> None:
        """Goes on after a death with another process. RuntimeError: that would not help."""
        worker.process.join()
        self._deaths[worker.number] += 1
        if worker.process.exitcode == 1:  # not killed: it could not even begin
            raise RuntimeError("a worker ended by itself; the reason is printed above")
        if self._deaths[worker.number] >= self._lives:
            raise RuntimeError(f"{self._deaths[worker.number]} workers died at one task (the last with code "
                               f"{worker.process.exitcode}): killed, or out of memory")
        self.give(worker.number, worker.item)

    def stop(self) -> None:
        """Ends all processes."""
        for worker in [*self._idle, *self._busy]:
            worker.process.kill()
            worker.process.join()


class _Worker:
    """A process that applies the function to one item after the other, and ends with this one."""

    def __init__(self, function: Callable[[Any], Any], place: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.place = place  # its number among those that live, from 0
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(function, theirs, os.getpid(), place), daemon=True)
        with one_thread():
            self.process.start()
        theirs.close()
        self.number, self.item = -1, None

    def give(self, number: int, item: Any) -> None:
        """Sends one item. Where the process is dead already, its pipe says so when the result is taken."""
        self.number, self.item = number, item
        with contextlib.suppress(OSError):
            self.pipe.send(item)


def _serve(function: Callable[[Any], Any], pipe: Connection, parent: int, place: int) -> None:
    """The process: no life after the parent."""
    stage.die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    os.environ[WORKER] = str(place)
    single()
    while True:
        try:
            item = pipe.recv()
        except EOFError:
            return
        pipe.send(caught(function, item))
