"""Prefetching: runs a generator in its own thread, a few items ahead of the consumer."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Generator, Iterable
from typing import Any, TypeVar

T = TypeVar("T")
_END = object()


def ahead(items: Iterable[T], depth: int, spent: dict[str, float] | None = None, name: str = "") -> Generator[T, None, None]:
    """The same items in the same order, up to `depth` of them produced ahead.

    An exception of `items` is raised here after the items before it. `spent[name]` becomes the thread's processor seconds.
    """
    ready: queue.Queue[Any] = queue.Queue(depth)
    stop = threading.Event()

    def put(item: Any) -> None:
        while not stop.is_set():
            try:
                ready.put(item, timeout=0.1)
                return
            except queue.Full:
                continue

    def work() -> None:
        try:
            for item in items:
                put((item, None))
                if spent is not None:
                    spent[name] = time.thread_time()
                if stop.is_set():
                    return
            put(_END)
        except BaseException as error:  # noqa: BLE001 (raised again in the consumer)
            put((None, error))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while (got := ready.get()) is not _END:
            item, error = got
            if error is not None:
                raise error
            yield item
    finally:
        stop.set()
        thread.join()
