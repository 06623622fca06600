"""Motion of a talking head: every quantity is a smooth function of time, sampled at the frame times."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BOTH = {"smile": "mouthSmile", "stretch": "mouthStretch", "frown": "mouthFrown", "dimple": "mouthDimple",
        "lower": "mouthLowerDown", "upper": "mouthUpperUp", "squint": "eyeSquint", "cheek": "cheekSquint",
        "brow_down": "browDown", "brow_up": "browOuterUp", "wide": "eyeWide", "press": "mouthPress"}
ONE = {"jaw": "jawOpen", "funnel": "mouthFunnel", "pucker": "mouthPucker", "brow_in": "browInnerUp",
       "shrug": "mouthShrugLower", "jaw_left": "jawLeft", "jaw_right": "jawRight"}
# mouth shapes of syllables: weights at full stress
VISEMES = [
    {"jaw": 0.85, "lower": 0.5, "upper": 0.25},  # a
    {"jaw": 0.5, "stretch": 0.6, "lower": 0.6, "upper": 0.4, "dimple": 0.3},  # e
    {"jaw": 0.3, "stretch": 0.8, "lower": 0.7, "upper": 0.5, "smile": 0.25},  # i
    {"jaw": 0.6, "funnel": 0.8, "pucker": 0.3},  # o
    {"jaw": 0.3, "funnel": 0.5, "pucker": 0.9},  # u
    {"jaw": 0.18, "lower": 0.35, "press": 0.2},  # f, m
]


@dataclass(frozen=True)
class Motion:
    """Motion parameters per frame. angles (n, 3) yaw, pitch, roll in radians; shift (n, 2) decimetres; zoom (n,); gaze (n, 2)
    radians right, up; blink (n,) 0..1; face: expression name -> (n,) weights."""

    angles: np.ndarray
    shift: np.ndarray
    zoom: np.ndarray
    gaze: np.ndarray
    blink: np.ndarray
    face: dict[str, np.ndarray]


def talk(rng: np.random.Generator, times: np.ndarray) -> Motion:
    """Random motion of a talking person at times (n,), seconds from 0. |yaw| is at most 34 degrees."""
    end = float(times[-1]) + 1
    yaw = np.clip(rng.normal(0, 6) + _sway(rng, times, rng.uniform(9, 19), (2.5, 8)), -34, 34)
    pitch = np.clip(rng.normal(0, 3) + _sway(rng, times, rng.uniform(3.5, 7.5), (2, 7)), -15, 14)
    roll = rng.normal(0, 2) + _sway(rng, times, rng.uniform(2, 5), (3, 8))
    face = _speech(rng, times, end)
    smile = np.clip(_sway(rng, times, 0.5, (4, 9)) + rng.uniform(-0.3, 0.45), 0, 0.95)
    face["smile"] = np.clip(face["smile"] + smile, 0, 1)
    face["squint"], face["cheek"] = 0.5 * smile, 0.6 * smile
    raised = _sway(rng, times, 0.8, (1.5, 6)) + rng.uniform(-0.2, 0.2)
    face["brow_up"], face["brow_in"] = np.clip(raised, 0, 1), np.clip(raised * 0.9, 0, 1)
    face["brow_down"] = np.clip(-raised, 0, 0.9)
    face["wide"] = np.clip(raised - 0.4, 0, 0.7)
    frown = np.clip(_sway(rng, times, 0.5, (4, 9)) - 0.25, 0, 0.6)
    face["frown"] = frown * (smile < 0.1)
    side = _sway(rng, times, 0.12, (2, 5))
    face["jaw_left"], face["jaw_right"] = np.clip(side, 0, 1) * face["jaw"], np.clip(-side, 0, 1) * face["jaw"]
    shift = np.stack([_sway(rng, times, 0.07, (3, 8)), _sway(rng, times, 0.05, (3, 8))], 1)
    return Motion(np.radians(np.stack([yaw, pitch, roll], 1)), shift, 1 + _sway(rng, times, 0.03, (4, 9)),
                  _gaze(rng, times, end, np.radians(yaw)), _blinks(rng, times, end), face)


def _sway(rng: np.random.Generator, t: np.ndarray, amplitude: float, periods: tuple[float, float]) -> np.ndarray:
    """Sum of three sinusoids with random period and phase; its total amplitude is about `amplitude`."""
    out = np.zeros(len(t))
    for share in (0.6, 0.35, 0.25):
        out += share * np.sin(2 * np.pi * (t / rng.uniform(*periods) + rng.random()))
    return amplitude * out


def _bump(t: np.ndarray, middle: float, half: float) -> np.ndarray:
    return np.clip(1 - np.abs(t - middle) / half, 0, 1) ** 2 * (3 - 2 * np.clip(1 - np.abs(t - middle) / half, 0, 1))


def _speech(rng: np.random.Generator, t: np.ndarray, end: float) -> dict[str, np.ndarray]:
    """Expression weights of speech: phrases of one to three seconds, pauses, four syllables per second, six mouth shapes."""
    face = {name: np.zeros(len(t)) for name in (*BOTH, *ONE)}
    loud, clock = rng.uniform(0.75, 1.1), -rng.uniform(0, 2)
    while clock < end:
        stop = clock + rng.uniform(1.0, 3.2)
        while clock < stop:
            mouth, stress = VISEMES[int(rng.integers(len(VISEMES)))], loud * rng.uniform(0.45, 1.1)
            for name, weight in mouth.items():
                face[name] += stress * weight * _bump(t, clock, 0.2)
            clock += rng.uniform(0.2, 0.3)
        clock += rng.uniform(0.3, 1.2)
    return {name: np.clip(w, 0, 1) for name, w in face.items()}


def _blinks(rng: np.random.Generator, t: np.ndarray, end: float) -> np.ndarray:
    out, clock = np.zeros(len(t)), rng.uniform(0, 2)
    while clock < end:
        held = rng.uniform(0.08, 0.2)
        out = np.maximum(out, np.clip((held + 0.09 - np.abs(t - clock)) / 0.09, 0, 1))
        clock += 1.0 + rng.exponential(1.8)
    return out


def _gaze(rng: np.random.Generator, t: np.ndarray, end: float, yaw: np.ndarray) -> np.ndarray:
    """Fixations and saccades; half of the head's yaw is compensated, as if the person looked at the camera."""
    out, clock = np.zeros((len(t), 2)), 0.0
    while clock < end:
        out[t >= clock] = rng.normal(0, [0.16, 0.09])
        clock += 0.4 + rng.exponential(0.9)
    out[:, 0] -= 0.5 * yaw
    return np.clip(out, [-0.5, -0.3], [0.5, 0.3])
