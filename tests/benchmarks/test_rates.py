import resource
import sys

import pytest
import torch

from benchmarks import rates
from pipeline.core import stage


def test_a_share_compares_the_rates_of_the_same_round():
    slow = [1.0, 3.0, 1.0, 2.0, 5.0]  # the machine of each round
    found = {"convolution 8x256x64x64 channels_last fp32": {"flops": 100, "wall": slow, "cpu": slow},
             "convolution 8x256x64x64 channels_last bf16": {"flops": 100, "wall": slow, "cpu": slow},
             "as the peer: G fp32": {"flops": 300, "wall": [4 * s for s in slow], "cpu": [6 * s for s in slow]},
             "peer G fp32": {"flops": 900, "wall": [8 * s for s in slow], "cpu": [8 * s for s in slow]}}
    facts = rates.summary(found)
    share = facts["share of the convolution's rate"]["as the peer: G fp32"]
    assert share["wall"] == pytest.approx([0.75] * 3) and share["cpu"] == pytest.approx([0.5] * 3)
    assert facts["share of the peer's time"] == {"as the peer: G fp32 / peer G fp32": {"wall": [0.5] * 3, "cpu": [0.75] * 3}}


def test_the_convolution_that_counts_is_the_fastest_of_its_precision():
    found = {f"convolution 8x256x64x64 {memory} {precision}": {"flops": 100, "wall": [9.0, 9.0], "cpu": [seconds] * 2}
             for memory, seconds in (("contiguous_format", 2.0), ("channels_last", 1.0)) for precision in rates.PRECISIONS}
    assert all("channels_last" in name for name in rates.summary(found)["the convolution"].values())


@pytest.mark.skipif(sys.platform != "linux", reason="glibc")
def test_memory_of_a_wide_map_comes_back_without_new_pages():
    stage.keep_memory()
    faults = []
    for _ in range(24):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.ones(1 << 24)  # 64 MB, 16,384 pages of 4 KiB
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    assert sum(faults[-4:]) < 16384, faults
