"""What an episode costs the processor: `pytest benchmarks/test_episodes.py --benchmark-only`."""

from __future__ import annotations

import sys
import time
from itertools import count
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
import made_faces

from pipeline.episodes import Augment, Faces, episode


@pytest.mark.benchmark(group="episode", timer=time.process_time)
@pytest.mark.parametrize("augment", [Augment(flip=False, gain=0., hue=0., stretch=0.),
                                     Augment(flip=True, gain=.2, hue=10., stretch=.1)], ids=["plain", "augmented"])
def test_an_episode_of_8_with_2_sources_at_64_pixels(benchmark, tmp_path: Path, augment: Augment) -> None:
    root = made_faces.write(tmp_path, people=8, count=16, size=128)
    faces = Faces(root / "frames", root / "landmarks", root / "split", 64)
    steps = count()
    act = lambda: episode(faces, next(steps), slots=range(8), K=2, seed=0, augment=augment)
    benchmark.pedantic(act, rounds=30, iterations=10, warmup_rounds=3)
