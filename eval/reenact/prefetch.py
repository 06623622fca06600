"""Work that overlaps: a generator that runs in a thread of its own, a few items ahead of who asks for them."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Generator, Iterable
from typing import Any, TypeVar

T = TypeVar("T")
_END = object()


def ahead(items: Iterable[T], depth: int, spent: dict[str, float] | None = None, name: str = "") -> Generator[T, None, None]:
    """The same items in the same order, at most `depth` of them made before they are asked for.

    What the items raise is raised here, after those before it. `spent[name]` becomes the thread's processor seconds.
    """
    made: queue.Queue[Any] = queue.Queue(depth)
    stop = threading.Event()

    def hand(item: Any) -> None:
        while not stop.is_set():
            try:
                made.put(item, timeout=0.1)
                return
            except queue.Full:
                continue

    def work() -> None:
        try:
            for item in items:
                hand((item, None))
                if spent is not None:
                    spent[name] = time.thread_time()
                if stop.is_set():
                    return
            hand(_END)
        except BaseException as error:  # noqa: BLE001 (raised again where it is waited for)
            hand((None, error))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while (got := made.get()) is not _END:
            item, error = got
            if error is not None:
                raise error
            yield item
    finally:
        stop.set()
        thread.join()
