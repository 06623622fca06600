"""Is this checkout slower than BASE? `python -m benchmarks.gate --base main`; exit code 1 when it is.

BASE is checked out into a temporary folder. Two processes stay for the whole run, one with the code of each; both do the same
benchmarks (cases.py of this checkout) in pairs of random order, timed by the processor time of the act alone. After 10, 20, 40
and 80 pairs the interval of the ratio is looked at until it has left the tolerance (decision.py); before each further stretch
both sides set the benchmark up anew. What seems slower is measured again by two new processes and fails only if they say so,
too, by their ratio: where a process and its files lie in memory may cost some percent for as long as they do. Exact counters
(counters.py) must be equal; an increase fails unless `--allow BENCHMARK` or `--allow BENCHMARK:COUNTER`.

`--self-check N` compares the last commit with itself N times: the rate of false alarms. With `--planted 1.10`, the head's acts
are followed by a tenth of their time of idle loops: the rate of what is found.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import random
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatch
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import decision
from benchmarks.sides import InputError, Side, checkout, sides

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 0.04  # an act that is shorter is repeated for so long within each half of a pair
CODE = ("pipeline", "model", "eval", "stages", "params.yaml", "params", "benchmarks", "tests")


@dataclass
class Result:
    """One benchmark on both sides."""

    name: str
    verdict: str  # of decision.verdict; `counted`, `base only`, `head only`, `broken`, `unconfirmed` besides
    interval: decision.Interval | None = None
    pairs: int = 0
    seconds: tuple[float, float] | None = None  # of an act: medians of base and head
    counters: dict[str, int | None] = field(default_factory=dict)  # of the head
    changed: dict[str, tuple[int, int]] = field(default_factory=dict)  # base, head
    note: str = ""

    def fails(self, allowed: Collection[str]) -> list[str]:
        """Why it fails; nothing if it passes."""
        found = ["slower"] if self.verdict == "slower" else []
        found += ["does not run"] if self.verdict == "broken" else []
        found += [name for name, (base, head) in self.changed.items() if head > base and f"{self.name}:{name}" not in allowed]
        return [] if self.name in allowed else found


def set_up(side: Side, name: str) -> tuple[dict[str, Any] | None, str]:
    """What it answers, or None, and a sentence: the head's definition, else the side's own."""
    try:
        return side.ask("set_up", name=name, own=False), ""
    except InputError as problem:
        why = str(problem)
    if name not in side.ask("names"):
        return None, why
    try:
        return side.ask("set_up", name=name, own=True), "each side by its own definition"
    except InputError:
        return None, why


def compare(pair: tuple[Side, Side], name: str, error: float, order: random.Random) -> Result:
    """One benchmark: counters, then pairs until the verdict is clear."""
    with ThreadPoolExecutor(2) as both:  # only measuring takes turns
        (base, note), (head, problem) = both.map(set_up, pair, (name, name))
    if head is None:
        return Result(name, "broken", note=problem)
    if base is None:
        return Result(name, "head only", counters=head["counters"], note=note)
    result = Result(name, "counted", counters=head["counters"], changed=decision.changes(base["counters"], head["counters"]),
                    note=note)
    if head["timed"]:
        repeats = max(1, math.ceil(SECONDS / max(min(base["seconds"], head["seconds"]), 1e-6)))
        times: list[tuple[float, float]] = []
        result.verdict = ""
        while not result.verdict:
            if len(times) in decision.LOOKS:
                with ThreadPoolExecutor(2) as both:
                    list(both.map(Side.ask, pair, ("again", "again")))
            times.append(timed(pair, repeats, order))
            if len(times) in decision.LOOKS:
                result.interval = decision.interval([math.log(b / a) for a, b in times], error)
                result.verdict = decision.verdict(result.interval, len(times))
        result.pairs = len(times)
        a, b = (statistics.median(column) / repeats for column in zip(*times))
        result.seconds = (a, b)
    for side in pair:
        side.ask("drop")
    return result


def timed(pair: tuple[Side, Side], repeats: int, order: random.Random) -> tuple[float, float]:
    """Seconds of base and head, one right after the other."""
    found = [0.0, 0.0]
    for which in order.sample((0, 1), 2):
        found[which] = pair[which].ask("measure", repeats=repeats)
    return found[0], found[1]


def run(base: Path, head: Path, names: Sequence[str], *, planted: float = 1.0, seed: int = 0,
        show: bool = True) -> list[Result]:
    """All benchmarks, and those that seem slower once more in new processes."""
    error, order = decision.share(len(names)), random.Random(seed)
    with sides(base, head, planted) as pair:
        results = []
        for name in names:
            results.append(compare(pair, name, error, order))
            if show:
                print(row(results[-1]), flush=True)
        known = set(pair[0].ask("names")) - set(pair[1].ask("names"))
    suspects = [result for result in results if result.verdict == "slower"]
    if suspects:
        with sides(base, head, planted) as pair:
            for result in suspects:
                again = compare(pair, result.name, error, order)
                result.note = f"again in new processes: {ratio(again)}"
                result.verdict = confirmed(again)
                if show:
                    print(row(result), flush=True)
    return results + [Result(name, "base only") for name in sorted(known)]


def confirmed(again: Result) -> str:
    """What a second measurement makes of a `slower`: the first has kept the rate of false alarms, the ratio decides."""
    return "slower" if again.interval and again.interval.ratio > decision.TOLERANCE else "unconfirmed"


def ratio(result: Result) -> str:
    """1.023 [1.011, 1.035]"""
    return "{:.3f} [{:.3f}, {:.3f}]".format(*result.interval) if result.interval else "–"


def row(result: Result) -> str:
    """A line of the table."""
    times = "{:.3g} → {:.3g} ms".format(*(1000 * s for s in result.seconds)) if result.seconds else ""
    counters = "; ".join(f"{name} {base:,} → {head:,}" for name, (base, head) in result.changed.items())
    return f"{result.name:26} {ratio(result):22} {result.pairs:3} pairs  {result.verdict:12} {times:22} " + "; ".join(
        part for part in (counters, result.note) if part)


def commit(rev: str) -> str:
    """Its hash. InputError: there is no such commit."""
    found = subprocess.run(["git", "rev-parse", "--verify", "--quiet", f"{rev}^{{commit}}"], cwd=ROOT, capture_output=True,
                           text=True)
    if found.returncode:
        raise InputError(f"{rev}: no such commit here; fetch it first")
    return found.stdout.strip()


def machine() -> dict[str, Any]:
    """What was measured on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    return {"processor": model, "cores": os.cpu_count(), "python": platform.python_version(), "torch": version("torch"),
            "load": os.getloadavg()}


def self_check(times: int, names: Sequence[str], planted: float) -> Iterator[dict[str, Any]]:
    """The last commit against itself, each time in new processes: after each, how many failed so far, and the ratios."""
    if subprocess.run(["git", "diff", "--quiet", "HEAD", "--", *CODE], cwd=ROOT).returncode:
        raise InputError("--self-check compares the last commit with this checkout: commit the changes first")
    runs: list[list[Result]] = []
    with checkout("HEAD") as base:
        for number in range(times):
            runs.append(run(base, ROOT, names, planted=planted, seed=number, show=False))
            failed = [result.name for result in runs[-1] if result.fails([])]
            print(f"{number + 1} of {times}: {'; '.join(map(ratio, runs[-1]))}; failed: {', '.join(failed) or 'none'}",
                  flush=True)
            yield {"planted": planted, "runs": len(runs), "failed": sum(any(one.fails([]) for one in each) for each in runs),
                   "benchmarks": {name: summary([each[n] for each in runs]) for n, name in enumerate(names)}}


def summary(results: Sequence[Result]) -> dict[str, Any]:
    """One benchmark over several runs."""
    return {"verdicts": dict(Counter(result.verdict for result in results)), "pairs": [result.pairs for result in results],
            "notes": [result.note for result in results if result.note],
            "ratios": [round(result.interval.ratio, 4) for result in results if result.interval],
            "inexact": sorted({name for result in results for name, value in result.counters.items() if value is None}),
            "changed": sorted({name for result in results for name in result.changed})}


def main() -> None:
    """Compares, prints, writes JSON."""
    from benchmarks.cases import CASES

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="main", help="commit to compare with (main)")
    parser.add_argument("--select", nargs="+", default=["*-sample"], help="benchmarks, as shell patterns (*-sample)")
    parser.add_argument("--allow", nargs="+", default=[], metavar="NAME", help="benchmarks whose increase is meant")
    parser.add_argument("--json", type=Path, default=ROOT / "work" / "gate.json", help="where the results go (work/gate.json)")
    parser.add_argument("--self-check", type=int, metavar="N")
    parser.add_argument("--planted", type=float, default=1.0, metavar="FACTOR")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("gate: ended by a signal"))  # the checkout goes
    names = [name for name in CASES if any(fnmatch(name, pattern) for pattern in given.select)]
    start = time.monotonic()
    try:
        if not names:
            raise InputError(f"--select {' '.join(given.select)}: no such benchmark; there are {', '.join(CASES)}")
        body = {"level": decision.LEVEL, "tolerance": decision.TOLERANCE, "looks": decision.LOOKS, "machine": machine()}
        if given.self_check:
            body["commit"] = commit("HEAD")
            for found in self_check(given.self_check, names, given.planted):
                write(given.json, body | found, start)
            return
        with checkout(commit(given.base)) as base:
            results = run(base, ROOT, names, planted=given.planted)
    except InputError as problem:
        sys.exit(f"gate: {problem}")
    failed = {result.name: result.fails(given.allow) for result in results if result.fails(given.allow)}
    write(given.json, body | {"base": commit(given.base), "head": commit("HEAD"), "failed": failed,
                              "benchmarks": [asdict(result) for result in results]}, start)
    print(*[f"{name}: {', '.join(why)}" for name, why in failed.items()] or ["no regression"], given.json, sep="\n")
    sys.exit(1 if failed else 0)


def write(path: Path, body: dict[str, Any], start: float) -> None:
    """JSON, and how long it took since `start`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(body | {"seconds": round(time.monotonic() - start)}, indent=1) + "\n")


if __name__ == "__main__":
    main()
