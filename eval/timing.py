"""Table 2: set-up, few-shot learning, one fine-tuning step and one frame, each timed apart, and a frame's arithmetic.

The paper's few-shot times seem to hold about 28 s of fixed start-up (docs/paper.md): one figure would hide what it costs.
Not timed here, for any method: finding the face and its landmarks, drawing them, reading and writing files of the data.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from pipeline.core.config import Strict

Clock = Callable[[], float]


class Config(Strict):
    """The section `timing` of params.yaml."""

    repeats: int  # of each quantity, at most
    seconds: float  # for each quantity: no repeat starts later
    threads: int  # of torch on the CPU


class Times(NamedTuple):
    """Seconds of one quantity."""

    seconds: list[float]
    steps: int = 0  # fine-tuning steps in each

    def summary(self) -> dict[str, float | int]:
        """Median and count, as timing.json has them."""
        facts: dict[str, float | int] = {"median": statistics.median(self.seconds), "n": len(self.seconds)}
        return facts | ({"steps": self.steps} if self.steps else {})


def repeat(act: Callable[[], object], config: Config, clock: Clock, wait: Callable[[], None] = lambda: None) -> Times:
    """Times `act` again and again; the first time is a warm-up and does not count. `wait` returns when the device is idle."""
    act()
    wait()
    times: list[float] = []
    start = clock()
    while not times or (len(times) < config.repeats and clock() - start < config.seconds):
        before = clock()
        act()
        wait()
        times.append(clock() - before)
    return Times(times)


def few_shot(learn: Callable[[Callable[[int, int], None]], object], config: Config, clock: Clock) -> tuple[Times, Times | None]:
    """(few-shot learning, one fine-tuning step or None where the method takes none). `learn(report)` adapts once.

    At least one whole run, however long. The first step of each run is not among the steps' times: it holds allocation and
    set-up of the optimisers.
    """
    whole: list[float] = []
    steps: list[float] = []
    marks: list[float] = []
    start = clock()
    while not whole or (len(whole) < config.repeats and clock() - start < config.seconds):
        marks = []
        before = clock()
        learn(lambda done, total, marks=marks: marks.append(clock()))  # type: ignore[misc]
        whole.append(clock() - before)
        steps += [b - a for a, b in pairwise(marks)]
    return Times(whole, len(marks)), Times(steps) if steps else None


def measure(make: Callable[[], Any], person: tuple[Any, Any, Any], shots: Sequence[int], config: Config,
            clock: Clock = time.perf_counter, wait: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """Everything Table 2 has of one method.

    make() builds the method and loads its weights; person: source frames x and their landmark images y (>= T, 3, H, W), and
    what drives the hold-out frames (N, 3, H, W), torch; wait() returns when the device is idle.
    """
    x, y, poses = person
    method = make()  # also the warm-up of what follows

    def learn(t: int, report: Callable[[int, int], None] = lambda done, steps: None) -> Any:
        def step(done: int, steps: int) -> None:
            wait()
            report(done, steps)

        head = method.adapt(x[:t], y[:t], report=step)
        wait()
        return head

    set_up = repeat(make, config, clock, wait)

    head = learn(min(shots))  # the warm-up of few-shot learning, and the head whose frames are timed
    few = {t: few_shot(lambda report, t=t: learn(t, report), config, clock) for t in shots}  # type: ignore[misc]
    turn = iter(range(10**9))
    frame = repeat(lambda: head(poses[(j := next(turn) % len(poses)):j + 1]), config, clock, wait)
    steps = {str(t): step.summary() for t, (_, step) in few.items() if step}
    return {"parameters": method.parameters(), "macs": macs(lambda: head(poses[:1])), "set_up": set_up.summary(),
            "few_shot": {str(t): whole.summary() for t, (whole, _) in few.items()}, "step": steps, "frame": frame.summary()}


def macs(act: Callable[[], object]) -> int:
    """Multiply-accumulates of the convolutions and matrix products in `act`; norms, warps and the like are not counted."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        act()
    return int(counter.get_total_flops()) // 2
