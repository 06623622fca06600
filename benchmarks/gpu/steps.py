"""Seconds of a meta step and of a frame at several batches, in each precision, run layer by layer, compiled or as a graph.

Pictures lie in the device's memory: what reading them takes is in loader.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch

from benchmarks.cases import images
from benchmarks.gpu import sizes
from benchmarks.gpu.correct import capture
from benchmarks.gpu.run import Bench, wait
from eval import timing
from model.api import Episode
from model.few_shot.adversarial import compute_dtype
from model.few_shot.folded_generator import folded

BATCHES, LARGER = (1, 8, 48), (2, 4, 8, 12, 16, 24, 32, 48, 64, 96)
PRECISIONS: dict[str, dict[str, Any]] = {"bf16": {"precision": "bf16"}, "tf32": {"tf32": True}, "fp32": {}}
MODES = {"compiled": "default", "compiled, CUDA graphs": "reduce-overhead"}


def measure(bench: Bench) -> None:
    """What matters most comes first: what the time does not suffice for is left out and named."""
    batches = (1, 2) if bench.quick else BATCHES
    few = batches[:1] if bench.quick else batches[:2]
    budget = timing.Config(repeats=1 if bench.quick else 10, seconds=0.0 if bench.quick else 2.0, threads=1)
    for batch in batches:
        bench.attempt(f"ft, batch {batch}, bf16", partial(meta, "ft", bench.quick, batch, budget, **PRECISIONS["bf16"]))
    for name in ("ff", "x2face", "pix2pixhd"):
        act = partial(meta, name, bench.quick, batches[1], budget, tf32=True, precision=None)
        bench.attempt(f"{name}, batch {batches[1]}, as configured", act)
    frames(bench, few, ("layer by layer", "CUDA graph"), budget)
    for precision in ("tf32", "fp32"):
        for batch in few:
            bench.attempt(f"ft, batch {batch}, {precision}", partial(meta, "ft", bench.quick, batch, budget,
                                                                    **PRECISIONS[precision]))
    act = partial(meta, "ft", bench.quick, batches[1], budget, precision="bf16", search=True)
    bench.attempt(f"ft, batch {batches[1]}, bf16, cuDNN's search", act)
    bench.attempt("largest batch, bf16", partial(largest, bench), need=10)
    frames(bench, few, ("compiled",), budget)
    for mode in list(MODES)[:1] if bench.quick else MODES:
        for batch in reversed(few):
            bench.attempt(f"ft, batch {batch}, bf16, {mode}", partial(meta, "ft", bench.quick, batch, budget, precision="bf16",
                                                                      mode=MODES[mode]), need=30)
    for precision in ("tf32", "fp32"):
        for batch in batches[2:]:
            bench.attempt(f"ft, batch {batch}, {precision}", partial(meta, "ft", bench.quick, batch, budget,
                                                                    **PRECISIONS[precision]), need=20)


def meta(name: str, quick: bool, batch: int, budget: timing.Config, precision: str | None = "fp32", tf32: bool = False,
         mode: str = "", search: bool = False) -> dict[str, Any]:
    """Seconds of an update and the peak of the device's memory. search: cuDNN tries its algorithms first."""
    sizes.tf32(tf32)
    torch.backends.cudnn.benchmark = search
    one = sizes.method(name, quick, **({"precision": precision} if precision else {}))
    if mode:
        torch._dynamo.reset()
        for net in (one.E, one.G, one.D):
            net.compile(**({"mode": mode} if one.place.type == "cuda" else {"backend": "eager"}))
    episode = made(one, batch)
    if one.place.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    found = timing.repeat(lambda: one.learn(episode), budget, timing.time.perf_counter, wait).summary()
    peak = torch.cuda.max_memory_allocated() / 2**30 if one.place.type == "cuda" else None
    return {**found, "batch": batch, "K": one.config.K, "size": one.facts.size, "precision": one.config.precision, "tf32": tf32,
            "images_per_second": batch / found["median"], "peak_gib": peak}


def made(one: Any, batch: int) -> Episode:
    """Random pictures on the method's device."""
    side, K, draw = one.facts.size, one.config.K, torch.Generator(one.place).manual_seed(0)
    shapes = (batch,), (batch,), (batch, K), (batch, K)
    x = (torch.rand(*shape, 3, side, side, generator=draw, device=one.place) for shape in shapes)
    return Episode(*x, torch.arange(batch, device=one.place) % one.facts.num_videos)


def frames(bench: Bench, batches: Sequence[int], ways: Sequence[str], budget: timing.Config) -> None:
    """Drawing, so many frames at a time."""
    for batch in batches:
        for way in ways:
            act = partial(frame, bench.quick, batch, way, budget)
            bench.attempt(f"frames of FF or FT, {batch} at a time, bf16, {way}", act, need=30 if way == "compiled" else 5)


def frame(quick: bool, batch: int, way: str, budget: timing.Config) -> dict[str, Any]:
    """Seconds of drawing `batch` frames by a folded generator, pictures in the device's memory."""
    torch.backends.cudnn.benchmark = False
    one = sizes.method("ft", quick, precision="bf16")
    y = images(batch, one.facts.size).to(one.place)
    with torch.no_grad():
        own: Any = folded(one.G_mean, one.G_mean.P(one.embed(y, y)), compute_dtype("bf16", one.place))
        if way == "compiled":
            torch._dynamo.reset()
            own.compile(backend="inductor" if one.place.type == "cuda" else "eager")
        act = capture(own, y)[0] if way == "CUDA graph" else lambda: own(y)
        many = budget.model_copy(update={"repeats": 10 * budget.repeats})
        found = timing.repeat(act, many, timing.time.perf_counter, wait).summary()
    return {**found, "frames_per_second": batch / found["median"]}


def largest(bench: Bench) -> dict[str, Any]:
    """The largest batch of LARGER that two updates of FT take whole, not in parts, and their peak of memory."""
    torch.backends.cudnn.benchmark = False
    one = sizes.method("ft", bench.quick, precision="bf16", micro_batch=max(LARGER))
    if one.place.type != "cuda":
        raise RuntimeError("the memory of a CUDA device is what is asked for")
    fits, peak = 0, 0.0
    for batch in LARGER:
        if bench.left() < 10:
            return {"fits": fits, "peak_gib": peak, "limit": "time"}
        torch.cuda.reset_peak_memory_stats()
        try:
            one.learn(episode := made(one, batch))
            one.learn(episode)
        except torch.OutOfMemoryError:
            return {"fits": fits, "peak_gib": peak, "limit": f"{batch} does not fit"}
        fits, peak = batch, torch.cuda.max_memory_allocated() / 2**30
    return {"fits": fits, "peak_gib": peak, "limit": f"nothing above {fits} was tried"}
