"""A z-buffer rasteriser in numpy: lists every covered pixel of every triangle once and keeps the nearest.

Triangles are split into rows and rows into pixels, so that only covered pixels are tested. The nearest candidate of a pixel is
found by one `minimum.at` over keys with the depth in the high bits and the candidate's index in the low bits. Equal depths are
resolved by the order of the triangles, so that the result is the same in every run.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FAR = np.int64(2**62)


@dataclass(frozen=True)
class Hits:
    """Visible surfaces: pixel (n,) flat indices, triangle (n,), bary (n, 3) float32 weights of its corners."""

    pixel: np.ndarray
    triangle: np.ndarray
    bary: np.ndarray


def rasterise(
    xyz: np.ndarray, tris: np.ndarray, size: int, *, twosided: np.ndarray, within: dict[int, np.ndarray], part: np.ndarray
) -> Hits:
    """Rasterises a mesh. xyz (V, 3): x right, y down in pixels (pixel i covers [i, i + 1)), z away from the camera. tris
    (T, 3): counter-clockwise seen from outside. twosided (T,) bool: not culled when seen from behind. within: part -> (size,
    size) bool mask outside which that part is not rendered (teeth stay inside the lips). part (T,): part of each triangle."""
    live = _facing(xyz, tris, size, twosided)
    a, b, c = (xyz[tris[live, k]] for k in range(3))
    row_tri, row_y, lo, count = _rows(a, b, c, size)
    total = int(count.sum())
    row = np.repeat(np.arange(len(row_tri), dtype=np.int32), count)
    first = np.cumsum(count) - count
    x = np.arange(total, dtype=np.int32) - (first - lo).astype(np.int32)[row]
    pixel = row_y[row] * size + x
    zx, zy, z0 = _plane(a, b, c)
    start = z0[row_tri] + zy[row_tri] * (row_y + 0.5) + zx[row_tri] * 0.5
    z = start[row] + zx[row_tri][row] * x
    if within:
        keep = np.ones(total, bool)
        row_part = part[live][row_tri]
        for number, mask in within.items():
            rows = row_part == number
            if rows.any():
                masked = rows[row]
                keep[masked] = mask.reshape(-1)[pixel[masked]]
        row, x, pixel, z = row[keep], x[keep], pixel[keep], z[keep]
    if not len(z):
        return Hits(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 3), np.float32))
    key = (((z - z.min()) * np.float32(2**18)).astype(np.int64) << 32) | np.arange(len(z))
    buffer = np.full(size * size, FAR)
    np.minimum.at(buffer, pixel, key)
    covered = np.flatnonzero(buffer != FAR)
    nearest = buffer[covered] & 0xFFFFFFFF
    nearest_row = row[nearest]
    t = row_tri[nearest_row]
    return Hits(covered, live[t], _bary(a, b, c, t, x[nearest] + np.float32(0.5), row_y[nearest_row] + np.float32(0.5)))


def _facing(xyz: np.ndarray, tris: np.ndarray, size: int, twosided: np.ndarray) -> np.ndarray:
    x, y = xyz[:, 0][tris], xyz[:, 1][tris]
    area = (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0]) - (x[:, 2] - x[:, 0]) * (y[:, 1] - y[:, 0])
    # y points down, so counter-clockwise from outside is a negative area on the screen
    front = (area < -1e-6) | (twosided & (area > 1e-6))
    inside = (x.max(1) > 0) & (x.min(1) < size) & (y.max(1) > 0) & (y.min(1) < size)
    return np.flatnonzero(front & inside)


def _rows(a: np.ndarray, b: np.ndarray, c: np.ndarray, size: int) -> tuple[np.ndarray, ...]:
    """The pixel rows that each triangle covers: (triangle, y, first x, number of pixels), without empty rows."""
    ys = np.stack([a[:, 1], b[:, 1], c[:, 1]])
    top = np.clip(np.ceil(ys.min(0) - 0.5), 0, size).astype(np.int32)
    bottom = np.clip(np.floor(ys.max(0) - 0.5), -1, size - 1).astype(np.int32)
    height = np.maximum(bottom - top + 1, 0)
    tri = np.repeat(np.arange(len(a), dtype=np.int32), height)
    y = np.arange(len(tri), dtype=np.int32) - (np.cumsum(height) - height - top).astype(np.int32)[tri]
    centre = y + np.float32(0.5)
    left = np.full(len(tri), np.float32(np.inf))
    right = np.full(len(tri), np.float32(-np.inf))
    for p, q in ((a, b), (b, c), (c, a)):  # intersection of the row with each side
        dy = q[:, 1] - p[:, 1]
        safe = np.where(np.abs(dy) < 1e-6, np.float32(1), dy)
        slope = (q[:, 0] - p[:, 0]) / safe
        along = (centre - p[tri, 1]) / safe[tri]
        x = p[tri, 0] + slope[tri] * (centre - p[tri, 1])
        cut = (np.abs(dy) >= 1e-6)[tri] & (along >= 0) & (along <= 1)
        left = np.where(cut & (x < left), x, left)
        right = np.where(cut & (x > right), x, right)
    ok = right >= left
    tri, y, left, right = tri[ok], y[ok], left[ok], right[ok]
    lo = np.clip(np.ceil(left - 0.5), 0, size).astype(np.int32)
    count = np.maximum(np.clip(np.floor(right - 0.5), -1, size - 1).astype(np.int32) - lo + 1, 0)
    some = count > 0
    return tri[some], y[some], lo[some], count[some]


def _plane(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Depth as zx * x + zy * y + z0 over each triangle."""
    u, v = b - a, c - a
    det = u[:, 0] * v[:, 1] - v[:, 0] * u[:, 1]
    zx = (u[:, 2] * v[:, 1] - v[:, 2] * u[:, 1]) / det
    zy = (v[:, 2] * u[:, 0] - u[:, 2] * v[:, 0]) / det
    return zx, zy, a[:, 2] - zx * a[:, 0] - zy * a[:, 1]


def _bary(a: np.ndarray, b: np.ndarray, c: np.ndarray, t: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    ux, uy, vx, vy = b[:, 0] - a[:, 0], b[:, 1] - a[:, 1], c[:, 0] - a[:, 0], c[:, 1] - a[:, 1]
    det = ux * vy - vx * uy
    dx, dy = x - a[t, 0], y - a[t, 1]
    w1 = (dx * (vy / det)[t] - dy * (vx / det)[t]).clip(0, 1)
    w2 = (dy * (ux / det)[t] - dx * (uy / det)[t]).clip(0, 1)
    return np.stack([1 - w1 - w2, w1, w2], 1).astype(np.float32)
