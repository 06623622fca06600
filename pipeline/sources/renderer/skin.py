"""The texture atlas: skin unrolled around the vertical axis, chest projected from the front, hair, iris, teeth, plain colours.

All faces share one texture map on the base mesh: a feature is painted at its position on the base mesh and follows each
person's shape. Painting is in sRGB, the result in linear light.
"""

from __future__ import annotations

import cv2
import numpy as np

from pipeline.sources.renderer import mesh
from pipeline.sources.renderer.look import Look
from pipeline.sources.renderer.people import Person

WIDTH, HEIGHT = 768, 724
PER_RADIAN, PER_UNIT, TOP = 110.0, 125.0, 8.58  # the skin, rows 0..447
BODY_ROW, BODY_TOP, BODY_SCALE = 448, 6.35, (140.0, 110.0)  # the chest, rows 448..623
EXTRA_ROW = 628
HAIR_BOX, IRIS_BOX, TEETH_BOX = (0, EXTRA_ROW, 512, 96), (520, EXTRA_ROW, 96, 96), (620, EXTRA_ROW, 64, 96)
SWATCH = {mesh.SOCKET: 0, mesh.MOUTH: 1, mesh.TONGUE: 2, mesh.LASH: 3, mesh.GLASSES: 4, mesh.CLOTH: 5}
HAIRLINE_AZ = np.array([0, 0.45, 0.75, 0.95, 1.06, 1.2, 1.27, 1.62, 1.75, 2.2, 3.2])
HAIRLINE_Y = np.array([8.08, 8.05, 7.93, 7.62, 7.25, 7.02, 7.45, 7.42, 6.95, 6.5, 6.4])


def azimuth(xyz: np.ndarray) -> np.ndarray:
    """Angle around the head's vertical axis, radians, 0 in front: (…, 3) -> (…,)."""
    return np.arctan2(xyz[..., 0], xyz[..., 2] - mesh.AXIS_Z)


def skin_uv(az: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Texel of the skin for azimuth (radians) and height (mesh units): (…, 2)."""
    return np.stack([(az + np.pi) * PER_RADIAN + 8, (TOP - y) * PER_UNIT], -1).astype(np.float32)


def body_uv(xyz: np.ndarray) -> np.ndarray:
    """Texel of shoulders and clothes for mesh points (…, 3): (…, 2)."""
    u, v = (xyz[..., 0] + 2.6) * BODY_SCALE[0], BODY_ROW + (BODY_TOP - xyz[..., 1]) * BODY_SCALE[1]
    return np.stack([u, np.clip(v, BODY_ROW + 1, EXTRA_ROW - 5)], -1).astype(np.float32)


def swatch_uv(part: int) -> np.ndarray:
    """Texel at the centre of a part's plain colour: (2,)."""
    return np.array([690 + 10 * SWATCH[part] + 4, EXTRA_ROW + 4], np.float32)


def hairline(az: np.ndarray, front: float, recede: float) -> np.ndarray:
    """Height of the hairline at an azimuth. front: shift along the whole forehead; recede: shift of the corners."""
    y = HAIRLINE_Y.copy()
    y[:3] += front + recede * np.array([0.6, 0.9, 1.3])
    y[3] += recede * 0.8
    return np.interp(np.abs(az), HAIRLINE_AZ, y)


def linear(srgb: np.ndarray) -> np.ndarray:
    """sRGB in [0, 1] -> linear light in [0, 1]."""
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4).astype(np.float32)


def noise(rng: np.random.Generator, size: tuple[int, ...], cell: float, stretch: float = 1) -> np.ndarray:
    """Smooth noise of about unit variance with spots of `cell` pixels, `stretch` times as tall."""
    height, width = size[:2]
    shape = max(2, round(height / cell / stretch)), max(2, round(width / cell))
    return cv2.resize(rng.standard_normal(shape, np.float32), (width, height), interpolation=cv2.INTER_CUBIC)


def blend(image: np.ndarray, mask: np.ndarray, colour: np.ndarray) -> None:
    """Mixes `colour` into `image` (h, w, 3) in place by `mask` (h, w) in [0, 1]."""
    image += mask[..., None] * (np.asarray(colour, np.float32) - image)


class Brush:
    """Masks on the skin texture, in azimuth and height on the base mesh."""

    def __init__(self, skin: np.ndarray, seed: np.random.Generator):
        self.skin, self.rng = skin, seed
        self.height, self.width = skin.shape[:2]

    def lines(self, paths: list[np.ndarray], thickness: float, soft: float) -> np.ndarray:
        mask = np.zeros((self.height, self.width), np.uint8)
        for path in paths:
            points = np.round(skin_uv(path[:, 0], path[:, 1]) * 16).astype(np.int32)
            cv2.polylines(mask, [points], False, 255, max(1, round(thickness * PER_UNIT)), cv2.LINE_AA, 4)
        return self._soft(mask, soft)

    def area(self, outline: np.ndarray, soft: float) -> np.ndarray:
        mask = np.zeros((self.height, self.width), np.uint8)
        cv2.fillPoly(mask, [np.round(skin_uv(outline[:, 0], outline[:, 1]) * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
        return self._soft(mask, soft)

    def spot(self, az: float, y: float, wide: float, tall: float) -> np.ndarray:
        u, v = skin_uv(np.array(az), np.array(y))
        x = (np.arange(self.width, dtype=np.float32) - u) / np.float32(wide * PER_RADIAN)
        z = (np.arange(self.height, dtype=np.float32) - v) / np.float32(tall * PER_UNIT)
        return np.exp(-0.5 * z**2)[:, None] * np.exp(-0.5 * x**2)[None]

    def _soft(self, mask: np.ndarray, soft: float) -> np.ndarray:
        out = mask.astype(np.float32) / 255
        return cv2.GaussianBlur(out, (0, 0), soft * PER_UNIT) if soft else out


def paint(person: Person, look: Look, points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The atlas of a person, (HEIGHT, WIDTH, 3) in linear light. points (68, 2): azimuth and height of the landmarks."""
    atlas = np.empty((HEIGHT, WIDTH, 3), np.float32)
    atlas[:] = person.skin
    skin = atlas[:BODY_ROW]
    brush = Brush(skin, rng)
    skin *= 1 + 0.022 * noise(rng, skin.shape, 40)[..., None] + 0.018 * noise(rng, skin.shape, 4)[..., None]
    _complexion(brush, person, look)
    _wrinkles(brush, person)
    _lips(brush, look, points)
    _marks(brush, person, look)
    _beard(brush, look, points)
    _brows(brush, look, points)
    for eye in (points[36:40], points[42:46]):
        blend(skin, 0.5 * brush.lines([eye + np.array([0, 0.008])], 0.014, 0.005), person.skin * 0.25)
        if look.liner:
            blend(skin, 0.75 * brush.lines([eye + np.array([0, 0.012])], 0.02, 0.006), person.skin * 0.15)
            blend(skin, look.liner * 0.4 * brush.lines([eye + np.array([0, 0.06])], 0.07, 0.03), look.shadow)
    if look.style != "bald" or person.age > 0.2:
        _scalp(brush, person, look)
    _rest(atlas, person, rng)
    return linear(np.clip(atlas, 0.005, 1))


def _complexion(brush: Brush, person: Person, look: Look) -> None:
    red = person.skin * [1.0, 0.72, 0.7]
    for az, y, w, h, a in ((-0.5, 6.98, 0.2, 0.13, 0.5), (0.5, 6.98, 0.2, 0.13, 0.5), (0, 6.93, 0.1, 0.09, 0.45),
                           (-1.3, 7.1, 0.25, 0.3, 0.35), (1.3, 7.1, 0.25, 0.3, 0.35), (0, 6.3, 0.15, 0.08, 0.2)):
        blend(brush.skin, look.blush * a * brush.spot(az, y, w, h), red)
    for az in (-0.3, 0.3):
        blend(brush.skin, look.tired * brush.spot(az, 7.14, 0.12, 0.05), person.skin * [0.66, 0.55, 0.58])
        blend(brush.skin, 0.3 * brush.spot(az, 7.36, 0.14, 0.035), person.skin * [0.72, 0.6, 0.58])


def _wrinkles(brush: Brush, person: Person) -> None:
    depth, dark = max(person.age - 0.25, 0) * 0.9, person.skin * [0.62, 0.5, 0.46]
    for side in (-1, 1):
        fold = np.array([[0.13, 6.9], [0.22, 6.8], [0.3, 6.66], [0.33, 6.52]]) * [side, 1]
        blend(brush.skin, (0.15 + 0.55 * depth) * brush.lines([fold], 0.02, 0.022), dark)
        feet = [np.array([[0.47, 7.28], [0.6, 7.28 + d]]) * [side, 1] for d in (0.07, 0.0, -0.07)]
        blend(brush.skin, 0.6 * depth * brush.lines(feet, 0.01, 0.01), dark)
    rows = [np.array([[x, y + 0.02 * np.cos(3 * x)] for x in np.linspace(-0.5, 0.5, 9)]) for y in (7.68, 7.78, 7.89)]
    blend(brush.skin, 0.55 * depth * brush.lines(rows, 0.012, 0.012), dark)


def _lips(brush: Brush, look: Look, points: np.ndarray) -> None:
    blend(brush.skin, look.lip_strength * brush.area(points[48:60], 0.015), look.lip)
    line = np.concatenate([points[48:49], points[60:65], points[54:55]])
    blend(brush.skin, 0.7 * brush.lines([line], 0.012, 0.008), np.asarray(look.lip) * 0.4)


def _marks(brush: Brush, person: Person, look: Look) -> None:
    rng = brush.rng
    dots = np.zeros(brush.skin.shape[:2], np.uint8)
    for az, y in zip(rng.normal(0, 0.42, look.freckles), rng.normal(7.03, 0.16, look.freckles)):
        cv2.circle(dots, tuple(int(c) for c in skin_uv(np.array(az), np.array(y))), 1, int(rng.integers(60, 200)), -1)
    blend(brush.skin, cv2.GaussianBlur(dots, (0, 0), 0.8).astype(np.float32) / 255, person.skin * [0.68, 0.5, 0.4])
    for _ in range(look.moles):
        at = skin_uv(np.array(rng.uniform(-0.75, 0.75)), np.array(rng.uniform(6.4, 7.95)))
        mole = np.zeros_like(dots)
        cv2.circle(mole, tuple(int(c) for c in at), int(rng.integers(1, 3)), 255, -1, cv2.LINE_AA)
        blend(brush.skin, mole.astype(np.float32) / 255, person.skin * 0.35)


def beard_mask(az: np.ndarray, y: np.ndarray, kind: str) -> np.ndarray:
    """Density 0..1 of a beard of this kind at positions on the base mesh."""
    a, step = np.abs(az), lambda v: np.clip(v, 0, 1)
    upper = np.interp(a, [0, 0.16, 0.3, 0.45, 0.8, 1.05, 1.2], [6.5, 6.52, 6.6, 6.6, 6.72, 7.1, 7.1])
    chin = step((upper - y) / 0.06) * step((y - 6.0) / 0.12) * step((1.22 - a) / 0.1)
    lip = step((6.82 - y - 0.25 * a) / 0.03) * step((y - 6.69 + 0.35 * a) / 0.03) * step((0.33 - a) / 0.05)
    corner = step((0.37 - a) / 0.05) * step((a - 0.25) / 0.03) * step((6.72 - y) / 0.04) * step((y - 6.4) / 0.05)
    goatee = np.maximum.reduce([chin * step((0.36 - a) / 0.06), lip, corner])
    return {"none": 0 * a, "stubble": np.maximum(chin, lip), "full": np.maximum.reduce([chin, lip, corner]),
            "moustache": lip, "goatee": goatee}[kind]


def _beard(brush: Brush, look: Look, points: np.ndarray) -> None:
    if look.beard == "none":
        return
    v, u = np.mgrid[0 : brush.height, 0 : brush.width].astype(np.float32)
    mask = beard_mask((u - 8) / PER_RADIAN - np.pi, TOP - v / PER_UNIT, look.beard)
    mask = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 2)
    mask *= 1 - brush.area(points[48:60], 0.01)
    grain = np.clip(1 + 0.3 * noise(brush.rng, brush.skin.shape, 1.6, 3), 0.2, 1.3)
    strength = 0.45 if look.beard == "stubble" else 0.93
    blend(brush.skin, np.clip(strength * mask * grain, 0, 0.97), look.beard_colour)


def _brows(brush: Brush, look: Look, points: np.ndarray) -> None:
    rng = brush.rng
    hairs, body, thick = [], [], look.brow_thick
    for brow, side in ((points[17:22][::-1], -1), (points[22:27], 1)):
        brow = brow + np.array([0, look.brow_up])
        brow[:, 1] += look.brow_arch * np.array([-0.3, 0.3, 1, 0.5, -0.8]) * 0.05
        at = np.sort(rng.uniform(0, 1, 70))
        x = np.interp(at, np.linspace(0, 1, 5), brow[:, 0])
        y = np.interp(at, np.linspace(0, 1, 5), brow[:, 1])
        taper = np.interp(at, [0, 0.2, 0.6, 1], [0.8, 1, 0.8, 0.25])
        y = y + rng.uniform(-0.5, 0.5, 70) * thick * taper
        tilt = np.stack([side * (0.02 + 0.05 * at), 0.05 * (1 - 1.4 * at)], 1)
        hairs += [np.array([p, p + d]) for p, d in zip(np.stack([x, y], 1), tilt)]
        edge = np.interp(np.linspace(0, 1, 5), [0, 0.2, 0.6, 1], [0.7, 1, 0.8, 0.15])[:, None] * [0, thick / 2]
        body.append(np.concatenate([brow + edge, (brow - 0.6 * edge)[::-1]]))
    # the skin below this line is the fold of the upper lid, which a blink unfolds
    height = TOP - np.arange(brush.height, dtype=np.float32)[:, None] / PER_UNIT
    above = np.clip((height - 7.385) / 0.02, 0, 1) * look.brow_strength
    for outline in body:
        blend(brush.skin, above * brush.area(outline, 0.014), look.brow_colour)
    blend(brush.skin, 0.6 * above * brush.lines(hairs, 0.008, 0), np.asarray(look.brow_colour) * 0.8)


def _scalp(brush: Brush, person: Person, look: Look) -> None:
    v, u = np.mgrid[0 : brush.height, 0 : brush.width].astype(np.float32)
    az, y = (u - 8) / PER_RADIAN - np.pi, TOP - v / PER_UNIT
    over = y - hairline(az, look.front, look.recede) + 0.03 * noise(brush.rng, brush.skin.shape, 5)
    if look.style == "bald":
        over = np.minimum(over, 7.6 - y) if look.crown else over - 0.02  # hair around a bald crown
    mask = np.clip(over / 0.07 + 0.3, 0, 1)
    strength = {"bald": 0.35, "buzz": 0.8}.get(look.style, 0.95)
    grain = np.clip(1 + 0.2 * noise(brush.rng, brush.skin.shape, 2, 4), 0.5, 1.3)
    blend(brush.skin, np.clip(strength * mask * grain, 0, 0.98).astype(np.float32), person.hair)


def _rest(atlas: np.ndarray, person: Person, rng: np.random.Generator) -> None:
    x, y, w, h = HAIR_BOX
    streaks = 1 + 0.16 * noise(rng, (h, w), 3, 30) + 0.1 * noise(rng, (h, w), 9, 12)
    atlas[y : y + h, x : x + w] = person.hair * np.clip(streaks, 0.4, 1.6)[..., None]
    x, y, w, h = IRIS_BOX
    atlas[y : y + h, x : x + w] = _iris(person, rng, w)
    x, y, w, h = TEETH_BOX
    atlas[y : y + h, x : x + w] = (0.9, 0.87, 0.79)
    for gap in range(6, w, 10):
        atlas[y : y + h, x + gap] *= 0.85
    for part, colour in ((mesh.SOCKET, person.skin * [0.6, 0.4, 0.38]), (mesh.MOUTH, [0.36, 0.13, 0.12]),
                         (mesh.TONGUE, [0.66, 0.32, 0.32]), (mesh.LASH, [0.08, 0.06, 0.05])):
        set_swatch(atlas, part, np.array(colour))


def set_swatch(atlas: np.ndarray, part: int, colour: np.ndarray) -> None:
    """Fills a part's plain colour in the atlas, in place."""
    u, v = swatch_uv(part)
    atlas[int(v) - 4 : int(v) + 5, int(u) - 4 : int(u) + 5] = colour


def _iris(person: Person, rng: np.random.Generator, size: int) -> np.ndarray:
    """Texture of an eyeball's front: the pupil at the centre, the edge at 1.15 eyeball radii."""
    v, u = np.mgrid[0:size, 0:size].astype(np.float32) / size * 2.3 - 1.15
    r, angle = np.hypot(u, v), np.arctan2(v, u)
    image = np.full((size, size, 3), (0.9, 0.87, 0.84), np.float32)
    image -= (np.clip(r - 0.55, 0, 0.6) * 0.5)[..., None] * [0.2, 0.5, 0.5]
    fibre = 1 + 0.18 * np.sin(angle * 23 + rng.uniform(0, 6)) * np.sin(angle * 9 + rng.uniform(0, 6))
    rim = np.clip((0.50 - r) / 0.05, 0, 1)
    shade = np.interp(r, [0.2, 0.33, 0.44, 0.5], [1.5, 1.15, 0.85, 0.35]) * fibre
    image += rim[..., None] * (np.clip(person.iris * shade[..., None], 0, 1) - image)
    image *= 1 - np.clip((0.21 - r) / 0.04, 0, 0.97)[..., None]
    return image
