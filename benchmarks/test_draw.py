"""Drawing landmark images against drawing the same lines with matplotlib: `pytest benchmarks --benchmark-only -s`."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from made_faces import face

from pipeline.landmarks.landmark_image import PARTS, draw

SIZE = 256


def with_matplotlib(points: np.ndarray) -> np.ndarray:
    """The same lines on a black canvas of the same size, as the fastest plain use of matplotlib: no pyplot, no axes drawn."""
    figure = Figure(figsize=(SIZE / 100, SIZE / 100), dpi=100, facecolor="black")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(-.5, SIZE - .5)
    axes.set_ylim(SIZE - .5, -.5)
    for first, last, closed, colour in PARTS:
        line = points[[*range(first, last), *([first] if closed else [])]]
        axes.plot(line[:, 0], line[:, 1], color=[part / 255 for part in colour], linewidth=2 * 72 / 100)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def seconds(function: Callable[[np.ndarray], np.ndarray], points: np.ndarray, times: int) -> float:
    """Processor seconds a call."""
    start = time.process_time()
    for _ in range(times):
        function(points)
    return (time.process_time() - start) / times


@pytest.mark.benchmark(group="draw")
def test_drawing_is_at_least_fifty_times_faster_than_matplotlib(benchmark) -> None:
    points = face(SIZE)
    lit = with_matplotlib(points).max(2) > 60
    ours = draw(points, SIZE).max(2) > 60
    assert (lit & ours).sum() > .9 * lit.sum()  # it is the same picture
    ratios = [seconds(with_matplotlib, points, 4) / seconds(lambda p: draw(p, SIZE), points, 100) for _ in range(12)]
    benchmark.extra_info["ratio"] = statistics.median(ratios)
    benchmark(draw, points, SIZE)
    low, middle, high = min(ratios), statistics.median(ratios), max(ratios)
    print(f"\ndraw is {middle:.0f} times faster than matplotlib (12 interleaved rounds, {low:.0f} to {high:.0f})")
    assert middle >= 50
