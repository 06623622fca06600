"""Vector operations, written term by term: the last bits of a BLAS product may depend on the number of threads."""

from __future__ import annotations

import numpy as np


def dot(v: np.ndarray, d: np.ndarray) -> np.ndarray:
    """(n, 3) times (3,) -> (n,)."""
    return v[:, 0] * np.float32(d[0]) + v[:, 1] * np.float32(d[1]) + v[:, 2] * np.float32(d[2])


def dot9(v: np.ndarray, d: np.ndarray) -> np.ndarray:
    """(n, 9) times (9,) -> (n,)."""
    out: np.ndarray = v[:, 0] * np.float32(d[0])
    for k in range(1, 9):
        out = out + v[:, k] * np.float32(d[k])
    return out


def rotation(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """(3, 3): roll about z, then pitch about x (positive is down), then yaw about y (positive is to the left)."""
    cy, sy, cx, sx, cz, sz = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch), np.cos(roll), np.sin(roll)
    y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return np.einsum("ij,jk,kl->il", y, x, z)


def rotate(v: np.ndarray, m: np.ndarray) -> np.ndarray:
    """Rows of v (n, 3) rotated by m (3, 3)."""
    return np.stack([dot(v, row) for row in m], 1)


def normals(xyz: np.ndarray, tris: np.ndarray, order: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """(V, 3) unit normals. order, starts: from `around(tris)`, the corners of the triangles sorted by vertex."""
    a, b, c = xyz[tris[:, 0]], xyz[tris[:, 1]], xyz[tris[:, 2]]
    u, v = b - a, c - a
    face = np.stack([u[:, 1] * v[:, 2] - u[:, 2] * v[:, 1], u[:, 2] * v[:, 0] - u[:, 0] * v[:, 2],
                     u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]], 1)
    out = np.add.reduceat(face[order], starts, axis=0)
    return out / (np.sqrt((out * out).sum(1, keepdims=True)) + 1e-9)


def around(tris: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For `normals`: triangle index of every corner, sorted by vertex, and the first entry of each vertex. Every vertex must
    belong to a triangle."""
    corners = tris.reshape(-1)
    order = np.argsort(corners, kind="stable")
    return order // 3, np.searchsorted(corners[order], np.arange(corners.max() + 1))


def harmonics(d: np.ndarray) -> np.ndarray:
    """The nine real spherical harmonics up to degree 2. d (..., 3) unit -> (..., 9)."""
    x, y, z = d[..., 0], d[..., 1], d[..., 2]
    return np.stack([0.282095 + 0 * x, 0.488603 * y, 0.488603 * z, 0.488603 * x, 1.092548 * x * y, 1.092548 * y * z,
                     0.315392 * (3 * z * z - 1), 1.092548 * x * z, 0.546274 * (x * x - y * y)], -1)
