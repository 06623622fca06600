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
    """A line on stderr, above the bar where there is one; of several processes the first one speaks.

    Lost where nothing takes it, as a log on a full disk: no training ends for that.
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
        """Within, the run waits for data."""
        start = time.monotonic()
        yield
        self.waited += time.monotonic() - start

    def update(self, images: int, scalars: Mapping[str, float] | None) -> None:
        """One more update, of that many images, is done; with scalars, when there are some to tell."""
        self.step, self.images = self.step + 1, self.images + images
        if scalars is not None:
            seconds = time.monotonic() - self.started
            values = ", ".join(f"{name} {value:.3g}" for name, value in scalars.items())
            self.bar.set_postfix_str(f"{self.images / seconds:.1f} images/s, {self.waited / seconds:.0%} waiting for data, "
                                     f"{values}", refresh=False)
        self.bar.update()

    def __exit__(self, *_: object) -> None:
        """The last line: what this run did, at what pace, with how much memory."""
        self.bar.close()
        seconds, done = time.monotonic() - self.started, self.step - self.first
        if done:
            say(f"{self.what}: steps {self.first + 1} to {self.step} in {timedelta(seconds=round(seconds))}, "
                f"{seconds / done:.3f} s a step, {self.images / seconds:.1f} images/s, "
                f"{self.waited / seconds:.1%} of the time waiting for data, {peak()}")


def peak() -> str:
    """The most memory that this process has had so far."""
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    gpu = f", {torch.cuda.max_memory_allocated() / 2**20:.0f} MiB on the GPU" if torch.cuda.is_available() else ""
    return f"peak memory {own:.0f} MiB{gpu}"
