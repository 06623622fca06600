"""A person's appearance apart from the shape: parameters of skin, hair, beard and glasses, sampled from the seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.sources.renderer.people import Person

GLASSES_COLOURS = [(0.05, 0.05, 0.06), (0.25, 0.12, 0.06), (0.6, 0.6, 0.62), (0.45, 0.1, 0.12), (0.1, 0.15, 0.4)]


@dataclass(frozen=True)
class Look:
    """Appearance parameters. Colours are sRGB [0, 1], lengths are in mesh units, strengths 0..1."""

    style: str
    recede: float
    front: float
    crown: bool
    beard: str
    beard_colour: np.ndarray
    lip: np.ndarray
    lip_strength: float
    liner: float
    shadow: np.ndarray
    blush: float
    tired: float
    freckles: int
    moles: int
    brow_thick: float
    brow_strength: float
    brow_arch: float
    brow_up: float
    brow_colour: np.ndarray
    volume: float
    length: float
    parting: float
    frame: tuple[float, float, float]
    frame_size: np.ndarray
    frame_round: float
    frame_thick: float


def look(person: Person, rng: np.random.Generator) -> Look:
    """Samples a person's colours, hair, beard and glasses from `rng`."""
    old = person.age > 0.5
    recede = float(rng.uniform(0, 0.28) * (0.4 + person.age)) if person.male else float(rng.uniform(0, 0.04))
    beards = ["none", "stubble", "full", "moustache", "goatee"]
    beard = str(rng.choice(beards, p=[0.4, 0.18, 0.22, 0.08, 0.12])) if person.male else "none"
    painted = not person.male and rng.random() < 0.55
    natural = person.skin * [0.92, 0.6 + 0.12 * person.dark, 0.6 + 0.1 * person.dark]
    bright = np.array([rng.uniform(0.45, 0.85), rng.uniform(0.05, 0.3), rng.uniform(0.12, 0.38)])
    brow = person.hair * 0.6 + np.array([0.03, 0.02, 0.02])
    return Look(
        style=person.style, recede=recede, front=float(rng.uniform(-0.1, 0.08)), crown=bool(rng.random() < 0.5),
        beard=beard, beard_colour=np.clip(person.hair * rng.uniform(0.6, 1.1), 0, 1),
        lip=bright if painted and rng.random() < 0.6 else natural,
        lip_strength=0.85 if painted else float(rng.uniform(0.35, 0.7)),
        liner=float(rng.uniform(0.3, 1)) if painted else 0.0, shadow=rng.uniform(0.1, 0.6, 3) * person.skin,
        blush=float(rng.uniform(0.2, 1.0)), tired=float(rng.uniform(0.0, 0.55)) + 0.2 * old,
        freckles=int(rng.integers(60, 220)) if rng.random() < 0.25 and person.dark < 0.5 else 0,
        moles=int(rng.integers(0, 4)),
        brow_thick=float(rng.uniform(0.05, 0.13)) + 0.03 * person.male, brow_strength=float(rng.uniform(0.55, 0.95)),
        brow_arch=float(rng.normal(0, 0.6)), brow_up=float(rng.normal(0, 0.02)),
        brow_colour=brow if person.hair.mean() < 0.6 else brow * 0.8,
        volume=float(rng.uniform(0.6, 1.5)), length=float(rng.uniform(0.75, 1.3)),
        parting=float(rng.choice([-0.32, -0.18, 0.0, 0.18, 0.32])),
        frame=GLASSES_COLOURS[int(rng.integers(len(GLASSES_COLOURS)))],
        frame_size=rng.uniform([0.21, 0.15], [0.3, 0.25]), frame_round=float(rng.uniform(2.0, 5.0)),
        frame_thick=float(rng.uniform(0.014, 0.034)),
    )
