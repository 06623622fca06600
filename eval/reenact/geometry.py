"""Landmark adaptation: the driving pose and expression on the source's face shape (`--adapt-landmarks`).

The paper does not adapt landmarks and names this as a limitation. Here a person's shape is a mean head's 68 points in 3D,
S(c) = X + Σ_b c_b B_b, where each B_b widens, stretches or deepens the whole face, or scales or shifts one of its five parts.
Points of a frame are p = M S(c) + t, M the first two rows (2, 3) of a scaled rotation: the pose, estimated separately for each
frame, so that a turned head is not mistaken for a narrow one. c is fitted to a person's frames by least squares with the ridge
LAMBDA |c|²; adapted points are p + M Σ_b (c_source - c_driving)_b B_b, and are cropped like any face. Measured in
docs/reenact.md.
"""

from __future__ import annotations

from functools import cache

import numpy as np

PARTS = (range(17), range(17, 27), range(27, 36), range(36, 48), range(48, 68))  # jaw, brows, nose, eyes, mouth
LAMBDA = 0.1  # from .01 to 1 errors of .061 to .069 on rendered heads, .101 without adaptation (benchmarks/adaptation.py)
JAW = 0.3  # weight of the jaw's points, which slide along the cheek when the head turns
STEPS = 5  # alternating updates of pose and shape


@cache
def mean_head() -> np.ndarray:
    """X (68, 3): right, down, away from the camera in units of the distance of the outer eye corners, centred at 0."""
    from pipeline.sources.renderer import mesh
    from pipeline.sources.renderer.layout import landmark_ids

    points = mesh.load().rest[landmark_ids()].astype(np.float64) * (1, -1, -1)
    points -= (points[[0, 16]].mean(0)[0], *points.mean(0)[1:])
    return np.asarray(points / np.linalg.norm(points[45] - points[36]))


@cache
def changes() -> np.ndarray:
    """B (23, 68, 3): width, height, depth of the face; width, height, vertical position and depth of each part."""
    X, found = mean_head(), []

    def change(rows: range, axis: int, by: np.ndarray | float) -> None:
        found.append(np.zeros((68, 3)))
        found[-1][list(rows), axis] = by

    for axis in range(3):
        change(range(68), axis, X[:, axis])
    for part in PARTS:
        rows = list(part)
        change(part, 0, X[rows, 0])  # about the middle of the face: eyes and brows move apart
        change(part, 1, X[rows, 1] - X[rows, 1].mean())
        change(part, 1, 0.3)
        change(part, 2, 0.3)
    return np.array(found)


def _weights() -> np.ndarray:
    return np.r_[np.full(17, JAW), np.ones(51)]


def _centred(points: np.ndarray) -> np.ndarray:
    """Points (…, 68, k) minus their weighted mean."""
    w = _weights()[:, None]
    return np.asarray(points - (w * points).sum(-2, keepdims=True) / w.sum())


def pose(shape: np.ndarray, points: np.ndarray) -> np.ndarray:
    """M (n, 2, 3) of points (n, 68, 2) of one shape (68, 3): the scaled rotation nearest to the best linear map."""
    S, w = _centred(shape), _weights()[:, None]
    linear = np.linalg.solve((w * S).T @ S, (w * S).T @ _centred(points)).transpose(0, 2, 1)
    u, s, vt = np.linalg.svd(linear, full_matrices=False)
    return np.asarray(s.mean(1)[:, None, None] * (u @ vt))


def shape(c: np.ndarray) -> np.ndarray:
    """S(c) (68, 3)."""
    return mean_head() + np.tensordot(c, changes(), 1)


def fit(points: np.ndarray) -> np.ndarray:
    """c (23,) of one person's points (n, 68, 2), finite, of any scale and position."""
    c, root = np.zeros(len(changes())), np.sqrt(_weights())[:, None]
    for _ in range(STEPS):
        M = pose(shape(c), points)
        size = np.linalg.norm(M[:, 0], axis=1)[:, None, None]
        turned = M / size
        moves = _centred(np.einsum("nij,bkj->nbki", turned, changes())) * root  # effect of each B_b in each frame
        left = _centred(points / size - np.einsum("nij,kj->nki", turned, mean_head())) * root
        A = np.einsum("nbki,ncki->bc", moves, moves) / len(points)
        c = np.linalg.solve(A + LAMBDA * np.eye(len(c)), np.einsum("nbki,nki->b", moves, left) / len(points))
    return c


class Adaptation:
    """Maps driving landmarks to the source's face shape; both shapes are fitted once."""

    def __init__(self, source: np.ndarray, driving: np.ndarray) -> None:
        """source, driving: points (n, 68, 2) of some frames of each person."""
        fitted = fit(driving)
        self.driving, self.change = shape(fitted), np.tensordot(fit(source) - fitted, changes(), 1)  # (68, 3) each

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """One driving frame's points (68, 2) -> the same pose and expression on the source's shape."""
        M = pose(self.driving, points[None])[0]
        return np.asarray(points + self.change @ M.T)

    @property
    def size(self) -> float:
        """Mean displacement of a point, in units of the distance of the outer eye corners."""
        return float(np.linalg.norm(self.change[:, :2], axis=1).mean())
