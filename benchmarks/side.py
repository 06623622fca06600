"""One side of a comparison: a process that stays, with the code of one checkout, and answers one JSON line with another.

`python benchmarks/side.py ROOT DEFINITIONS SLOWDOWN`, in ROOT: the code is that of ROOT, the benchmarks are DEFINITIONS, a
cases.py: the head's on both sides, so that the work is the same. ROOT's own cases.py serves where these fail with ROOT's code.
"""

from __future__ import annotations

import gc
import importlib.util
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any


class Side:
    """Answers: a method a request."""

    def __init__(self, definitions: Path, own: Path, slowdown: float) -> None:
        import torch

        torch.set_num_threads(1)
        from benchmarks import cases, counters

        self.cases: Any = cases
        self.exact = counters.exact
        self.own: dict[str, Callable[[Path], Any]] = {}
        if own.is_file() and own != definitions:
            spec = importlib.util.spec_from_file_location("own_cases", own)
            assert spec and spec.loader
            module = importlib.util.module_from_spec(spec)
            sys.modules["own_cases"] = module
            spec.loader.exec_module(module)
            self.own = module.CASES
        self.slowdown, self.folder = slowdown, tempfile.TemporaryDirectory(prefix="benchmark-")
        self.make: Callable[[Path], Any] | None = None
        self.ready: Any = None

    def names(self) -> list[str]:
        """The benchmarks that this checkout itself has."""
        return sorted(self.own or self.cases.CASES)

    def set_up(self, name: str, own: bool) -> dict[str, Any]:
        """Sets a benchmark up and counts; whether it is timed, and seconds of an act."""
        self.make = (self.own if own and self.own else self.cases.CASES)[name]
        self.again()
        counted = self.exact(self.ready)
        return {"counters": counted, "timed": self.ready.timed, "seconds": self.measure(1)}

    def again(self) -> None:
        """The same set-up from the start: other files, other memory."""
        self.drop()
        assert self.make
        self.folder = tempfile.TemporaryDirectory(prefix="benchmark-")
        self.ready = self.make(Path(self.folder.name))
        self.ready.act(self.ready.fresh())
        gc.collect()
        gc.freeze()

    def measure(self, repeats: int) -> float:
        """Processor seconds of so many acts, after one that does not count where they are short."""
        total = 0.0
        for number in range(-1 if repeats > 1 else 0, repeats):
            given = self.ready.fresh()
            gc.collect(0)
            start = time.process_time()
            self.ready.act(given)
            end = time.process_time()
            while self.slowdown > 1 and time.process_time() < end + (self.slowdown - 1) * (end - start):
                pass  # planted
            total += time.process_time() - start if number >= 0 else 0
        return total

    def drop(self) -> None:
        """Forgets the benchmark."""
        self.ready = None
        self.folder.cleanup()
        gc.unfreeze()
        gc.collect()


def main() -> None:
    """Serves until standard input ends."""
    root, definitions, slowdown = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve(), float(sys.argv[3])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    sys.path[0] = str(root)
    # The package `benchmarks` is the definitions', whatever ROOT has under this name.
    package = ModuleType("benchmarks")
    package.__path__ = [str(definitions.parent)]
    sys.modules["benchmarks"] = package
    side = Side(definitions, root / "benchmarks" / "cases.py", slowdown)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = {"value": getattr(side, request.pop("do"))(**request)}
        except Exception as error:  # noqa: BLE001 - the other process says what it means
            answer = {"error": " ".join(f"{type(error).__name__}: {error}".split())[:300]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
