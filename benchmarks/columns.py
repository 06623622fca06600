"""What an update costs with 100 and with 145,569 videos (VoxCeleb2): `python -m benchmarks.columns [--size paper] [--pairs N]`.

FT's update with D in play, as in cases.py: `sample` at 64 px, where W is the larger part of it, or `paper` at 256 px. Two
processes take turns, in random order, with the processor time of a step on videos drawn anew from all there are; the ratio has
a 99 % interval (decision.py). Peak memory is that of each process; FLOPs, bytes of torch's allocator and bytes read are counted
exactly. W's own read and update are timed alone besides. Writes benchmarks/results/columns.json.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import platform
import random
import resource
import statistics
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks import decision

VIDEOS = (100, 145_569)
RESULT = Path(__file__).parent / "results" / "columns.json"
ALONE = 500  # updates of W without the rest


def side(num_videos: int, size: str, asked: Connection) -> None:
    """One process: answers each question with a number or more."""
    import torch

    from benchmarks import cases, counters
    from model.api import Episode

    torch.set_num_threads(1)
    cases.VIDEOS = num_videos
    one = cases.method("ft", cases.SIZES[size])
    batch, K, pixels = one.config.batch, one.config.K, one.facts.size
    x, x_s, draw = cases.images(batch, pixels), cases.images(batch, K, pixels), torch.Generator().manual_seed(0)

    def videos() -> Any:
        return torch.randint(num_videos, (batch,), generator=draw)

    def update(i: Any) -> None:
        one.learn(Episode(x, x, x_s, x_s, i))

    def column(i: Any) -> None:
        one.D.W.step(i, one.D.W(i).detach(), 1e-3, one.config.adam)

    def seconds(act: Any, times: int) -> float:
        given = [videos() for _ in range(times)]
        started = time.process_time()
        for i in given:
            act(i)
        return (time.process_time() - started) / times

    answers = {"step": lambda: seconds(update, 1), "columns": lambda: seconds(column, ALONE),
               "counted": lambda: counters.exact(cases.Ready(update, lambda: torch.arange(batch) * (num_videos // batch),
                                                             counts=("flops", "peak_bytes", "bytes"))),
               "peak_mib": lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}
    update(videos())
    while (question := asked.recv()) != "end":
        asked.send(answers[question]())


def main() -> None:
    """Prints and writes what was found."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--size", choices=("sample", "paper"), default="sample")
    arguments.add_argument("--pairs", type=int, default=40)
    given, spawn = arguments.parse_args(), multiprocessing.get_context("spawn")
    ends, processes = [], []
    for count in VIDEOS:
        ours, theirs = spawn.Pipe()
        processes.append(spawn.Process(target=side, args=(count, given.size, theirs), daemon=True))
        processes[-1].start()
        ends.append(ours)

    def ask(number: int, question: str) -> Any:
        ends[number].send(question)
        return ends[number].recv()

    order, pairs = random.Random(0), []
    for _ in range(given.pairs):
        took = [0.0, 0.0]
        for number in order.sample((0, 1), 2):
            took[number] = ask(number, "step")
        pairs.append(took)
    ratio = decision.interval([math.log(many / few) for few, many in pairs], 0.01)
    found = {"step": {"ratio": ratio._asdict(), "pairs": len(pairs),
                      "cpu_seconds": [statistics.median(side) for side in zip(*pairs)]}}
    found |= {question: [ask(number, question) for number in (0, 1)] for question in ("peak_mib", "columns", "counted")}
    known = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    known |= {"videos": VIDEOS, "processor": platform.machine(), given.size: found}
    RESULT.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
    print(json.dumps(found, indent=1))
    for end in ends:
        end.send("end")


if __name__ == "__main__":
    main()
