"""Every benchmark of cases.py with its counters: `make bench`. The paper's size, minutes on a CPU, only with `-k paper`."""

from __future__ import annotations

import math
import os
import time
from pathlib import Path

import pytest

from benchmarks.cases import CASES
from benchmarks.counters import exact

os.environ["CUDA_VISIBLE_DEVICES"] = ""  # processor time says nothing of what a GPU does
LONG = 0.5  # seconds that the rounds of one benchmark take together, at least 5 of them


@pytest.mark.benchmark(timer=time.process_time)
@pytest.mark.parametrize("name", CASES)
def test_case(benchmark, name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    import torch

    if name.endswith("paper") and "paper" not in request.config.getoption("keyword"):
        pytest.skip("takes minutes on a CPU; -k paper selects it")
    torch.set_num_threads(1)
    ready = CASES[name](tmp_path)
    benchmark.group = name.split("-")[0]
    benchmark.extra_info |= exact(ready)
    given = ready.fresh()
    start = time.process_time()
    ready.act(given)
    rounds = min(1000, max(5, math.ceil(LONG / max(time.process_time() - start, 1e-6))))
    benchmark.pedantic(ready.act, setup=lambda: ((ready.fresh(),), {}), rounds=rounds if ready.timed else 1)
