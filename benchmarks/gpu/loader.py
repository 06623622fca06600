"""Frames a second and core from shards: 256 px PNGs read, decoded, changed, landmarks drawn; against what a meta step takes.

The pictures are made (tests/made_faces.py): noise, which compresses less than faces do, so that reading is no faster than it
would be on real ones.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.gpu.run import Bench

BATCH, K = 8, 8


def measure(bench: Bench) -> None:
    """One process, then one a core."""
    import made_faces

    size, seconds = (64, .5) if bench.quick else (256, 6.0)
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        made_faces.write(Path(folder), people=16, count=12, size=size, blind=0)
        for processes in sorted({1, cores}):
            bench.attempt(f"{processes} processes", partial(rate, folder, size, processes, seconds))
    needs(bench)


def rate(folder: str, size: int, processes: int, seconds: float) -> dict[str, Any]:
    """Frames a second by so many processes at once."""
    spawned = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=spawned) as pool:
        list(pool.map(partial(read, folder, size, .1), range(processes)))  # starting and importing do not count
        done = list(pool.map(partial(read, folder, size, seconds), range(processes)))
    total = sum(frames / spent for frames, spent in done)
    return {"frames_per_second": total, "per_core": total / processes, "size": size, "n": sum(frames for frames, _ in done)}


def read(folder: str, size: int, seconds: float, seed: int) -> tuple[int, float]:
    """Episodes from frames that were not decoded before: how many frames, in how many seconds."""
    import cv2

    from pipeline.episodes import Augment, Faces, episode

    cv2.setNumThreads(1)
    augment, frames, start = Augment(flip=True, gain=.25, hue=20., stretch=.08), 0, time.perf_counter()
    while not frames or time.perf_counter() - start < seconds:
        faces = Faces(*(Path(folder) / name for name in ("frames", "landmarks", "split")), size)
        episode(faces, frames, slots=range(BATCH), K=K, seed=seed, augment=augment)
        frames += BATCH * (K + 1)
    return frames, time.perf_counter() - start


def needs(bench: Bench) -> None:
    """Frames a second that meta steps of 8 episodes ask for, where they were measured before."""
    steps = json.loads(bench.file.read_text())["parts"].get("steps", {}).get("results", {})
    found = steps.get("ft, batch 8, bf16")
    if found:
        bench.keep("asked for by FT at batch 8, bf16", {"frames_per_second": BATCH * (found["K"] + 1) / found["median"]})
    else:
        bench.lacks("asked for by FT at batch 8, bf16", "the part `steps` has not measured it")
