"""Hair (a shell and locks), glasses and collar as triangles in the person's rest pose."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.sources.renderer import mesh, skin
from pipeline.sources.renderer.look import Look
from pipeline.sources.renderer.people import Person


@dataclass(frozen=True)
class Piece:
    """xyz, normal, along (N, 3): position, outward normal, direction of the hair (zero without hair); tris (M, 3); part;
    uv (N, 2) atlas pixels; y (N,): height on the base mesh, which determines how much it follows the head."""

    xyz: np.ndarray
    normal: np.ndarray
    along: np.ndarray
    tris: np.ndarray
    part: int
    uv: np.ndarray
    y: np.ndarray


# style: thickness of the shell, number of locks, their length, width, gravity, lift off the scalp, curl
STYLE = {
    "buzz": (0.02, 0, 0.0, 0.0, 0, 0, 0), "short": (0.07, 300, 0.3, 0.08, 0.1, 0.35, 0.1),
    "side": (0.10, 330, 0.55, 0.09, 0.12, 0.3, 0.08), "back": (0.09, 330, 0.6, 0.09, 0.1, 0.25, 0.05),
    "spiky": (0.07, 330, 0.34, 0.07, 0.0, 1.2, 0.15), "curly": (0.20, 520, 0.5, 0.08, 0.12, 0.8, 0.9),
    "bob": (0.10, 420, 1.2, 0.12, 0.8, 0.06, 0.03), "long": (0.10, 480, 2.1, 0.13, 0.8, 0.05, 0.04),
    "fringe": (0.10, 420, 1.4, 0.12, 0.8, 0.06, 0.03), "updo": (0.07, 300, 0.4, 0.09, 0.0, 0.1, 0.03),
}


def amount(rest: np.ndarray, look: Look) -> np.ndarray:
    """(V,) position of each vertex in the hair: 0 at its edge, 1 well inside."""
    edge = skin.hairline(skin.azimuth(rest), look.front, look.recede)
    inside = np.clip((rest[:, 1] - edge) / 0.22, 0, 1)
    ear = (np.abs(rest[:, 0]) > 0.745) & (rest[:, 1] < 7.45)
    return np.where(ear, 0, inside)


def hair(person: Person, look: Look, shape: np.ndarray, normal: np.ndarray, rng: np.random.Generator) -> list[Piece]:
    """Pieces of hair for the face at rest, shape and normal (V, 3); none for a bald person."""
    if look.style not in STYLE:
        return []
    head = mesh.load()
    thick, count, length, width, gravity, lift, curl = STYLE[look.style]
    inside = amount(head.rest, look)
    inside[np.unique(head.tris[head.part != mesh.SKIN])] = 0
    volume = thick * look.volume * (0.6 + 0.4 * np.clip(head.rest[:, 1] - 7.3, 0, 1))
    bumps = sum(np.sin(head.rest @ rng.normal(0, 7, 3).astype(np.float32) + rng.uniform(0, 6)) for _ in range(3)) / 3
    offset = inside**0.7 * volume * (1 + (0.25 + 0.35 * (curl > 0.5)) * bumps) + 0.012
    scalp = shape + normal * offset[:, None].astype(np.float32)
    flow = _flow(look, shape, normal)
    keep = (head.part == mesh.SKIN) & (inside[head.tris].min(1) > 0.01)
    pieces = [_shell(head, scalp, normal, flow, head.tris[keep])]
    if look.style == "updo":
        pieces.append(_bun(scalp, rng, look.volume))
    if count:
        locks = _locks(scalp, normal, flow, inside, look, count, length * look.length, width, gravity, lift, curl, rng)
        pieces.append(locks)
    return pieces


def _flow(look: Look, shape: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """(V, 3) unit direction of the hair along the scalp: from the parting to the sides, back, up or down."""
    away = np.sign(shape[:, 0] - look.parting)[:, None] * np.array([[1, 0, 0]], np.float32)
    style = look.style
    down, back = np.array([0, -1, 0], np.float32), np.array([0, 0, -1], np.float32)
    flow = {"back": back + 0.15 * down, "updo": back - 0.6 * down, "spiky": 0.1 * back - down,
            "short": 0.3 * back + 0.6 * down + 0.5 * away, "curly": down + away,
            "side": np.sign(look.parting + 0.01) * np.array([[-1, 0, 0]], np.float32) + 0.5 * down + 0.2 * back,
            }.get(style, 0.7 * away + 1.0 * down + 0.25 * back)
    flow = np.broadcast_to(flow, shape.shape)
    flow = flow - (flow * normal).sum(1, keepdims=True) * normal
    return (flow / (np.linalg.norm(flow, axis=1, keepdims=True) + 1e-6)).astype(np.float32)


def _shell(head: mesh.Mesh, scalp: np.ndarray, normal: np.ndarray, flow: np.ndarray, tris: np.ndarray) -> Piece:
    used, tris = np.unique(tris, return_inverse=True)
    rest = head.rest[used]
    x, y, w, h = skin.HAIR_BOX
    u = x + 20 + (skin.azimuth(rest) + np.pi) * 75
    v = y + 5 + (8.55 - rest[:, 1]) / 2.4 * (h - 10)
    return Piece(scalp[used], normal[used], flow[used], tris.reshape(-1, 3), mesh.HAIR,
                 np.stack([u.clip(x, x + w - 2), v.clip(y + 1, y + h - 2)], 1).astype(np.float32), rest[:, 1])


def _locks(scalp: np.ndarray, normal: np.ndarray, flow: np.ndarray, inside: np.ndarray, look: Look, count: int,
           length: float, width: float, gravity: float, lift: float, curl: float, rng: np.random.Generator) -> Piece:
    """Ribbons of hair that start on the shell, follow its flow, fall, and stay outside head and face."""
    steps = 5 if length < 0.8 else 8
    # no lock starts above the forehead, where it would fall into the face, unless the style combs it up or is short
    front = (scalp[:, 2] > 1.0) & (look.style in ("short", "side", "bob", "long", "updo"))
    root = rng.choice(np.flatnonzero((inside > 0.15) & ~front), count)
    at = scalp[root] + rng.normal(0, 0.03, (count, 3)).astype(np.float32) - 0.02 * normal[root]
    fringe = (look.style == "fringe") & (scalp[root, 2] > 0.75) & (np.abs(scalp[root, 0]) < 0.55)
    side = np.sign(at[:, :1]) * (np.abs(at[:, :1]) > 0.05)
    way = flow[root] + lift * normal[root] + rng.normal(0, 0.08 + 0.5 * curl, (count, 3)).astype(np.float32)
    way[fringe] = np.array([0, -0.35, 1], np.float32) + rng.normal(0, 0.1, (int(fringe.sum()), 3))
    span = length * rng.uniform(0.6, 1.15, count)
    span[fringe] = 0.42 * rng.uniform(0.8, 1.1)
    core, radii = np.array([0, 7.35, 0.5], np.float32), _radii(scalp, inside)
    path, tidy = np.empty((steps, count, 3), np.float32), np.ones(count, bool)
    for k in range(steps):
        path[k] = at
        way = way / (np.linalg.norm(way, axis=1, keepdims=True) + 1e-6)
        at = at + way * (span / (steps - 1))[:, None]
        away = (at - core) / radii
        far = np.linalg.norm(away, axis=1, keepdims=True)
        at = np.where(far < 1, core + away / np.maximum(far, 1e-3) * radii, at)
        face = (at[:, 2] > 0.75) & (at[:, 1] < 7.85) & (np.abs(at[:, 0]) < 0.68) & ~fringe
        tidy &= ~(face & (np.abs(at[:, 0]) < 0.6))  # would cross the face
        at[face, 0] = (np.where(side[face, 0] == 0, 1, side[face, 0])) * 0.70
        neck = (at[:, 1] < 6.6) & (np.abs(at[:, 0]) < 0.5) & (at[:, 2] > -0.3)
        at[neck, 2] = np.where(at[neck, 2] > 0.3, at[neck, 2], -0.35)
        way = way + np.array([0, -gravity, 0], np.float32) + curl * rng.normal(0, 0.7, (count, 3)).astype(np.float32)
    jump = np.linalg.norm(np.diff(path, axis=0), axis=2).max(0)  # was moved out of the face or the neck in one step
    tidy &= jump < 1.7 * span / (steps - 1) + 0.03
    return _ribbons(path[:, tidy].astype(np.float32), core, width, rng)


def _radii(scalp: np.ndarray, inside: np.ndarray) -> np.ndarray:
    top = scalp[inside > 0.3]
    return 0.985 * np.array([np.abs(top[:, 0]).max(), top[:, 1].max() - 7.35, 0.5 - top[:, 2].min()], np.float32)


def _ribbons(path: np.ndarray, core: np.ndarray, width: float, rng: np.random.Generator) -> Piece:
    steps, count = path.shape[:2]
    along = np.gradient(path, axis=0)
    along /= np.linalg.norm(along, axis=2, keepdims=True) + 1e-6
    outward = path - core
    outward[..., 1] *= 0.6
    outward /= np.linalg.norm(outward, axis=2, keepdims=True) + 1e-6
    across = np.cross(along, outward)
    across /= np.linalg.norm(across, axis=2, keepdims=True) + 1e-6
    taper = np.interp(np.linspace(0, 1, steps), [0, 0.15, 0.7, 1], [0.8, 1, 0.9, 0.3])
    half = 0.7 * width * taper[:, None, None] * rng.uniform(0.6, 1.4, (1, count, 1))
    offset = (across * half).astype(np.float32)
    xyz = np.stack([path - offset, path + offset], 2).reshape(-1, 3)  # (steps, count, 2)
    x, y, w, h = skin.HAIR_BOX
    first_u = rng.uniform(4, w - 16, (1, count, 1))
    u = x + np.broadcast_to(first_u + np.array([0, 7.0]), (steps, count, 2))
    v = y + 3 + np.broadcast_to(np.linspace(0, h - 7, steps)[:, None, None], (steps, count, 2))
    first = (np.arange(steps - 1)[:, None] * count + np.arange(count)[None]).reshape(-1) * 2
    after = first + 2 * count
    tris = np.concatenate([np.stack([first, first + 1, after], 1), np.stack([first + 1, after + 1, after], 1)])
    return Piece(xyz.astype(np.float32), np.repeat(outward.reshape(-1, 3), 2, 0).astype(np.float32),
                 np.repeat(along.reshape(-1, 3), 2, 0).astype(np.float32), tris, mesh.HAIR,
                 np.stack([u, v], -1).reshape(-1, 2).astype(np.float32), xyz[:, 1])


def _bun(scalp: np.ndarray, rng: np.random.Generator, volume: float) -> Piece:
    high = rng.random() < 0.6
    centre = np.array([0, scalp[:, 1].max() + 0.12, 0.15] if high else [0, 7.7, scalp[:, 2].min() - 0.1])
    lat, lon = np.meshgrid(np.linspace(0.01, np.pi - 0.01, 9), np.linspace(0, 2 * np.pi, 16), indexing="ij")
    normal = np.stack([np.sin(lat) * np.cos(lon), np.cos(lat), np.sin(lat) * np.sin(lon)], -1).reshape(-1, 3)
    bumps = 1 + 0.06 * np.sin(5 * lon + 4 * lat).reshape(-1, 1)
    xyz = centre + normal * bumps * np.array([0.33, 0.27, 0.33]) * (0.75 + 0.3 * volume)
    along = np.stack([-np.sin(lon), 0 * lon, np.cos(lon)], -1).reshape(-1, 3)
    x, y, _, h = skin.HAIR_BOX
    uv = np.stack([x + 10 + lat.reshape(-1) * 100, y + 3 + lon.reshape(-1) / 6.3 * (h - 7)], 1)
    return Piece(xyz.astype(np.float32), normal.astype(np.float32), along.astype(np.float32), _grid(9, 16), mesh.HAIR,
                 uv.astype(np.float32), np.full(len(xyz), 8.4))


def _grid(rows: int, columns: int) -> np.ndarray:
    i, j = np.meshgrid(np.arange(rows - 1), np.arange(columns - 1), indexing="ij")
    a = (i * columns + j).reshape(-1)
    return np.concatenate([np.stack([a, a + 1, a + columns], 1), np.stack([a + 1, a + columns + 1, a + columns], 1)])


def tube(path: np.ndarray, radius: float, part: int, height: float | None = None) -> Piece:
    """A tube with six sides along a path (n, 3)."""
    along = np.gradient(path, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True) + 1e-6
    side = np.cross(along, np.array([0.05, 0.1, 1.0]))
    side /= np.linalg.norm(side, axis=1, keepdims=True) + 1e-6
    other = np.cross(along, side)
    turn = np.linspace(0, 2 * np.pi, 7)
    normal = side[:, None] * np.cos(turn)[:, None] + other[:, None] * np.sin(turn)[:, None]  # (n, 7, 3)
    xyz = (path[:, None] + radius * normal).reshape(-1, 3)
    y = xyz[:, 1] if height is None else np.full(len(xyz), height)
    return Piece(xyz.astype(np.float32), normal.reshape(-1, 3).astype(np.float32), np.zeros_like(xyz, np.float32),
                 _grid(len(path), 7), part, np.broadcast_to(skin.swatch_uv(part), (len(xyz), 2)), y)


def glasses(look: Look, shape: np.ndarray, ids: np.ndarray) -> list[Piece]:
    """Pieces of glasses: two rims in front of the eyes, a bridge on the nose and a temple to each ear."""
    points = shape[ids]
    wide, tall = look.frame_size
    front = max(float(points[36:48, 2].max()) + 0.10, float(points[27, 2]) + 0.03)
    pieces, inner, outer = [], {}, {}
    turn = np.linspace(0, 2 * np.pi, 25)
    for sign, eye in ((-1, points[36:42]), (1, points[42:48])):
        power = 2 / look.frame_round
        x = np.sign(np.cos(turn)) * np.abs(np.cos(turn)) ** power * wide
        y = np.sign(np.sin(turn)) * np.abs(np.sin(turn)) ** power * tall - 0.01
        middle = eye.mean(0)
        bend = -0.35 * np.clip(sign * x, 0, None) ** 1.5
        ring = np.stack([middle[0] + sign * 0.02 + x, middle[1] + y, front + bend], 1)
        pieces.append(tube(ring, look.frame_thick, mesh.GLASSES, 8.0))
        edge = middle[0] + sign * 0.02
        inner[sign] = np.array([edge - sign * wide, middle[1] + 0.04, front])
        outer[sign] = np.array([edge + sign * wide, middle[1] + 0.04, front - 0.35 * wide**1.5])
    arch = np.array([inner[-1], [points[27, 0], inner[-1][1] + 0.05, front + 0.01], inner[1]])
    pieces.append(tube(arch, look.frame_thick, mesh.GLASSES, 8.0))
    for sign, ear in ((-1, points[0]), (1, points[16])):
        end = np.array([ear[0] + sign * 0.05, outer[sign][1], ear[2] - 0.15])
        pieces.append(tube(np.array([outer[sign], outer[sign] * 0.5 + end * 0.5 + [sign * 0.06, 0, 0], end]),
                           look.frame_thick * 0.8, mesh.GLASSES, 8.0))
    return pieces


def collar(shape: np.ndarray, rest: np.ndarray, height: float, drop: float, radius: float) -> Piece:
    """A roll of cloth around the neck, at `height` at the back and `drop` lower in front."""
    turn = np.linspace(-np.pi, np.pi, 33)
    towards = np.stack([np.sin(turn), np.cos(turn)], 1)
    level = height - drop * (0.5 + 0.5 * np.cos(turn))
    path = []
    for direction, y in zip(towards, level):
        flat = rest[:, [0, 2]] - [0, 0.15]
        angle = flat @ direction / (np.linalg.norm(flat, axis=1) + 1e-6)
        far = np.abs(rest[:, 1] - y) * 2 + (1 - angle) * 3
        near = np.argsort(far, kind="stable")[:4]
        path.append(shape[near].mean(0))
    ring = np.array(path)
    for _ in range(2):  # vertices are far apart here, so the ring is smoothed
        ring[1:-1] = 0.25 * ring[:-2] + 0.5 * ring[1:-1] + 0.25 * ring[2:]
    return tube(ring, radius, mesh.CLOTH)
