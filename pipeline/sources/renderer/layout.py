"""Data shared by all people: texture coordinates of each part, how vertices follow the head, landmark vertices."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from pipeline.sources.renderer import mesh, skin, vectors


@lru_cache(maxsize=1)
def landmark_ids() -> np.ndarray:
    """(68,) mesh vertices of the landmarks."""
    numbers = json.loads((Path(__file__).parent / "landmark68.json").read_text())
    return mesh.load().number[np.array(numbers)]


@dataclass(frozen=True)
class Layout:
    """part_of (V,): part of each vertex; follow (V,): how much it rotates with the head; uv (T, 3, 2): atlas pixels; around:
    see vectors.normals; units (K, V, 3): face units, named by `names`; jaw: for points 0..16 the candidate vertices of the
    face outline and the outward direction."""

    part_of: np.ndarray
    follow: np.ndarray
    uv: np.ndarray
    around: tuple[np.ndarray, np.ndarray]
    names: list[str]
    units: np.ndarray
    jaw: list[tuple[np.ndarray, np.ndarray]]


@lru_cache(maxsize=1)
def layout() -> Layout:
    """The layout of the mesh, computed once per process."""
    head = mesh.load()
    part_of = np.zeros(len(head.rest), int)
    part_of[head.tris.reshape(-1)] = np.repeat(head.part, 3)
    names = sorted(head.units)
    units = np.zeros((len(names), *head.rest.shape), np.float32)
    for k, name in enumerate(names):
        head.units[name].add(units[k], 1)
    for name, group in head.groups.items():
        if "eye" in name and "lash" not in name:
            units[:, group] = 0  # eyeballs rotate independently
    weights = follow(head.rest[:, 1], head.rest[:, 2])
    return Layout(part_of, weights, _corner_uv(head), vectors.around(head.tris), names, units, _jaw(head))


def follow(y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Weight 0 on the shoulders .. 1 on the head, by position on the base mesh."""
    s = np.clip((y + 0.35 * np.clip(z - 0.5, 0, None) - 5.45) / 0.95, 0, 1)
    return (s * s * (3 - 2 * s)).astype(np.float32)


def _corner_uv(head: mesh.Mesh) -> np.ndarray:
    """(T, 3, 2) atlas pixels of the corners of each triangle."""
    rest = head.rest[head.tris]
    az = skin.azimuth(rest)
    az = np.where((np.ptp(az, axis=1) > np.pi)[:, None] & (az < 0), az + 2 * np.pi, az)  # the seam at the back
    uv = skin.skin_uv(az, rest[..., 1])
    chest = rest[..., 1].max(1) < 6.0
    uv[chest] = skin.body_uv(rest[chest])
    for part in (mesh.SOCKET, mesh.MOUTH, mesh.TONGUE, mesh.LASH):
        uv[head.part == part] = skin.swatch_uv(part)
    for name, group in head.groups.items():
        selected = np.isin(head.tris[:, 0], group)
        box = {"eye": skin.IRIS_BOX, "teeth": skin.TEETH_BOX}.get("teeth" if "teeth" in name else name[9:12])
        if box is None or "lash" in name:
            continue
        middle, half = head.rest[group].mean(0), np.ptp(head.rest[group], axis=0) / 2
        if "teeth" not in name:
            half = np.full(3, half.max() * 1.15)
        local = (rest[selected] - middle) / (half * 1.001)
        x, y, w, h = box
        uv[selected] = np.stack([x + (local[..., 0] + 1) / 2 * (w - 1), y + (1 - local[..., 1]) / 2 * (h - 1)], -1)
        if box is skin.IRIS_BOX:  # the back of the ball is white
            behind = local[..., 2] < 0
            uv[np.flatnonzero(selected)[behind.any(1)]] = [x + w - 3, y + h / 2]
    return uv.astype(np.float32)


def _jaw(head: mesh.Mesh) -> list[tuple[np.ndarray, np.ndarray]]:
    """For points 0..16: candidate vertices of the face outline, and the outward direction."""
    ids = landmark_ids()
    p = head.rest[ids[:17]]
    tangent = np.gradient(p[:, :2], axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    outward = np.stack([tangent[:, 1], -tangent[:, 0]], 1)
    outward *= np.sign((outward * (p[:, :2] - [0, 7])).sum(1))[:, None]
    usable = np.zeros(len(head.rest), bool)
    usable[np.unique(head.tris[head.part == mesh.SKIN])] = True
    usable &= (head.rest[:, 1] > 6.05) & (np.abs(head.rest[:, 0]) < 0.74)
    out = []
    for k in range(17):
        d = head.rest - p[k]
        near = np.abs((d[:, :2] * tangent[k]).sum(1)) < 0.06
        near &= ((d[:, :2] * outward[k]).sum(1) > -0.35) & (d[:, 2] > -0.06) & (d[:, 2] < 0.6) & usable
        near[ids[k]] = True
        out.append((np.flatnonzero(near), outward[k]))
    return out
