"""How often somebody may come: token buckets in memory, a bounded number of them. Nothing of it is written anywhere."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable

from eval.study.trials import Rate


class Buckets:
    """One bucket a key. Of more than `kept` keys those that came longest ago are forgotten, as if they had never come."""

    def __init__(self, rate: Rate, kept: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate, self.kept, self.clock, self._lock = rate, kept, clock, threading.Lock()
        self._left: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()  # key -> (left, when)

    def take(self, key: Hashable) -> bool:
        """Whether `key` may come now."""
        now = self.clock()
        with self._lock:
            left, when = self._left.pop(key, (float(self.rate.burst), now))
            left = min(self.rate.burst, left + (now - when) / self.rate.seconds)
            self._left[key] = (left - 1 if left >= 1 else left), now
            if len(self._left) > self.kept:
                self._left.popitem(last=False)
        return left >= 1
