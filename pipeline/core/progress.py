"""Progress of a loop over items: a bar on a terminal, lines with rate and ETA in a log."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any, TypeVar

from tqdm import tqdm

T = TypeVar("T")
EVERY = 15.0  # seconds between two lines of a log
LINE = "{desc}: {n_fmt}/{total_fmt}, {rate_fmt}, ETA {remaining}{postfix}"


class Bar(tqdm):
    """tqdm's bar on a terminal; its counts, rate and ETA as a plain line every 15 s and at the end in a log."""

    monitor_interval = 0  # no thread that watches it: time is looked at with every item

    def __init__(self, items: Iterable[T] | None = None, **options: Any) -> None:
        self.plain = not sys.stderr.isatty()
        if self.plain:  # tqdm ends a bar by a line feed of its own, which goes nowhere
            options |= {"file": io.StringIO(), "mininterval": EVERY, "bar_format": LINE}
        super().__init__(items, miniters=0, smoothing=0.1, **options)

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Prints how far it is. Lost where nothing takes it, as a log on a full disk."""
        if not self.plain:
            super().display(msg, pos)
        elif self.n > self.initial:
            with suppress(OSError):
                print(" ".join(str(self).split()), file=sys.stderr, flush=True)


def progress(items: Iterable[T], total: int, what: str) -> Iterator[T]:
    """Yields the items unchanged and shows their progress."""
    yield from Bar(items, total=total, desc=what, unit="item")
