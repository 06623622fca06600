"""Trains on a made data set in processes that are killed: `python made_killed.py ROOT METHOD MOMENT…`.

A moment is `share:0.4`, that share of the time that the updates take, or `sync:3`, the third time that something of a
checkpoint is brought to the disk. ROOT/whole is what comes out uninterrupted, ROOT/killed what comes out after the kills; it
prints how each attempt ended.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

from small import Eyes

from model.backbones import perceptual
from model.training import checkpoint, loop
from pipeline.core import stage as core_stage
from stages import _cli, train

learn = loop.train


def main() -> None:
    root, method, *moments = Path(sys.argv[1]), *sys.argv[2:]
    core_stage.ROOT, perceptual.efflite0 = root, Eyes
    importlib.import_module("torch._dynamo")  # the first optimiser does, for seconds, which are no part of an update
    seconds: list[float] = []
    loop.train = lambda *words, **named: seconds.append(timed(*words, **named))
    stage(root, method, "whole")  # here, so that what it imports is there in those to come
    for moment in moments:
        kind, value = moment.split(":")
        print("ended", attempt(root, method, *((int(value), 1e9) if kind == "sync" else (0, float(value) * seconds[0]))))
    print("ended", attempt(root, method, 0, 1e9))


def stage(root: Path, method: str, out: str) -> None:
    words = [word for name in ("frames", "landmarks", "split") for word in (f"--{name}", str(root / "data" / name))]
    sys.argv = ["train", "--dataset", "made", "--method", method, *words, "--out", str(root / out),
                "--params", str(root / "params.yaml")]
    _cli.run(train.main)


def timed(*words: Any, **named: Any) -> float:
    start = time.monotonic()
    learn(*words, **named)
    return time.monotonic() - start


def attempt(root: Path, method: str, sync: int, seconds: float) -> int:
    """One run in a process of its own, killed so many seconds after its first step begins -> its exit status."""
    told, tell = os.pipe()
    if not (child := os.fork()):
        loop.train = lambda *words, **named: (os.write(tell, b"!"), learn(*words, **named))
        if sync:
            checkpoint._sync = dies_at(sync)
        try:
            stage(root, method, "killed")
        except SystemExit:
            os._exit(1)
        os._exit(0)
    os.close(tell)
    os.read(told, 1)
    end = time.monotonic() + seconds
    while not (ended := os.waitpid(child, os.WNOHANG))[0]:
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.002)
    os.close(told)
    return os.waitstatus_to_exitcode(ended[1])


def dies_at(n: int) -> Callable[[Path], None]:
    """In the place of `checkpoint._sync`: the n-th call kills."""
    calls, sync = count(1), checkpoint._sync

    def dying(path: Path) -> None:
        if next(calls) == n:
            os.kill(os.getpid(), signal.SIGKILL)
        sync(path)

    return dying


if __name__ == "__main__":
    main()
