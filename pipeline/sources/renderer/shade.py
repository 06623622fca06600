"""Shading: per-vertex light with soft self-shadowing from baked visibility, diffuse and specular terms; display colours."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from pipeline.sources.renderer import mesh, raster
from pipeline.sources.renderer.setting import Light
from pipeline.sources.renderer.vectors import dot, dot9, harmonics

DIRECTIONS, MAP = 64, 112  # visibility bake: number of directions, side of each depth map
VIEW = np.array([0, 0, 1.0])
# strength and exponent of the highlight of each part
GLOSS = {mesh.SKIN: (0.10, 14), mesh.SOCKET: (0.05, 14), mesh.MOUTH: (0.03, 10), mesh.EYE: (0.0, 1), mesh.TEETH: (0.15, 24),
         mesh.TONGUE: (0.12, 16), mesh.LASH: (0, 1), mesh.CLOTH: (0.015, 6), mesh.GLASSES: (0.5, 30)}
INSIDE = {mesh.TEETH: 0.8, mesh.TONGUE: 0.4, mesh.MOUTH: 0.18}  # fraction of the light that reaches into an open mouth


@lru_cache(maxsize=1)
def visibility() -> np.ndarray:
    """(V, 9): visibility of the sky from each vertex of the base mesh, as spherical harmonics; baked once per process."""
    head = mesh.load()
    solid = (head.part == mesh.SKIN) | (head.part == mesh.SOCKET) | (head.part == mesh.EYE)
    tris = head.tris[solid]
    k = np.arange(DIRECTIONS) + 0.5
    polar, turn = np.arccos(1 - 2 * k / DIRECTIONS), np.pi * (1 + 5**0.5) * k
    sky = np.stack([np.sin(polar) * np.cos(turn), np.cos(polar), np.sin(polar) * np.sin(turn)], 1)
    out = np.zeros((len(head.rest), 9))
    centred = head.rest - np.array([0, 6.9, 0.4], np.float32)
    for d in sky:
        side = np.cross(d, [0.0, 1.0, 0.0] if abs(d[1]) < 0.9 else [1.0, 0.0, 0.0])
        side /= np.linalg.norm(side)
        up = np.cross(side, d)
        scale = MAP / 5.2
        screen = np.stack([dot(centred, -side) * scale + MAP / 2, -dot(centred, up) * scale + MAP / 2, -dot(centred, d)], 1)
        seen = _sees(screen.astype(np.float32), tris)
        out += seen[:, None] * harmonics(d) * (4 * np.pi / DIRECTIONS)
    return out.astype(np.float32)


def _sees(screen: np.ndarray, tris: np.ndarray) -> np.ndarray:
    hits = raster.rasterise(screen, tris, MAP, twosided=np.ones(len(tris), bool), within={}, part=np.zeros(len(tris)))
    depth = np.full(MAP * MAP, np.inf, np.float32)
    depth[hits.pixel] = (screen[:, 2][tris[hits.triangle]] * hits.bary).sum(1)
    at = np.clip(screen[:, :2].astype(int), 0, MAP - 1)
    return screen[:, 2] < depth[at[:, 1] * MAP + at[:, 0]] + 0.06


def open_sky(part_of: np.ndarray) -> np.ndarray:
    """(V,) ambient occlusion of the base mesh, 0 dark .. 1 open."""
    ambient = np.clip(visibility()[:, 0] * 0.282095 / 0.5, 0, 1) ** 0.8
    for part, value in INSIDE.items():
        ambient[part_of == part] = value
    return ambient * depth(part_of)


@lru_cache(maxsize=1)
def _depth() -> np.ndarray:
    return np.clip((mesh.load().rest[:, 2] - 1.28) / 0.16, 0.06, 1)


def depth(part_of: np.ndarray) -> np.ndarray:
    """(V,) factor that darkens teeth and tongue towards the back of the mouth."""
    return np.where((part_of == mesh.TEETH) | (part_of == mesh.TONGUE), _depth(), 1).astype(np.float32)


def shadow(normal: np.ndarray, towards: np.ndarray, part_of: np.ndarray) -> np.ndarray:
    """(V,) fraction of the key light that arrives, 0..1: visibility in its direction relative to that of a plane. normal in
    the pose of the baked visibility; towards (3,): the light in the same coordinates."""
    seen = dot9(visibility(), harmonics(towards))
    flat = 0.5 + 0.75 * dot(normal, towards)
    out = np.clip((seen + 0.12) / np.maximum(flat, 0.25), 0, 1)
    for part, value in INSIDE.items():
        out[part_of == part] = value
    return out * depth(part_of)


def lit(normal: np.ndarray, ambient: np.ndarray, open_key: np.ndarray, light: Light, wrap: np.ndarray) -> np.ndarray:
    """(V, 3) light on each vertex. wrap (3,): extension of red, green, blue past the terminator (skin scatters red)."""
    key, fill = dot(normal, light.key)[:, None], dot(normal, light.fill)[:, None]
    wrap = np.asarray(wrap, np.float32)
    sky = ((normal[:, 1] * 0.5 + 0.5) * ambient)[:, None]
    return (
        np.clip((key + wrap) / (1 + wrap), 0, None) * open_key[:, None] * light.key_colour.astype(np.float32)
        + np.clip(fill, 0, None) * ambient[:, None] * light.fill_colour.astype(np.float32)
        + light.ground.astype(np.float32) * ambient[:, None] + sky * (light.sky - light.ground).astype(np.float32)
    )


def shine(normal: np.ndarray, open_key: np.ndarray, light: Light, strength: np.ndarray, power: np.ndarray) -> np.ndarray:
    """(V,) Blinn highlight of the key light, as a fraction of its colour."""
    half = light.key + VIEW
    lobe = np.clip(dot(normal, half / np.linalg.norm(half)), 1e-3, 1) ** power
    return strength * lobe * open_key


def strands(along: np.ndarray, light: Light) -> np.ndarray:
    """(N,) highlight of hair in direction `along`."""
    half = light.key + VIEW
    t = dot(along, half / np.linalg.norm(half))
    return 0.06 * np.clip(1 - t * t, 0, 1) ** 16


def display(linear: np.ndarray, size: int) -> np.ndarray:
    """Supersampled linear light -> (size, size, 3) uint8 sRGB."""
    small = cv2.resize(linear, (size, size), interpolation=cv2.INTER_AREA)
    soft = small / (1 + 0.18 * small) * 1.12  # compresses highlights instead of clipping them
    return (np.clip(1.055 * np.maximum(soft, 1e-4) ** (1 / 2.4) - 0.055, 0, 1) * 255 + 0.5).astype(np.uint8)
