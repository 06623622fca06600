"""Random setting of a video: clothes, background, light and exposure."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from pipeline.sources.renderer import mesh, skin

CUTS = ("crew", "vneck", "shirt", "turtle", "suit", "hoodie")


@dataclass(frozen=True)
class Light:
    """Lights of a video: directions (3,) are unit vectors towards the light, colours (3,) linear."""

    key: np.ndarray
    key_colour: np.ndarray
    fill: np.ndarray
    fill_colour: np.ndarray
    sky: np.ndarray
    ground: np.ndarray


def light(rng: np.random.Generator, dark: float) -> Light:
    """Samples the lights of one video; `dark` is the darkness of the skin, 0..1, for the exposure."""
    side, high = rng.choice([-1, 1]) * np.radians(rng.uniform(10, 65)), np.radians(rng.uniform(10, 50))
    warm = rng.normal(0, 0.10)
    key = np.array([1 + warm, 1, 1 - 1.3 * warm]) * rng.uniform(1.0, 1.7)
    cool = rng.normal(0, 0.15)
    exposure = rng.uniform(0.75, 1.1) * (0.88 + 0.6 * dark)
    fill = np.array([1 - cool, 1, 1 + cool]) * rng.uniform(0.1, 0.45)
    sky = np.array([1 + rng.normal(0, 0.06), 1, 1 + rng.normal(0, 0.08)]) * rng.uniform(0.25, 0.5)
    return Light(_direction(side, high), key * exposure, _direction(-side * rng.uniform(0.6, 1.4), 0.1), fill * exposure,
                 sky * exposure, sky * exposure * rng.uniform(0.35, 0.65))


def _direction(side: float, high: float) -> np.ndarray:
    return np.array([np.sin(side) * np.cos(high), np.sin(high), np.cos(side) * np.cos(high)])


@dataclass(frozen=True)
class Clothes:
    """Clothes of a video. colours: three, sRGB; pitch of the pattern and shift of the neckline in mesh units."""

    cut: str
    colours: list[np.ndarray]
    pattern: str
    pitch: float
    neck: float


def clothes(rng: np.random.Generator) -> Clothes:
    """Samples cut, colours and pattern of the clothes of one video."""
    cut = str(rng.choice(CUTS, p=[0.3, 0.16, 0.18, 0.1, 0.16, 0.1]))
    colours = [_colour(rng) for _ in range(3)]
    if cut == "suit":
        colours[0] = np.clip(colours[0] * 0.35, 0.03, 0.3)
        colours[1] = np.clip(rng.uniform(0.75, 0.95) * np.ones(3) + rng.normal(0, 0.06, 3), 0, 1)
    pattern = str(rng.choice(["plain", "hoops", "stripes", "checks", "block"], p=[0.45, 0.2, 0.12, 0.13, 0.1]))
    return Clothes(cut, colours, pattern, float(rng.uniform(0.12, 0.4)), float(rng.uniform(-0.08, 0.06)))


def _colour(rng: np.random.Generator) -> np.ndarray:
    hsv = np.array([[[rng.uniform(0, 180), rng.uniform(0, 1) ** 1.2 * 210, rng.uniform(30, 235)]]]).astype(np.uint8)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0].astype(np.float32) / 255


def covered(x: np.ndarray, y: np.ndarray, wear: Clothes) -> np.ndarray:
    """Distance of chest positions x, y on the base mesh from the neckline; positive: covered by clothes."""
    a = np.abs(x)
    edge = {"crew": 5.42 + 0.42 * np.minimum(a / 0.55, 1.3) ** 2, "vneck": 4.95 + 1.35 * np.minimum(a, 0.75),
            "shirt": 5.2 + 1.2 * np.minimum(a, 0.6), "turtle": 5.95 + 0 * a, "suit": 5.5 + 0.8 * np.minimum(a, 0.5),
            "hoodie": 5.45 + 0.55 * np.minimum(a / 0.55, 1.2) ** 2}[wear.cut]
    return edge + wear.neck - y


def dress(atlas: np.ndarray, wear: Clothes, rng: np.random.Generator) -> None:
    """Paints the clothes on the chest of a person's atlas, in place."""
    top, bottom = skin.BODY_ROW, skin.EXTRA_ROW - 2
    v, u = np.mgrid[top:bottom, 0 : skin.WIDTH].astype(np.float32)
    x, y = u / skin.BODY_SCALE[0] - 2.6, skin.BODY_TOP - (v - top) / skin.BODY_SCALE[1]
    main, second, third = wear.colours
    wave = {"plain": 0 * x, "hoops": np.sin(2 * np.pi * y / wear.pitch) > 0,
            "stripes": np.sin(2 * np.pi * x / wear.pitch) > 0.4,
            "checks": 0.5 * (np.sin(2 * np.pi * x / wear.pitch) > 0) + 0.5 * (np.sin(2 * np.pi * y / wear.pitch) > 0),
            "block": y < 5.25}[wear.pattern if wear.cut != "suit" else "plain"]
    image = np.empty((*x.shape, 3), np.float32)
    image[:] = main
    skin.blend(image, np.asarray(wave, np.float32), second)
    if wear.cut == "suit":  # a shirt between the lapels, a tie on the shirt
        skin.blend(image, np.clip((0.42 - np.abs(x) - 0.32 * (5.6 - y)) * 40, 0, 1), second)
        skin.blend(image, np.clip((0.09 - np.abs(x)) * 40, 0, 1) * (y < 5.45), third)
        skin.blend(image, 0.6 * np.clip(1 - np.abs(0.42 - np.abs(x) - 0.32 * (5.6 - y)) * 40, 0, 1), main * 0.3)
    image *= 1 + np.float32(0.05) * skin.noise(rng, x.shape, 30)[..., None]
    mask = np.clip(covered(x, y, wear) * 40 + 0.5, 0, 1)
    skin.blend(atlas[top:bottom], mask, skin.linear(np.clip(image, 0.01, 1)))
    skin.set_swatch(atlas, mesh.CLOTH, skin.linear(np.clip((second if wear.cut == "suit" else main) * 0.92, 0.01, 1)))


def background(rng: np.random.Generator, size: int) -> np.ndarray:
    """A random background (size, size, 3) in linear light: wall, corner, shelves, bokeh, window or blur."""
    base, other = _colour(rng), _colour(rng)
    v, u = np.mgrid[0:size, 0:size].astype(np.float32) / size
    kind = str(rng.choice(["wall", "corner", "shelves", "bokeh", "window", "blur"]))
    image: np.ndarray = np.empty((size, size, 3), np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    image[:] = base * (0.85 + 0.35 * (u * np.cos(angle) + v * np.sin(angle)))[..., None]
    if kind == "corner":
        skin.blend(image, np.clip((u - rng.uniform(0.15, 0.85)) * 60, 0, 1), other)
    elif kind == "shelves":
        for top in np.arange(rng.uniform(0, 0.2), 1, rng.uniform(0.2, 0.32)):
            along = 0.0
            while along < 1:
                wide, tall = rng.uniform(0.03, 0.09), rng.uniform(0.6, 1) * 0.2
                up, down, left, right = (int(c * size) for c in (max(top + 0.2 - tall, 0), top + 0.2, along, along + wide))
                image[up:down, left:right] = _colour(rng)
                along += wide + (0.15 if rng.random() < 0.12 else 0.004)
        image = cv2.GaussianBlur(image, (0, 0), size * rng.uniform(0.006, 0.02))
    elif kind == "bokeh":
        image *= 0.4
        for _ in range(int(rng.integers(10, 30))):
            spot = np.hypot(u - rng.random(), v - rng.random()) < rng.uniform(0.02, 0.09)
            image += spot[..., None] * _colour(rng) * rng.uniform(0.2, 0.6)
        image = cv2.GaussianBlur(image, (0, 0), size * 0.01)
    elif kind == "window":
        x, y = np.abs(u - rng.uniform(0.15, 0.75)), np.abs(v - rng.uniform(0.2, 0.6))
        pane = (x < 0.25) & (y < 0.3) & (x > 0.015)
        skin.blend(image, pane.astype(np.float32), np.array([0.85, 0.92, 1.0]))
        image = cv2.GaussianBlur(image, (0, 0), size * 0.012)
    elif kind == "blur":
        cell = size / rng.uniform(3, 7)
        image += 0.12 * np.stack([skin.noise(rng, (size, size), cell) for _ in range(3)], -1)
    return skin.linear(np.clip(image, 0.01, 1)) * np.float32(rng.uniform(0.5, 1.1))
