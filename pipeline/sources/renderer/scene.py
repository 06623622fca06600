"""Renders one person: builds everything that stays constant, then renders frame by frame."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from pipeline.sources.renderer import look as looks
from pipeline.sources.renderer import mesh, motion, people, raster, setting, shade, skin, wear
from pipeline.sources.renderer.layout import Layout, follow, landmark_ids, layout
from pipeline.sources.renderer.motion import Motion
from pipeline.sources.renderer.vectors import normals, rotate, rotation
from pipeline.sources.renderer.wear import Piece

PIVOT = np.array([0, 6.25, 0.25], np.float32)  # centre of the head's rotation
DISTANCE, SPAN = 13.0, 3.5  # distance of the camera; width of the image at the face; mesh units
CENTRE = np.array([0, 7.16, 1.0], np.float32)
SKIN_WRAP = np.array([0.42, 0.26, 0.2])


@dataclass(frozen=True)
class Actor:
    """A person ready to render: shape (V, 3), hair and glasses, texture without clothes."""

    person: people.Person
    shape: np.ndarray
    pieces: list[Piece]
    atlas: np.ndarray


def build(rng: np.random.Generator) -> Actor:
    """Samples a person from `rng` and builds the geometry and texture."""
    head, fixed, ids = mesh.load(), layout(), landmark_ids()
    person = people.person(rng, ids)
    look = looks.look(person, rng)
    shape = person.shape.copy()
    normal = normals(shape, head.tris, *fixed.around).astype(np.float32)
    if look.beard in ("full", "goatee"):
        grown = skin.beard_mask(skin.azimuth(head.rest), head.rest[:, 1], look.beard) * (fixed.part_of == mesh.SKIN)
        grown[head.lips] = 0
        shape += normal * (0.045 * grown)[:, None].astype(np.float32)
    points = head.rest[ids]
    flat = np.stack([skin.azimuth(points), points[:, 1]], 1)
    atlas = skin.paint(person, look, flat, rng)
    pieces = wear.hair(person, look, shape, normal, rng)
    if person.glasses:
        pieces += wear.glasses(look, shape, ids)
        skin.set_swatch(atlas, mesh.GLASSES, skin.linear(np.array(look.frame)))
    return Actor(person, shape, pieces, atlas)


class Shot:
    """An actor with the clothes, light and background of one video."""

    def __init__(self, actor: Actor, rng: np.random.Generator, size: int, supersample: int):
        head, fixed = mesh.load(), layout()
        self.actor, self.size, self.big = actor, size, size * supersample
        clothes = setting.clothes(rng)
        self.light = setting.light(rng, actor.person.dark)
        self.atlas = actor.atlas.copy()
        setting.dress(self.atlas, clothes, rng)
        self.backdrop = cv2.resize(setting.background(rng, size), (self.big, self.big), interpolation=cv2.INTER_LINEAR)
        self.zoom, self.offset = float(rng.normal(1, 0.025)), rng.normal(0, 0.06, 2)
        self.shape = actor.shape.copy()
        normal = normals(self.shape, head.tris, *fixed.around)
        chest = np.clip(setting.covered(head.rest[:, 0], head.rest[:, 1], clothes) * 8, 0, 1) * (head.rest[:, 1] < 6.1)
        self.shape += (normal * (0.06 * chest)[:, None]).astype(np.float32)
        pieces = list(actor.pieces)
        roll = {"turtle": (6.0, 0.25, 0.11), "hoodie": (6.0, 0.55, 0.13)}.get(clothes.cut)
        if roll:
            pieces.append(wear.collar(actor.shape, head.rest, *roll))
        self._join(head, fixed, pieces)

    def _join(self, head: mesh.Mesh, fixed: Layout, pieces: list[Piece]) -> None:
        """Joins the head and its pieces into one list of vertices and triangles."""
        counts = np.cumsum([len(self.shape)] + [len(p.xyz) for p in pieces])
        self.tris = np.concatenate([head.tris] + [p.tris + n for p, n in zip(pieces, counts)])
        self.part = np.concatenate([head.part] + [np.full(len(p.tris), p.part) for p in pieces])
        self.uv = np.concatenate([fixed.uv] + [p.uv[p.tris] for p in pieces]).astype(np.float32)
        empty = np.zeros((0, 3), np.float32)
        self.extra = np.concatenate([empty] + [p.xyz for p in pieces])
        self.extra_normal = np.concatenate([empty] + [p.normal for p in pieces])
        self.extra_along = np.concatenate([empty] + [p.along for p in pieces])
        height = np.concatenate([np.zeros(0)] + [p.y for p in pieces])
        self.follow = np.concatenate([fixed.follow, follow(height, np.zeros(len(height)))])
        part_of = np.concatenate([np.zeros(0, int)] + [np.full(len(p.xyz), p.part) for p in pieces]).astype(int)
        self.part_of = np.concatenate([fixed.part_of, part_of])
        gloss = np.array([shade.GLOSS.get(p, (0, 1)) for p in range(10)], np.float32)[self.part_of]
        self.strength, self.power = gloss[:, 0], gloss[:, 1]
        self.hairy = np.linalg.norm(self.extra_along, axis=1) > 0.5
        # hair inside other hair gets less light, depending on its depth below the outermost
        reach = np.linalg.norm((self.extra - np.array([0, 7.3, 0.45], np.float32)) * np.array([1, 0.8, 1], np.float32), axis=1)
        shaded = np.clip(0.55 + (reach - 0.75) * 1.2, 0.45, 1).astype(np.float32)
        self.ambient = np.concatenate([shade.open_sky(fixed.part_of), np.where(self.hairy, shaded, 0.9)]).astype(np.float32)
        self.twosided = np.isin(self.part, (mesh.LASH, mesh.HAIR, mesh.GLASSES, mesh.CLOTH))

    def draw(self, move: Motion, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Renders frame k: (size, size, 3) uint8 RGB and (68, 2) float32 landmarks; centre of the top-left pixel = (0, 0)."""
        xyz, normal, turn = self.pose(move, k)
        screen = self.project(xyz, move, k)
        hits = self.hits(screen)
        light, gleam = self._light(normal, turn)
        image = self._shade(hits, light, gleam, screen)
        scale = self.size / self.big
        return shade.display(image, self.size), (self._points(screen, turn) * scale - 0.5).astype(np.float32)

    def pose(self, move: Motion, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Positions and normals of all vertices after expression, gaze and head rotation, and the rotation (3, 3)."""
        head, fixed = mesh.load(), layout()
        xyz = self.shape.copy()
        for name, weight in self._weights(move, k).items():
            if weight > 1e-3:
                xyz += np.float32(weight) * fixed.units[fixed.names.index(name)]
        for name in ("helper-r-eye", "helper-l-eye"):
            group = head.groups[name]
            middle = self.shape[group].mean(0)
            ball = rotate(self.shape[group] - middle, rotation(move.gaze[k, 0], -move.gaze[k, 1], 0))
            xyz[group] = middle + ball - np.array([0, 0, 0.008], np.float32)
        normal = normals(xyz, head.tris, *fixed.around)
        turn = rotation(*move.angles[k])
        xyz, normal = np.concatenate([xyz, self.extra]), np.concatenate([normal, self.extra_normal])
        w = self.follow[:, None]
        posed = xyz + w * (rotate(xyz - PIVOT, turn) + PIVOT - xyz)
        return posed, normal + w * (rotate(normal, turn) - normal), turn

    def _weights(self, move: Motion, k: int) -> dict[str, float]:
        out: dict[str, float] = {}
        for name, target in motion.BOTH.items():
            for side in ("Left", "Right"):
                out[target + side] = float(move.face[name][k])
        for name, target in motion.ONE.items():
            out[target] = float(move.face[name][k])
        up = float(move.gaze[k, 1]) / 0.4
        for side, lid in (("Right", self.actor.person.lid[0]), ("Left", self.actor.person.lid[1])):
            shut = float(move.blink[k])
            out[f"eyeBlink{side}"] = shut * lid * 1.04
            out[f"eyeSquint{side}"] *= 1 - shut
            out[f"eyeWide{side}"] *= 1 - shut
            out[f"eyeLookUp{side}"], out[f"eyeLookDown{side}"] = max(up, 0) * (1 - shut), max(-up, 0) * (1 - shut)
        return out

    def project(self, xyz: np.ndarray, move: Motion, k: int) -> np.ndarray:
        """(V, 3): x and y in pixels of the supersampled image, and depth."""
        p = xyz - CENTRE
        scale = self.big / SPAN * self.zoom * move.zoom[k] * DISTANCE / (DISTANCE - p[:, 2])
        x, y = self.offset + move.shift[k]
        across, down = (p[:, 0] + x) * scale + self.big / 2, self.big / 2 - (p[:, 1] + y) * scale
        return np.stack([across, down, -p[:, 2]], 1).astype(np.float32)

    def _inside(self, ring: np.ndarray, grow: int) -> np.ndarray:
        mask = np.zeros((self.big, self.big), np.uint8)
        cv2.fillPoly(mask, [np.round((ring[:, :2] - 0.5) * 16).astype(np.int32)], 1, cv2.LINE_8, 4)
        box = np.ones((3, 3), np.uint8)
        return (cv2.dilate(mask, box) if grow > 0 else cv2.erode(mask, box)) > 0

    def hits(self, screen: np.ndarray) -> raster.Hits:
        """Visible surfaces. Teeth and tongue are clipped to the lips, eyeballs to the lids, for every face shape."""
        head = mesh.load()
        mouth = self._inside(screen[head.lips], -1)
        eyes = self._inside(screen[head.lids[0]], 1) | self._inside(screen[head.lids[1]], 1)
        return raster.rasterise(screen, self.tris, self.big, twosided=self.twosided, part=self.part,
                                within={mesh.TEETH: mouth, mesh.TONGUE: mouth, mesh.EYE: eyes})

    def _light(self, normal: np.ndarray, turn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        n = len(self.shape)
        back = turn.T
        still, turned = (shade.shadow(m, d, self.part_of[:n]) for m, d in (
            (normal[:n], self.light.key), (rotate(normal[:n], back), rotate(self.light.key[None], back)[0])))
        w = self.follow[:n]
        arrives = np.concatenate([still + w * (turned - still), self.ambient[n:]])
        eyes = self.part_of == mesh.EYE
        light = shade.lit(normal, self.ambient, arrives, self.light, np.array([0.35, 0.25, 0.22]))
        light[eyes] *= np.clip(0.95 - 0.45 * normal[eyes, 1:2], 0.4, 1)
        gleam = shade.shine(normal, arrives, self.light, self.strength, self.power)
        along = rotate(self.extra_along[self.hairy], turn)
        gleam[n:][self.hairy] = shade.strands(along, self.light) * arrives[n:][self.hairy]
        return light.astype(np.float32), gleam.astype(np.float32)

    def _shade(self, hits: raster.Hits, light: np.ndarray, gleam: np.ndarray, screen: np.ndarray) -> np.ndarray:
        image = self.backdrop.copy()
        corners = self.tris[hits.triangle]
        b = hits.bary
        uv = sum(self.uv[hits.triangle, c] * b[:, c, None] for c in range(3))
        both = np.concatenate([light, gleam[:, None]], 1)
        shading = sum(both[corners[:, c]] * b[:, c, None] for c in range(3))
        albedo = sample(self.atlas, uv)
        colour = albedo * shading[:, :3] + shading[:, 3:] * self.light.key_colour.astype(np.float32)
        self._catchlight(colour, hits, screen)
        image.reshape(-1, 3)[hits.pixel] = colour
        return image

    def _catchlight(self, colour: np.ndarray, hits: raster.Hits, screen: np.ndarray) -> None:
        """Adds the reflection of the key light on the eyes, in place."""
        eye = np.flatnonzero(self.part[hits.triangle] == mesh.EYE)
        half = self.light.key + shade.VIEW
        half = half / np.linalg.norm(half)
        y, x = np.divmod(hits.pixel[eye], self.big)
        for name in ("helper-r-eye", "helper-l-eye"):
            ball = screen[mesh.load().groups[name]]
            middle, radius = ball[:, :2].mean(0), np.ptp(ball[:, 1]) / 2 + 1e-6
            u, v = (x + 0.5 - middle[0]) / radius, -(y + 0.5 - middle[1]) / radius
            r2 = u * u + v * v
            spot = np.clip(u * half[0] + v * half[1] + np.sqrt(np.clip(1 - r2, 0, 1)) * half[2], 0, 1) ** 220 * (r2 < 1)
            colour[eye] += (0.9 * spot)[:, None].astype(np.float32) * self.light.key_colour.astype(np.float32)

    def _points(self, screen: np.ndarray, turn: np.ndarray) -> np.ndarray:
        """Landmarks (68, 2). Jaw points lie on the visible outline, so that they do not move onto the cheek in profile."""
        points = screen[landmark_ids(), :2].copy()
        roll = np.arctan2(turn[1, 0], turn[0, 0])
        for k, (near, outward) in enumerate(layout().jaw):
            d = np.array([outward[0] * np.cos(roll) - outward[1] * np.sin(roll),
                          -(outward[0] * np.sin(roll) + outward[1] * np.cos(roll))])
            reach = screen[near, 0] * d[0] + screen[near, 1] * d[1]
            weight = np.exp((reach - reach.max()) / (0.02 * self.big / SPAN))
            points[k] = (screen[near, :2] * weight[:, None]).sum(0) / weight.sum()
        return points


def sample(atlas: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Bilinear interpolation of the atlas at (n, 2) pixels -> (n, 3)."""
    # remap is limited to a width of 32767, so the list is folded
    rows = -(-len(uv) // 4096) or 1
    flat = np.zeros((rows * 4096, 2), np.float32)
    flat[: len(uv)] = uv
    u, v = flat.reshape(rows, 4096, 2).transpose(2, 0, 1).copy()
    out = cv2.remap(atlas, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return out.reshape(-1, 3)[: len(uv)]
