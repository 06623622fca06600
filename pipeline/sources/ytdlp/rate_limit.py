"""Rate limit of requests to a site over all processes: a pause between requests, and a cooldown after throttled ones."""

from __future__ import annotations

import fcntl
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from pipeline.core.config import Strict
from pipeline.core.ledger import RejectedItem

THROTTLED = ("throttled", "bot-check")  # statuses that count towards the cooldown


class RateLimit(Strict):
    """The rate limit of one site."""

    pause: float = Field(ge=0)  # seconds between two requests
    max_throttled: int = Field(ge=1)  # throttled or bot-checked videos in a row before the cooldown
    cooldown: float = Field(ge=0)  # seconds without requests after that


class NotRequested(RejectedItem):
    """The video was not requested: the cooldown is running."""


@dataclass(frozen=True)
class Throttle:
    """A rate limit whose state is in one small file, shared by the processes of one machine."""

    path: Path
    rate_limit: RateLimit

    def wait(self) -> None:
        """Waits until this process may send a request. NotRequested: the cooldown is running."""
        with self._state() as state:
            now = time.time()
            if state["row"] >= self.rate_limit.max_throttled and now < state["until"]:
                raise NotRequested("throttled", f"not requested: the {self.rate_limit.max_throttled} videos before it were "
                                                "throttled or met a bot check, and more requests may get this address banned; "
                                                "run again later")
            turn = min(max(now, state["next"]), now + 60 * self.rate_limit.pause)  # bounded, in case the clock was set back
            state["next"] = turn + self.rate_limit.pause
        time.sleep(max(turn - time.time(), 0))

    def record(self, status: str) -> None:
        """Records a video's status: `max_throttled` throttled ones in a row start the cooldown, others reset the count.

        `network` leaves the count as it is.
        """
        with self._state() as state:
            if status in THROTTLED:
                state["row"] += 1
                state["until"] = time.time() + self.rate_limit.cooldown
            elif status != "network":
                state["row"] = 0

    @contextmanager
    def _state(self) -> Iterator[dict[str, Any]]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            try:
                state = {"row": 0, "next": 0.0, "until": 0.0} | json.loads(file.read() or "{}")
            except ValueError:  # the writer was killed
                state = {"row": 0, "next": 0.0, "until": 0.0}
            yield state
            file.seek(0)
            file.truncate()
            file.write(json.dumps(state))
