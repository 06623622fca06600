"""Facts about the gate of the benchmarks: when it calls a checkout slower, and that what it counts is counted exactly."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import counters, decision, gate
from benchmarks.cases import CASES, Ready, merged
from benchmarks.decision import Interval
from benchmarks.gate import Result
from benchmarks.side import Side

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS, RUNS = 24, 1000
ERROR = decision.share(BENCHMARKS)
NOISE = {"normal": lambda rng, n: rng.normal(0, .03, n), "heavy-tailed": lambda rng, n: .02 * rng.standard_t(2, n),
         "bursts": lambda rng, n: rng.normal(0, .02, n) + np.where(rng.random(n) < .1, rng.exponential(.5, n), 0)}


def pairs(rng: np.random.Generator, kind: str, ratio: float, n: int = decision.LOOKS[-1]) -> np.ndarray:
    """Log ratios of a machine that gets slower and faster by half: sides one after the other in random order."""
    drift = np.cumsum(rng.normal(0, .01, 2 * n)) + .3 * np.sin(np.arange(2 * n) / 9)
    seconds = np.exp(drift + NOISE[kind](rng, 2 * n)).reshape(n, 2)
    head = rng.integers(2, size=n)
    return np.log(ratio * seconds[np.arange(n), head] / seconds[np.arange(n), 1 - head])


def decided(logs: np.ndarray) -> str:
    """The verdict as the gate comes to it."""
    for n in decision.LOOKS:
        if found := decision.verdict(decision.interval(list(logs[:n]), ERROR), n):
            return found
    raise AssertionError("the cap decides nothing")


@pytest.mark.parametrize("kind", NOISE)
def test_equals_are_never_called_slower_in_a_thousand_runs(kind: str) -> None:
    rng = np.random.default_rng(0)
    found = [decided(pairs(rng, kind, 1.0)) for _ in range(RUNS)]
    assert found.count("slower") == 0 and found.count("equal") > .9 * RUNS


@pytest.mark.parametrize("kind", NOISE)
def test_at_the_tolerance_itself_the_error_is_the_stated_one(kind: str) -> None:
    rng = np.random.default_rng(1)
    wrong = sum(decided(pairs(rng, kind, decision.TOLERANCE)) == "slower" for _ in range(RUNS))
    assert wrong <= 3  # 0.2 are due: 1 % / 24 benchmarks / 2 sides


@pytest.mark.parametrize("kind", ["normal", "heavy-tailed"])
def test_a_tenth_slower_is_found(kind: str) -> None:
    rng = np.random.default_rng(2)
    found = [decided(pairs(rng, kind, 1.10)) for _ in range(200)]
    assert found.count("slower") >= 196, {name: found.count(name) for name in found}


@pytest.mark.parametrize("kind", NOISE)
@pytest.mark.parametrize("n", decision.LOOKS)
def test_the_interval_holds_the_truth_as_often_as_it_says(kind: str, n: int) -> None:
    rng, times = np.random.default_rng(3), 1500
    found = [decision.interval(list(pairs(rng, kind, 1.2, n)), .05) for _ in range(times)]
    share = np.mean([one.low <= 1.2 <= one.high for one in found])
    assert .93 <= share <= .99


def test_intervals_with_known_answers() -> None:
    assert decision.interval([np.log(1.5)] * 10, .01) == pytest.approx((1.5, 1.5, 1.5))
    # One wild pair of ten is trimmed: the others' centre stays, and the interval is narrow.
    found = decision.interval([*np.linspace(-.01, .01, 9), 3.0], .01)
    assert .98 < found.low < found.ratio < found.high < 1.02
    # By hand: one of five goes at each end; winsorised -.01, -.01, 0, .01, .01: variance .0001; t of 2 degrees: 4.30265.
    five = decision.interval([-.02, -.01, 0, .01, .02], .05)
    assert np.log(five.high) == pytest.approx(4.30265 * np.sqrt(.0001 * 4 / (3 * 2)), rel=1e-4)


def test_verdicts_with_known_answers() -> None:
    assert decision.verdict(Interval(1.10, 1.06, 1.14), 10) == "slower"
    assert decision.verdict(Interval(1.00, 0.97, 1.03), 10) == "equal"
    assert decision.verdict(Interval(0.80, 0.79, 0.81), 10) == "faster"
    astride = Interval(1.06, 1.04, 1.08)
    assert decision.verdict(astride, 10) == "" and decision.verdict(astride, decision.LOOKS[-1]) == "undecided"


def test_a_suspicion_is_confirmed_by_the_ratio_of_a_second_measurement() -> None:
    for found, verdict in (((1.08, 1.04, 1.12), "slower"), ((1.04, 1.0, 1.08), "unconfirmed"), ((1, .97, 1.03), "unconfirmed")):
        assert gate.confirmed(Result("a", "", Interval(*found))) == verdict
    assert gate.confirmed(Result("a", "broken")) == "unconfirmed"


def test_more_counted_work_fails_unless_it_is_allowed_and_less_passes() -> None:
    base = {"flops": 10, "files": 2, "bytes": None, "parameters": 5}
    changed = decision.changes(base, {"flops": 11, "files": 1, "bytes": 7, "parameters": 5})
    assert changed == {"flops": (10, 11), "files": (2, 1)}
    result = Result("a-sample", "equal", changed=changed)
    assert result.fails([]) == ["flops"] and "flops 10 → 11" in gate.row(result)
    assert result.fails(["a-sample"]) == result.fails(["a-sample:flops"]) == [] and result.fails(["b-sample"]) == ["flops"]
    assert Result("a", "slower").fails([]) == ["slower"]
    for verdict in ("equal", "faster", "undecided", "unconfirmed", "counted", "base only", "head only"):
        assert Result("a", verdict).fails([]) == []


def test_counters_are_exact(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(1000))
    (tmp_path / "b").write_bytes(bytes(234))
    weight = torch.rand(5, 7)

    def act(given: object) -> None:
        for name in "ab":
            file = os.open(tmp_path / name, os.O_RDONLY)
            os.pread(file, 4096, 0)
            os.close(file)
        first = torch.empty(1000)
        del first
        second, third = torch.empty(400), torch.empty(700)
        torch.matmul(torch.zeros(3, 5), weight)
        del second, third

    subprocess.run([sys.executable, "-c", ""], check=True)
    found = counters.exact(Ready(act, parameters=35))
    assert found == {"flops": 2 * 3 * 5 * 7, "peak_bytes": 4 * (400 + 700 + 3 * 5 + 3 * 7), "files": 2, "bytes": 1234,
                     "processes": 0, "parameters": 35}
    started = counters.exact(Ready(lambda _: subprocess.run(["true"], check=True), counts=("processes",)))
    assert started == {"processes": 1}


def test_what_is_not_the_same_twice_is_left_out() -> None:
    sizes = iter(range(100, 200))
    found = counters.exact(Ready(lambda _: torch.empty(next(sizes))))
    assert found["peak_bytes"] is None and found["flops"] == 0


def test_a_batch_of_episodes_reads_its_frames_and_nothing_else(tmp_path: Path) -> None:
    import pandas as pd

    from pipeline.episodes import Faces

    ready = CASES["episode-sample"](tmp_path)
    faces = ready.fresh()
    ready.act(faces)
    index = pd.read_parquet(tmp_path / "frames" / "index.parquet").loc[sorted(faces._cache)]
    assert isinstance(faces, Faces)
    found = counters.exact(ready)
    assert found["bytes"] == index["length"].sum() and found["files"] == index["shard"].nunique()


def test_a_clip_takes_a_probe_and_a_decoder(tmp_path: Path) -> None:
    assert counters.exact(CASES["clip-sample"](tmp_path)) == {"processes": 2}


def test_changes_of_settings_keep_what_they_do_not_name() -> None:
    given = {"a": {"x": 1, "y": 2}, "content": {"kind": "vgg", "preset": 1}, "b": 3}
    assert merged(given, {"a": {"y": 5}, "content": {"kind": "pyramid"}}) == {
        "a": {"x": 1, "y": 5}, "content": {"kind": "pyramid"}, "b": 3}


def test_a_planted_slowdown_is_that_share_of_the_act(monkeypatch: pytest.MonkeyPatch) -> None:
    side, now, acts = Side.__new__(Side), [0.0], []

    def tick() -> float:
        now[0] += 1e-4
        return now[0]

    def act(_: object) -> None:
        now[0] += 1.0
        acts.append(now[0])

    monkeypatch.setattr(time, "process_time", tick)
    side.ready, side.slowdown = Ready(act), 1.5
    assert side.measure(5) == pytest.approx(5 * 1.5, rel=.001)
    assert len(acts) == 6  # the first of several does not count


def test_the_gate_finds_what_was_slowed_down_fourfold_and_no_other_difference() -> None:
    with gate.sides(ROOT, ROOT, 4.0) as pair:
        assert gate.set_up(pair[0], "nothing-sample")[0] is None
        found = gate.compare(pair, "draw-sample", ERROR, gate.random.Random(0))
    assert found.verdict == "slower" and found.interval and 2 < found.interval.ratio < 8 and not found.changed
    json.dumps(gate.asdict(found))


def test_no_side_sees_a_gpu_whose_work_its_clock_would_not_see(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[dict[str, str]] = []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setattr("benchmarks.sides.subprocess.Popen", lambda *_, env, **__: started.append(env))
    gate.Side(ROOT)
    assert started[0]["CUDA_VISIBLE_DEVICES"] == ""


def test_an_unknown_commit_is_refused() -> None:
    with pytest.raises(gate.InputError, match="no-such-branch"):
        gate.commit("no-such-branch")
