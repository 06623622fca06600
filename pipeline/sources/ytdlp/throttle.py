"""How fast a site is asked, over all processes: one question after the other, and none for a while once it has had enough."""

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

ENOUGH = ("throttled", "bot-check")  # answers that say: no more


class RateLimit(Strict):
    """Numbers for one site."""

    pause: float = Field(ge=0)  # seconds between two questions
    max_throttled: int = Field(ge=1)  # videos in a row that were throttled or met a bot check: the rest is not asked
    cooldown: float = Field(ge=0)  # seconds for which it is left alone then


class Shut(RejectedItem):
    """Not asked: the site is to be left alone."""


@dataclass(frozen=True)
class Pace:
    """The state lies in one small file that the processes of one machine share."""

    path: Path
    rate_limit: RateLimit

    def wait(self) -> None:
        """Until it is this process's turn. Shut: the site is to be left alone."""
        with self._state() as state:
            now = time.time()
            if state["row"] >= self.rate_limit.max_throttled and now < state["until"]:
                raise Shut("throttled", f"not asked: the {self.rate_limit.max_throttled} videos before it were throttled or "
                                        f"met a bot "
                                        "check, and more questions may get this address banned; run again later")
            turn = min(max(now, state["next"]),
                       now + 60 * self.rate_limit.pause)  # a clock that was set back is no reason to wait
            state["next"] = turn + self.rate_limit.pause
        time.sleep(max(turn - time.time(), 0))

    def heard(self, status: str) -> None:
        """What became of a video: `max_throttled` bad answers in a row close the gate, any good one opens it."""
        with self._state() as state:
            if status in ENOUGH:
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
            except ValueError:  # its writer was killed
                state = {"row": 0, "next": 0.0, "until": 0.0}
            yield state
            file.seek(0)
            file.truncate()
            file.write(json.dumps(state))
