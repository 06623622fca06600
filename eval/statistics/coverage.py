"""Coverage of the intervals, measured on simulated people whose true value is known.

A value is √ρ a_person + √(1 − ρ) b_frame with variance 1, ρ the intra-person correlation. Reads and writes no file.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from eval.scoring import metric, set_distances
from eval.scoring.per_frame import Recipe, Stored
from eval.statistics import intervals

LEVEL, FRAMES, RESAMPLES = 0.95, 32, 500
CORRELATIONS, PEOPLE = (0.2, 0.5, 0.8), (10, 50)
SETS, WIDTH = ((10, 4), (30, 2)), 16  # (people, frames per person), feature dimensions: few, a Fréchet distance is expensive


class Share(NamedTuple):
    """Share of the trials in which an event happened."""

    hits: float  # share of the trials
    trials: int

    def __str__(self) -> str:
        return f"{100 * self.hits:5.1f} % ± {100 * np.sqrt(self.hits * (1 - self.hits) / self.trials):.1f}"


def main(words: Sequence[str] | None = None) -> None:
    """Prints the table of coverages."""
    arguments = argparse.ArgumentParser(prog="python -m eval.statistics.coverage", description=__doc__)
    arguments.add_argument("--trials", type=int, default=2000, help="simulated benchmarks per line")
    arguments.add_argument("--seed", type=int, default=0)
    given = arguments.parse_args(words)
    for line in report(given.trials, given.seed):
        print(line, flush=True)


def report(trials: int, seed: int) -> Iterator[str]:
    """The lines that `main` prints."""
    yield f"Share of {trials} simulated benchmarks whose nominal 95 % interval covers the truth, ± Monte-Carlo standard error."
    yield f"{FRAMES} frames per person; nominal: 95 % (type I: at most 5 %)."
    head = ("people", "correlation", "shape", "by people", "by frames", "difference", "type I of p")
    yield "".join(f"{name:<16}" for name in head).rstrip()
    for n in PEOPLE:
        for rho, skewed in [*((rho, False) for rho in CORRELATIONS), (0.5, True)]:
            shares = (by_people(n, rho, skewed, trials, seed), by_frames(n, rho, skewed, trials // 10, seed),
                      *differences(n, rho, skewed, trials, seed))
            cells = [str(n), str(rho), "skewed" if skewed else "normal", *map(str, shares)]
            yield "".join(f"{cell:<16}" for cell in cells).rstrip()
    for n, frames in SETS:
        share = set_differences(n, frames, trials // 10, seed)
        yield f"difference of two Fréchet distances, {n} people, {frames} frames of each: {share}"
    yield "by people: people are resampled (as in the tables); by frames: frames are, as if they were independent."
    yield "skewed: exponential instead of normal people. difference: one method minus another over the same people."


def benchmark(rng: np.random.Generator, n: int, rho: float, skewed: bool) -> tuple[np.ndarray, np.ndarray]:
    """Values with expectation 0 and variance 1, and the person of each: (n FRAMES,), (n FRAMES,)."""
    people = rng.exponential(1, (n, 1)) - 1 if skewed else rng.normal(0, 1, (n, 1))
    values = np.sqrt(rho) * people + np.sqrt(1 - rho) * rng.normal(0, 1, (n, FRAMES))
    return values.ravel(), np.repeat(np.arange(n), FRAMES)


def by_people(n: int, rho: float, skewed: bool, trials: int, seed: int) -> Share:
    """Coverage of the interval used in the tables."""
    rng = np.random.default_rng([seed, n])
    settled = {"level": LEVEL, "resamples": RESAMPLES}
    found = (intervals.of_mean(*benchmark(rng, n, rho, skewed), seed=j, **settled) for j in range(trials))  # type: ignore[arg-type]
    return Share(float(np.mean([x.low <= 0 <= x.high for x in found])), trials)


def by_frames(n: int, rho: float, skewed: bool, trials: int, seed: int) -> Share:
    """Coverage of the same interval if each frame counts as a person of its own."""
    rng = np.random.default_rng([seed, n])
    simulated = (benchmark(rng, n, rho, skewed)[0] for _ in range(trials))
    found = (intervals.of_mean(x, np.arange(len(x)), level=LEVEL, resamples=200, seed=j) for j, x in enumerate(simulated))
    return Share(float(np.mean([x.low <= 0 <= x.high for x in found])), trials)


def differences(n: int, rho: float, skewed: bool, trials: int, seed: int) -> tuple[Share, Share]:
    """(coverage of the paired interval, type-I error of the permutation test at 5 %) of two equally good methods.

    Both methods share one effect per person and frame; each adds person and frame effects of its own.
    """
    rng, held, rejected = np.random.default_rng([seed, n]), [], []
    for j in range(trials):
        shared, person = benchmark(rng, n, rho, skewed)
        a, b = (shared + 0.5 * benchmark(rng, n, rho, skewed)[0] for _ in range(2))
        found = intervals.of_difference(a, b, person, level=LEVEL, resamples=RESAMPLES, seed=j)
        held.append(found.low <= 0 <= found.high)
        rejected.append(found.p <= 1 - LEVEL)
    return Share(float(np.mean(held)), trials), Share(float(np.mean(rejected)), trials)


def set_differences(n: int, frames: int, trials: int, seed: int) -> Share:
    """Coverage of the interval of one Fréchet distance minus another, for the difference expected at this size."""
    found = metric.load("fd_efflite0")
    assert isinstance(found, metric.OfSets)
    recipe = Recipe((), LEVEL, RESAMPLES, 100, seed)
    rng = np.random.default_rng([seed, n])
    results = []
    for _ in range(trials):
        a, b = (set_distances.spread(found, stored, recipe) for stored in _two_methods(rng, n, frames, found.name))
        results.append(set_distances.difference(found, a, b, LEVEL))
    expected = np.mean([x.value for x in results])
    return Share(float(np.mean([x.low <= expected <= x.high for x in results])), trials)


def _two_methods(rng: np.random.Generator, n: int, frames: int, name: str) -> tuple[Stored, Stored]:
    """Features of the same people by two methods, the second with larger errors."""
    mean = rng.normal(size=(n, 1, WIDTH))
    real = (mean + rng.normal(size=(n, frames, WIDTH))).reshape(-1, WIDTH)
    person, row = np.repeat(np.arange(n), frames), np.arange(n * frames)
    error = rng.normal(size=(n, 1, WIDTH))
    fakes = [(mean + shift + 0.5 * error + spread * rng.normal(size=(n, frames, WIDTH))).reshape(-1, WIDTH)
             for shift, spread in ((0.3, 1.0), (0.6, 0.7))]
    one, other = (Stored(person, row, {}, {name: (real, fake)}) for fake in fakes)
    return one, other


if __name__ == "__main__":
    main()
