"""What a person sees of a training: a progress bar and one line at the end. No clock goes anywhere else."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta

import torch
from tqdm import tqdm

from model.training import distributed


def say(sentence: str) -> None:
    """Prints a line to stderr, above the bar if there is one; only in the first of several processes.

    A failed write, such as to a log on a full disk, is ignored: it must not end a training.
    """
    if distributed.first():
        with suppress(OSError):
            tqdm.write(sentence, file=sys.stderr)
            sys.stderr.flush()


class Pace:
    """Counts the updates of one run from `first` to `steps`, their time and how much of it went by waiting for data.

    `bar` makes the progress bar: tqdm, or what takes the same arguments.
    """

    def __init__(self, what: str, first: int, steps: int, bar: Callable[..., tqdm] = tqdm) -> None:
        self.what, self.first, self.step = what, first, first
        self.images, self.waited, self.started = 0, 0.0, time.monotonic()
        self.bar = bar(total=steps, initial=first, desc=what, unit="step", disable=not distributed.first())

    def __enter__(self) -> Pace:
        return self

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Context whose time counts as waiting for data."""
        start = time.monotonic()
        yield
        self.waited += time.monotonic() - start

    def update(self, images: int, scalars: Mapping[str, float] | None) -> None:
        """Counts one update of that many images; prints a line if there are scalars."""
        self.step, self.images = self.step + 1, self.images + images
        if scalars is not None:
            seconds = time.monotonic() - self.started
            values = ", ".join(f"{name} {value:.3g}" for name, value in scalars.items())
            self.bar.set_postfix_str(f"{self.images / seconds:.1f} images/s, {self.waited / seconds:.0%} waiting for data, "
                                     f"{values}", refresh=False)
        self.bar.update()

    def __exit__(self, *_: object) -> None:
        """Prints the last line: steps, rate and peak memory of this run."""
        self.bar.close()
        seconds, done = time.monotonic() - self.started, self.step - self.first
        if done:
            say(f"{self.what}: steps {self.first + 1} to {self.step} in {timedelta(seconds=round(seconds))}, "
                f"{seconds / done:.3f} s a step, {self.images / seconds:.1f} images/s, "
                f"{self.waited / seconds:.1%} of the time waiting for data, {peak()}")


def peak() -> str:
    """Peak memory of this process so far, as text."""
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    gpu = f", {torch.cuda.max_memory_allocated() / 2**20:.0f} MiB on the GPU" if torch.cuda.is_available() else ""
    return f"peak memory {own:.0f} MiB{gpu}"
