"""Identity of a person: sex, age, ancestry, about sixty random face targets, colours and hair, all from one seed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from pipeline.sources.renderer import mesh
from pipeline.sources.renderer.mesh import Mesh

# sRGB skin colours from light to dark
SKIN_TONES = np.array([[243, 208, 189], [232, 187, 160], [214, 163, 129], [187, 132, 96], [150, 98, 68], [108, 69, 48],
                       [74, 47, 36]], np.float32) / 255
HAIR_COLOURS = {"black": (22, 18, 17), "dark": (44, 29, 20), "brown": (82, 52, 31), "auburn": (112, 48, 24),
                "red": (158, 72, 28), "blond": (196, 152, 88), "platinum": (226, 208, 168), "grey": (132, 130, 128),
                "white": (214, 212, 208), "dyed": (60, 60, 140)}
EYE_COLOURS = [(58, 34, 18), (92, 58, 28), (120, 96, 48), (78, 104, 66), (88, 128, 160), (118, 132, 142)]
STYLES = {"m": ["bald", "buzz", "short", "side", "back", "curly", "spiky", "long"],
          "f": ["bob", "long", "side", "updo", "curly", "fringe", "back", "short"]}
STYLE_P = {"m": [0.1, 0.13, 0.2, 0.18, 0.13, 0.11, 0.1, 0.05], "f": [0.16, 0.27, 0.08, 0.14, 0.13, 0.12, 0.06, 0.04]}
# For each kind of axis: standard deviation of its weight, and probability that it is not 0
SPREAD = {"asym": (0.16, 0.22), "head": (0.55, 0.6), "nose": (0.62, 0.62), "mouth": (0.5, 0.55), "chin": (0.6, 0.6),
          "eye": (0.5, 0.55), "eyebrows": (0.6, 0.7), "cheek": (0.6, 0.6), "forehead": (0.5, 0.6), "ear": (0.5, 0.5),
          "neck": (0.3, 0.4)}
# Offset of teeth and tongue from the base mesh, whose mouth closes more tightly than most
DENTAL = {"helper-upper-teeth": (0, -0.03, 0), "helper-lower-teeth": (0, -0.01, -0.02), "helper-tongue": (0, -0.08, -0.14)}


@dataclass(frozen=True)
class Person:
    """shape (V, 3): the face at rest. lid (2,): blink weights that close right and left eye, relative to the base mesh."""

    shape: np.ndarray
    lid: tuple[float, float]
    male: bool
    age: float
    dark: float  # 0 light .. 1 dark skin
    skin: np.ndarray  # (3,) sRGB [0, 1]
    hair: np.ndarray
    iris: np.ndarray
    style: str
    glasses: bool


@lru_cache(maxsize=1)
def axes() -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Shape targets of the face as (negative, positive) pairs of names; without those of ancestry, see `_macro`."""
    names = [n for n in mesh.load().morphs if n.split("-")[0] not in ("african", "asian", "caucasian", "universal")]
    return mesh.signed(names)


def person(rng: np.random.Generator, ids: np.ndarray) -> Person:
    """Samples a person. ids (68,): mesh vertices of the landmarks, where face size and lids are measured."""
    head = mesh.load()
    male, age, ancestry = bool(rng.random() < 0.5), float(rng.beta(1.1, 1.3)), rng.dirichlet([0.35, 0.35, 0.35])
    shape = head.rest.copy()
    _macro(head, shape, rng, float(np.clip(male + rng.normal(0, 0.12), 0, 1)), age, ancestry)
    _features(head, shape, rng)
    _close(head, shape, ids)
    _fit(head, shape, ids)
    dark = float(np.clip(ancestry @ [0.78, 0.3, 0.14] + rng.normal(0, 0.12), 0, 1))
    style = str(rng.choice(STYLES["m" if male else "f"], p=STYLE_P["m" if male else "f"]))
    iris = EYE_COLOURS[int(rng.integers(0, 6 if dark < 0.4 else 2))]
    return Person(shape, _lids(head, shape, ids), male, age, dark, _skin(rng, dark), _hair(rng, dark, age),
                  np.array(iris, np.float32) / 255, style, bool(rng.random() < 0.22))


def _macro(head: Mesh, shape: np.ndarray, rng: np.random.Generator, male: float, age: float, ancestry: np.ndarray) -> None:
    muscle, weight = rng.uniform(-1, 1, 2)
    builds = _three("muscle", muscle * 0.8), _three("weight", weight)
    for sex, s in (("male", male), ("female", 1 - male)):
        for old, o in (("young", 1 - age), ("old", age)):
            for race, r in zip(("african", "asian", "caucasian"), ancestry):
                head.morphs[f"{race}-{sex}-{old}"].add(shape, s * o * r)
            for m, wm in builds[0].items():
                for w, ww in builds[1].items():
                    head.morphs[f"universal-{sex}-{old}-{m}-{w}"].add(shape, s * o * wm * ww)


def _three(what: str, value: float) -> dict[str, float]:
    side = f"{'max' if value > 0 else 'min'}{what}"
    return {side: abs(value), f"average{what}": 1 - abs(value)}


def _features(head: Mesh, shape: np.ndarray, rng: np.random.Generator) -> None:
    for low, high in axes():
        kind = high[0].removeprefix("l-").removeprefix("r-").split("-")[0]
        spread, often = SPREAD[kind]
        chance, value = rng.random(), float(np.clip(rng.normal(0, spread), -1, 1))
        if kind == "eye" and ("-eye-height" in high[0] or "-eye-scale" in high[0]):
            chance, value = 0.0, min(value + 0.35, 1)  # the base mesh's eyes are half closed compared with people on camera
        if chance > often or (not low and value < 0):
            continue
        for name in high if value > 0 else low:
            head.morphs[name].add(shape, abs(value))


def _close(head: Mesh, shape: np.ndarray, ids: np.ndarray) -> None:
    """Closes lips that the targets moved apart or through each other (those of the base mesh are slightly open, too)."""
    upper, lower = ids[[61, 62, 63]], ids[[67, 66, 65]]
    line = head.rest[np.concatenate([upper, lower]), 1].mean()
    apart = (shape[upper, 1] - shape[lower, 1]).mean() - 0.002
    away = head.rest - np.array([0, line, 0], np.float32)
    near = np.exp(-((away[:, 1] / 0.07) ** 2) - (away[:, 0] / 0.17) ** 2) * (head.rest[:, 2] > 1.25)
    shape[:, 1] -= (0.5 * apart * near * np.where(away[:, 1] > 0, 1, -1)).astype(np.float32)


def _fit(head: Mesh, shape: np.ndarray, ids: np.ndarray) -> None:
    """Moves the face to the position and nearly to the size of the base mesh, and teeth and tongue into its mouth."""
    rest, now = head.rest[ids], shape[ids]

    def size(p: np.ndarray) -> float:
        return float(np.linalg.norm(p[16] - p[0]) + np.linalg.norm(p[8] - p[27]))

    scale = (size(rest) / size(now)) ** 0.8
    middle = now[27:48].mean(0)
    shape -= middle
    shape *= np.float32(scale)
    shape += rest[27:48].mean(0)
    ring, ring0 = shape[head.lips], head.rest[head.lips]
    wide = float(np.clip(np.ptp(ring[:, 0]) / np.ptp(ring0[:, 0]), 0.75, 1.12))
    # keeps the front teeth behind the shallowest part of the lips
    depth = np.minimum(ring[:, 2].max() - ring0[:, 2].max(), ring[:, 2].mean() - ring0[:, 2].mean()) - 0.06
    for name, group in head.groups.items():
        if "teeth" in name or "tongue" in name:
            away = head.rest[group] - ring0.mean(0)
            shape[group] = ring.mean(0) + away * np.array([wide * 0.8, 1, wide]) + DENTAL[name]
            shape[group, 2] = head.rest[group, 2] + depth + DENTAL[name][2]


def _lids(head: Mesh, shape: np.ndarray, ids: np.ndarray) -> tuple[float, float]:
    """Weights of the blink target for the right and the left eye: 1 closes the base mesh's eyes, taller eyes need more."""

    def gap(xyz: np.ndarray, side: int) -> float:
        p = xyz[ids[36 + 6 * side : 42 + 6 * side], 1]
        return float(p[1] + p[2] - p[4] - p[5])

    right, left = (float(np.clip(gap(shape, s) / gap(head.rest, s), 0.6, 1.8)) for s in (0, 1))
    return right, left


def _skin(rng: np.random.Generator, dark: float) -> np.ndarray:
    steps = np.linspace(0, 1, len(SKIN_TONES))
    tone = np.array([np.interp(dark, steps, SKIN_TONES[:, c]) for c in range(3)], np.float32)
    return np.clip(tone * (1 + rng.normal(0, [0.02, 0.02, 0.03])), 0.1, 0.97).astype(np.float32)


def _hair(rng: np.random.Generator, dark: float, age: float) -> np.ndarray:
    if rng.random() < (age - 0.45) * 1.7:
        name = str(rng.choice(["grey", "white", "grey"]))
    elif dark > 0.45:
        name = str(rng.choice(["black", "dark", "brown", "blond", "dyed"], p=[0.55, 0.27, 0.08, 0.05, 0.05]))
    else:
        name = str(rng.choice(["black", "dark", "brown", "auburn", "red", "blond", "platinum", "dyed"],
                              p=[0.14, 0.17, 0.2, 0.1, 0.11, 0.17, 0.07, 0.04]))
    colour = np.array(HAIR_COLOURS[name], np.float32) / 255
    if name == "dyed":
        colour = colour[rng.permutation(3)]
    tint = rng.normal(0, 0.12) + rng.normal(0, 0.03 if name in ("grey", "white") else 0.08, 3)
    return np.clip(colour * (1 + tint), 0.03, 0.95).astype(np.float32)
