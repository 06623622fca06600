"""Progress of a loop over items: a bar on a terminal, lines with rate and ETA in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def progress(items: Iterable[T], total: int, what: str) -> Iterator[T]:
    """Yields the items unchanged and reports progress: a bar on a terminal, a line with rate and ETA every 15 s in a log."""
    if sys.stderr.isatty():
        from tqdm import tqdm

        yield from tqdm(items, total=total, desc=what, unit="item", smoothing=0.1)
        return
    start = last = time.monotonic()
    done = 0
    for item in items:
        yield item
        done += 1
        now = time.monotonic()
        if now - last >= 15 or done == total:
            rate = done / max(now - start, 1e-9)
            eta = max(total - done, 0) / rate
            print(f"{what}: {done}/{total}, {rate:.1f}/s, ETA {eta:.0f} s", file=sys.stderr, flush=True)
            last = now
