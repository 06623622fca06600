"""Table 2: set-up, few-shot learning, one fine-tuning step and one frame, timed separately, and the operations per frame.

The paper's few-shot times seem to include about 28 s of fixed start-up (docs/paper.md), which a single number would hide.
Not timed, for any method: face and landmark detection, rasterising landmark images, reading and writing data files.
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
    seconds: float  # per quantity: no repeat starts later
    threads: int  # of torch on the CPU


class Times(NamedTuple):
    """Measured seconds of one quantity."""

    seconds: list[float]
    steps: int = 0  # fine-tuning steps in each

    def summary(self) -> dict[str, float | int]:
        """Median and count, as stored in timing.json."""
        facts: dict[str, float | int] = {"median": statistics.median(self.seconds), "n": len(self.seconds)}
        return facts | ({"steps": self.steps} if self.steps else {})


def repeat(act: Callable[[], object], config: Config, clock: Clock, wait: Callable[[], None] = lambda: None) -> Times:
    """Seconds of repeated calls of `act`; the first is a warm-up and not counted. `wait` returns when the device is idle."""
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
    """(few-shot learning, one fine-tuning step or None for a method without steps). `learn(report)` adapts once.

    At least one complete run, however long. The first step of each run is not counted: it includes allocation and set-up of the
    optimisers.
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
    """One method's entry of Table 2, the body of timing.json.

    make() builds the method and loads its weights; person: source frames x and their landmark images y (>= T, 3, H, W), and
    the driving images of the hold-out frames (N, 3, H, W), torch; wait() returns when the device is idle.
    """
    x, y, poses = person
    method = make()  # also a warm-up

    def learn(t: int, report: Callable[[int, int], None] = lambda done, steps: None) -> Any:
        def step(done: int, steps: int) -> None:
            wait()
            report(done, steps)

        head = method.adapt(x[:t], y[:t], report=step)
        wait()
        return head

    set_up = repeat(make, config, clock, wait)

    head = learn(min(shots))  # warm-up of few-shot learning; this head's frames are timed
    few = {t: few_shot(lambda report, t=t: learn(t, report), config, clock) for t in shots}  # type: ignore[misc]
    turn = iter(range(10**9))
    frame = repeat(lambda: head(poses[(j := next(turn) % len(poses)):j + 1]), config, clock, wait)
    steps = {str(t): step.summary() for t, (_, step) in few.items() if step}
    return {"parameters": method.parameters(), "macs": macs(lambda: head(poses[:1])), "set_up": set_up.summary(),
            "few_shot": {str(t): whole.summary() for t, (whole, _) in few.items()}, "step": steps, "frame": frame.summary()}


def macs(act: Callable[[], object]) -> int:
    """Multiply-accumulates of the convolutions and matrix products in `act`; norms, warps and similar are not counted."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        act()
    return int(counter.get_total_flops()) // 2
