"""The shape of a driver's face adapted to that of the source."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from eval.reenact import geometry

ROOT = Path(__file__).resolve().parents[3]


def shapes(chance: np.random.Generator, c: np.ndarray, n: int) -> np.ndarray:
    """n pictures of a face of shape c, turned, scaled and placed by chance: (n, 68, 2)."""
    turns = [np.linalg.qr(np.eye(3) + .25 * chance.normal(size=(3, 3)))[0] for _ in range(n)]
    turns = [turn * np.sign(np.diag(turn)) for turn in turns]
    size, place = chance.uniform(50, 150, (n, 1, 1)), chance.uniform(0, 500, (n, 1, 2))
    return np.array([geometry.shape(c) @ turn[:2].T for turn in turns]) * size + place


def test_adapting_a_person_to_the_same_pictures_changes_nothing():
    points = shapes(np.random.default_rng(1), np.zeros(23), 6)
    adapt = geometry.Adaptation(points, points)
    assert np.abs(adapt(points[0]) - points[0]).max() < 1e-9
    assert adapt.size < 1e-9


def test_adaptation_recovers_a_face_s_scale_and_shift_in_other_poses():
    chance = np.random.default_rng(2)
    other = np.zeros(23)
    other[[0, 1, 13, 21]] = .12, -.08, .1, .15  # width, height, the nose's height, the mouth's place
    turned = [np.random.default_rng(seed) for seed in (3, 3)]
    driver_points, truth = shapes(turned[0], np.zeros(23), 20), shapes(turned[1], other, 20)
    adapt = geometry.Adaptation(shapes(chance, other, 12), driver_points)

    def shape(points: np.ndarray) -> np.ndarray:
        """Without place and size, which a crop takes out."""
        left = points - points.mean(1, keepdims=True)
        return np.asarray(left / np.linalg.norm(left, axis=(1, 2), keepdims=True))

    before, after = (np.abs(shape(points) - shape(truth)).mean()
                     for points in (driver_points, np.array([adapt(points) for points in driver_points])))
    assert after < .5 * before


def test_adaptation_keeps_what_the_driver_does():
    points = shapes(np.random.default_rng(4), np.zeros(23), 8)
    c = np.zeros(23)
    c[0] = .1
    adapt = geometry.Adaptation(shapes(np.random.default_rng(5), c, 8), points)
    opened = points[0].copy()
    opened[55:60, 1] += 8  # the lower lip
    moved = adapt(opened) - adapt(points[0])
    assert moved[55:60, 1].mean() == pytest.approx(8, rel=.15)


def test_the_docs_have_the_table_that_the_benchmark_of_adaptation_printed():
    from benchmarks import adaptation

    lines = adaptation.table(json.loads(adaptation.OUT.read_text()))
    table = lines[:lines.index("")]
    assert len(table) == 16 and "\n".join(table) in (ROOT / "docs" / "reenact.md").read_text()
