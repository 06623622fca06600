"""Counts of one act that are the same every time: what can be compared exactly, without a clock.

`flops` of torch's convolutions and matrix products; `peak_bytes` that torch's allocator holds above what it held before (CPU);
`files` opened through Python; `bytes` read by system calls; `processes` started; `parameters`. Each is counted twice, and one
that differs is left out: None.
"""

from __future__ import annotations

import gc
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.cases import Ready

_seen: Counter[str] | None = None  # events while something is counted
_hooked = False
EVENTS = {"open": "files", "subprocess.Popen": "processes"}


def _hook(event: str, _: Any) -> None:
    if _seen is not None and event in EVENTS:
        _seen[EVENTS[event]] += 1


@contextmanager
def events() -> Iterator[Counter[str]]:
    """Files opened and processes started within; audit hooks cannot be taken away again, so there is one."""
    global _seen, _hooked
    if not _hooked:
        sys.addaudithook(_hook)
        _hooked = True
    found: Counter[str] = Counter(files=0, processes=0)
    _seen = found
    try:
        yield found
    finally:
        _seen = None


def bytes_read(act: Callable[[], object]) -> int | None:
    """Bytes that this process, all its threads, read by system calls during `act`; memory maps are not. None: no Linux."""
    try:
        file = os.open("/proc/self/io", os.O_RDONLY)
    except OSError:
        return None
    try:
        before = os.pread(file, 4096, 0)  # its own bytes are counted after it is written
        act()
        after = os.pread(file, 4096, 0)
    finally:
        os.close(file)
    first, last = (int(text.split()[1]) for text in (before, after))
    return last - first - len(before)


def flops(act: Callable[[], object]) -> int:
    """Floating point operations of convolutions and matrix products, forwards and backwards."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        act()
    return int(counter.get_total_flops())


def peak_bytes(act: Callable[[], object]) -> int | None:
    """The most that torch's CPU allocator held during `act` above what it held before. None where there is a GPU."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    if torch.cuda.is_available():
        return None
    gc.collect()
    gc.disable()  # garbage in cycles would go at another time each time
    try:
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
            act()
    finally:
        gc.enable()
    assert profiled.profiler and profiled.profiler.kineto_results
    found = [event for event in profiled.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = peak = 0
    for event in sorted(found, key=lambda event: event.start_ns()):
        held += event.nbytes()  # negative where memory is given back
        peak = max(peak, held)
    return peak


def once(ready: Ready) -> dict[str, int | None]:
    """The counters of a benchmark, each of one act."""
    def act() -> Callable[[], object]:
        given = ready.fresh()
        return lambda: ready.act(given)

    counted: dict[str, int | None] = {"parameters": ready.parameters}
    if {"files", "bytes", "processes"} & set(ready.counts):
        first = act()
        with events() as seen:
            read = bytes_read(first)
        counted |= {"bytes": read, "files": seen["files"] - 1, "processes": seen["processes"]}  # 1: /proc/self/io
    counted |= {name: count(act()) for name, count in (("flops", flops), ("peak_bytes", peak_bytes)) if name in ready.counts}
    return {name: counted[name] for name in ready.counts}


def exact(ready: Ready) -> dict[str, int | None]:
    """Counters of an act after one that does not count; None for those that differ between two counts."""
    ready.act(ready.fresh())
    one, other = once(ready), once(ready)
    return {name: value if value == other[name] else None for name, value in one.items()}
