"""Progress of a sharded stage, read from its files on disk, so that it works for every engine."""

from __future__ import annotations

import json
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pipeline.core.progress import Bar
from pipeline.parallel import journal

GLANCE = 0.5  # seconds between two looks for the bar on a terminal


class Watch:
    """Counts of finished items by status, from the folders of finished shards and the headers in the journals of the others."""

    def __init__(self, folder: Path, shards: int, run: bytes) -> None:
        self._folder, self._run = folder, run
        self._left = dict.fromkeys(range(shards))
        self._done: Counter[str] = Counter()
        self._seen: dict[int, dict[int, str]] = {}  # shard -> item -> status
        self._ends: Counter[int] = Counter()  # shard -> byte up to which its journal has been read

    def look(self) -> Counter[str]:
        """The counts now."""
        for number in list(self._left):
            folder, path = journal.places(self._folder, number)
            if path.exists():
                self._read(number, path)
            elif (counts := folder / journal.COUNTS).is_file():
                self._done.update(json.loads(counts.read_text()))
                self._left.pop(number)
                self._seen.pop(number, None)
        return sum((Counter(seen.values()) for seen in self._seen.values()), self._done.copy())

    def _read(self, number: int, path: Path) -> None:
        seen = self._seen.setdefault(number, {})
        try:
            file = os.open(path, os.O_RDONLY)
        except FileNotFoundError:  # the shard was finished just now
            return
        try:
            for entry in journal.entries(file, os.pread(file, 8, 0), self._ends[number]):
                self._ends[number] = entry.end
                if entry.counts_in(self._run):
                    seen[entry.number] = entry.status
        finally:
            os.close(file)


@contextmanager
def watched(folder: Path, sizes: Sequence[int], run: bytes, what: str) -> Iterator[None]:
    """Shows the progress of the shards in `folder` with counts by status, in a thread, within the context."""
    watch, stop = Watch(folder, len(sizes), run), threading.Event()
    thread = threading.Thread(target=_tell, args=(watch, sum(sizes), what, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _tell(watch: Watch, total: int, what: str, stop: threading.Event) -> None:
    with Bar(total=total, desc=what, unit="item", initial=watch.look().total()) as bar:
        for counts in _looks(watch, bar.mininterval if bar.plain else GLANCE, stop):
            bar.set_postfix_str(", ".join(f"{count} {status}" for status, count in sorted(counts.items())), refresh=False)
            bar.update(counts.total() - bar.n)


def _looks(watch: Watch, pause: float, stop: threading.Event) -> Iterator[Counter[str]]:
    """The counts every `pause` seconds and once more at the end; less often where thousands of shards take long to look at."""
    ended, wait = False, pause
    while not ended:
        ended = stop.wait(wait)
        start = time.monotonic()
        counts = watch.look()
        wait = max(pause, 9 * (time.monotonic() - start))
        yield counts
