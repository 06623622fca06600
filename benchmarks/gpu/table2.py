"""Table 2 at the paper's size, as stages/timing.py measures it: few-shot learning from 1, 8 and 32 frames, and one frame."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from benchmarks.cases import images
from benchmarks.gpu import sizes
from benchmarks.gpu.run import Bench, wait
from eval import timing

METHODS = ("ff", "ft", "x2face", "pix2pixhd")


def measure(bench: Bench) -> None:
    """One method after the other, with the precision of its configuration; float32 as torch has it by default on the device."""
    budget = timing.Config(repeats=2 if bench.quick else 10, seconds=0.0 if bench.quick else 2.0, threads=1)
    torch.backends.cudnn.allow_tf32 = True  # torch's default for convolutions
    for name in METHODS:
        bench.attempt(name, partial(seconds, name, bench.quick, budget), need=15)


def seconds(name: str, quick: bool, budget: timing.Config) -> dict[str, Any]:
    """Everything Table 2 has of one method, on random pictures in memory."""
    make = partial(sizes.method, name, quick)
    one = make()
    side = one.facts.size
    x, y, poses = images(max(sizes.SHOTS), side), images(33, side)[:max(sizes.SHOTS)], images(8, side)
    found = timing.measure(make, (x, y, poses), sizes.SHOTS, budget, wait=wait)
    return {**found, "size": side, "precision": one.config.precision, "driven_by": one.driven_by}
