"""What an update costs with 100 and with 145,569 videos (VoxCeleb2): `python -m benchmarks.columns [--size paper]`.

FT's update with D in play, as in cases.py: `sample` at 64 px, where W is the larger part of it, or `paper` at 256 px. Two
processes take turns, in random order, with the processor time of a step on videos drawn anew from all there are. Where a
process lies in memory may cost some percent, so there are rounds of new ones; the 99 % interval (decision.py) is over the
rounds' median ratios. Peak memory is that of each process; FLOPs, bytes that torch's allocator holds and bytes read are
counted. W's own read and update are timed alone besides. Writes benchmarks/results/columns.json.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import random
import resource
import statistics
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks import decision
from benchmarks.gate import machine

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

    def counted(ready: Any) -> dict[str, Any]:
        return {**counters.exact(ready._replace(counts=("flops", "bytes"))),
                "peak_bytes": min(counters.peak_bytes(lambda: update(ready.fresh())) or 0 for _ in range(3))}

    answers = {"step": lambda: seconds(update, 1), "columns": lambda: seconds(column, ALONE),
               "counted": lambda: counted(cases.Ready(update, lambda: torch.arange(batch) * (num_videos // batch))),
               "peak_mib": lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}
    update(videos())
    while (question := asked.recv()) != "end":
        asked.send(answers[question]())


def both(size: str, pairs: int, order: random.Random) -> dict[str, Any]:
    """Two new processes -> pairs of seconds, and what is known of each at the end."""
    spawn = multiprocessing.get_context("spawn")
    pipes = [spawn.Pipe() for _ in VIDEOS]
    for count, (_, theirs) in zip(VIDEOS, pipes):
        spawn.Process(target=side, args=(count, size, theirs), daemon=True).start()

    def ask(number: int, question: str) -> Any:
        pipes[number][0].send(question)
        return pipes[number][0].recv()

    taken: list[list[float]] = []
    for _ in range(pairs):
        taken.append([0.0, 0.0])
        for number in order.sample((0, 1), 2):
            taken[-1][number] = ask(number, "step")
    found = {name: [ask(number, name) for number in (0, 1)] for name in ("peak_mib", "columns", "counted")}
    for ours, _ in pipes:
        ours.send("end")
    return {"step": taken, **found}


def main() -> None:
    """Prints and writes what was found."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--size", choices=("sample", "paper"), default="sample")
    arguments.add_argument("--rounds", type=int, default=10)
    arguments.add_argument("--pairs", type=int, default=10)
    given, order = arguments.parse_args(), random.Random(0)
    rounds = [both(given.size, given.pairs, order) for _ in range(given.rounds)]
    logs = [statistics.median(math.log(many / few) for few, many in one["step"]) for one in rounds]
    middle = {name: [statistics.median(one[name][number] for one in rounds) for number in (0, 1)]
              for name in ("peak_mib", "columns")}
    seconds = [statistics.median(pair[number] for one in rounds for pair in one["step"]) for number in (0, 1)]
    found = {"ratio": decision.interval(logs, 0.01)._asdict(), "rounds": given.rounds, "pairs": given.pairs,
             "step_cpu_seconds": seconds, "columns_cpu_seconds": middle["columns"], "peak_mib": middle["peak_mib"],
             "counted": rounds[-1]["counted"]}
    known = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    known |= {"videos": VIDEOS, "machine": machine(), given.size: found}
    RESULT.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
