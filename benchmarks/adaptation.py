"""Measures `--adapt-landmarks` on rendered heads, where the truth can be rendered: the source person with the driving motion.

`python -m benchmarks.adaptation`: each of eight people is driven by the next three, with known points and points detected by
dlib, and, if `make repro` has trained it, by the sample's FT. It writes results/adaptation.json and prints the table of
docs/reenact.md. Landmark errors are means in units of the distance of the outer eye corners.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from eval.reenact import face_tracking, geometry, rank_drivers, trained_head
from pipeline.core import fileio
from pipeline.frames import crops
from pipeline.landmarks import landmark_image
from pipeline.sources import sample
from pipeline.sources.renderer import motion, scene

OUT, MODEL = Path(__file__).with_name("results") / "adaptation.json", Path("models/sample/ft")
DESIGN = sample.Config(seed=91, identities=8, videos=1, frames=24, seconds=6.0, test_people=0, test_frames=24, pixels=160,
                       supersample=1)
PEOPLE, FRAMES, SHOTS, AFTER = range(DESIGN.identities), range(DESIGN.frames), (1, 8), (1, 2, 3)
PAIRS = [(a, (a + after) % len(PEOPLE)) for a in PEOPLE for after in AFTER]  # source, driving person
RIDGES = (0.01, 0.1, 1.0)
STORED = 128  # pixels of a side of the source's crops
EVERY = 3  # one frame in EVERY of a driving video is generated
JAW = 17
Points = dict[int, np.ndarray]  # person -> (24, 68, 2) in pixels of the frame, NaN where no face was found


def main() -> None:
    known = {a: np.array([rendered(a, a, k)[1] for k in FRAMES], np.float64) for a in PEOPLE}
    found = {a: detected([rendered(a, a, k)[0] for k in FRAMES]) for a in PEOPLE}
    body: dict[str, Any] = {
        "pairs": len(PAIRS), "people": len(PEOPLE), "own": float(np.mean([error(found[a], known[a])[0] for a in PEOPLE])),
        "known": {t: errors(known, t) for t in SHOTS}, "found": {t: errors(found, t) for t in SHOTS},
        "ridge": {ridge: ridged(known, ridge) for ridge in RIDGES},
        "ft": {t: generated(found, t) for t in SHOTS} if (MODEL / "manifest.json").exists() else None}
    fileio.write_json(OUT, rounded(body))
    print("\n".join(table(rounded(body))))


@cache
def shot(a: int) -> scene.Shot:
    """The scene of person a."""
    return scene.Shot(scene.build(sample.seeded(DESIGN, a)), sample.seeded(DESIGN, a, 0), DESIGN.pixels, DESIGN.supersample)


@cache
def rendered(a: int, b: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Frame k of person a with the motion of b: (160, 160, 3) uint8, its points (68, 2)."""
    return shot(a).draw(motion.talk(sample.seeded(DESIGN, b, 0), np.arange(len(FRAMES)) * DESIGN.seconds / len(FRAMES)), k)


def detected(frames: Sequence[np.ndarray]) -> np.ndarray:
    """Points (n, 68, 2) by dlib, NaN where no face or no landmarks are found."""
    from model.backbones import face_detection, landmark_detection

    detect, predict = face_detection.Detector().detect, landmark_detection.landmarker("dlib68").predict
    boxes = [detect(frame[None])[0] for frame in frames]
    return np.array([predict([frame], box[:1, :4])[0] if len(box) else np.full((68, 2), np.nan)
                     for frame, box in zip(frames, boxes)], np.float64)


def whole(points: np.ndarray) -> np.ndarray:
    """Indices of the frames with all their points."""
    return np.flatnonzero(np.isfinite(points).all((1, 2)))


def spread(points: np.ndarray, shots: int) -> np.ndarray:
    """Indices of the T frames chosen from a source video, as in eval/reenact/source_frames.py."""
    good = whole(points)
    return good[np.unique(np.linspace(0, len(good) - 1, shots).round().astype(int))]


def framed(points: np.ndarray) -> crops.Frame:
    """The crop of one clip with these points."""
    return crops.frame(crops.stored("fsth"), np.array([face_tracking.around(one) for one in points]), None,
                       (DESIGN.pixels,) * 2)


def error(points: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Mean over all points and over those without the jaw, cropped like driving frames; frames without points are skipped."""
    good = whole(points)
    off = landmark_image.nme(*(crops.to_crop(some[good], framed(some[good]), 1) for some in (points, truth)))
    return float(off.mean()), float(off[:, JAW:].mean())


def scaled(source: np.ndarray, driving: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """The rejected alternative: width, height and position of the mean shape in the image plane, without a pose."""
    due, there = source.mean(0), driving.mean(0)
    scale = due.std(0) / there.std(0)
    return lambda points: (points - there.mean(0)) * scale + due.mean(0)


def errors(points: Points, shots: int) -> dict[str, Any]:
    """Method of adaptation -> mean over PAIRS of `error`; better: number of pairs in which adapted points are nearer."""
    ways: dict[str, Callable[[np.ndarray, np.ndarray], Callable[[np.ndarray], np.ndarray]]] = {
        "none": lambda source, driving: lambda points: points, "adapted": geometry.Adaptation, "scaled": scaled}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for a, b in PAIRS:
        driving, truth = points[b], np.array([rendered(a, b, k)[1] for k in FRAMES], np.float64)
        for name, way in ways.items():
            adapt = way(points[a][spread(points[a], shots)], driving[whole(driving)])
            found[name].append(error(np.array([adapt(one) for one in driving]), truth))
    better = sum(after[0] < before[0] for before, after in zip(found["none"], found["adapted"]))
    return {name: tuple(np.mean(values, axis=0).tolist()) for name, values in found.items()} | {"better": better}


def ridged(points: Points, ridge: float) -> float:
    """The error of known points at T = 8 with LAMBDA = ridge."""
    before, geometry.LAMBDA = geometry.LAMBDA, ridge
    try:
        return errors(points, max(SHOTS))["adapted"][0]
    finally:
        geometry.LAMBDA = before


def generated(points: Points, shots: int) -> dict[str, Any]:
    """Method of adaptation -> mean over PAIRS of FT's scores with points detected by dlib, and the number of better pairs.

    identity: 1 - mean cosine to the source's own crops; csim: mean cosine to the true frame; l1: mean absolute difference to
    it, of 1.
    """
    import torch

    from model.backbones import identity

    torch.set_num_threads(1)
    model, describe = trained_head.load(MODEL, None, 0), identity.descriptor("dlib128")

    def looks(images: Sequence[np.ndarray], at: np.ndarray) -> np.ndarray:
        return np.array([rank_drivers.unit(describe(*pair)) for pair in zip(images, at)])

    rows: dict[str, list[tuple[float, float, float]]] = {"none": [], "adapted": [], "true": []}
    for a in PEOPLE:
        some = spread(points[a], shots)
        frame = framed(points[a][some])
        cut = np.array([crops.cut(rendered(a, a, k)[0], frame, STORED) for k in some])
        at = crops.to_crop(points[a][some], frame, STORED)
        head, own = trained_head.learn(model, cut, at, 0), looks(list(cut), at).mean(0)
        for b in (b for source, b in PAIRS if source == a):
            good = whole(points[b])[::EVERY]
            found, truth = points[b][good], np.array([rendered(a, b, k)[1] for k in good], np.float64)
            there = framed(truth)
            true = [crops.cut(rendered(a, b, k)[0], there, model.size) for k in good]
            due = looks(true, crops.to_crop(truth, there, model.size))
            adapt = geometry.Adaptation(points[a][some], points[b][whole(points[b])])
            for name, way in {"none": found, "adapted": np.array([adapt(one) for one in found]), "true": truth}.items():
                posed = crops.to_crop(way, framed(way), model.size)
                x_hat = trained_head.generate(head, [landmark_image.draw(one, model.size) for one in posed])
                seen = looks(x_hat, posed)
                rows[name].append((1 - float((seen @ own).mean()), float((seen * due).sum(1).mean()),
                                   float(np.abs(np.array(x_hat, np.float64) - true).mean() / 255)))
    none, adapted = np.array(rows["none"]), np.array(rows["adapted"])
    means = {name: dict(zip(("identity", "csim", "l1"), np.mean(some, axis=0).tolist())) for name, some in rows.items()}
    better = {"identity": int((adapted[:, 0] < none[:, 0]).sum()), "csim": int((adapted[:, 1] > none[:, 1]).sum())}
    return {**means, "better": better}


def rounded(value: Any) -> Any:
    """The value with three decimals and with JSON's names."""
    if isinstance(value, dict):
        return {str(key): rounded(one) for key, one in value.items()}
    if isinstance(value, tuple):
        return [rounded(one) for one in value]
    return round(value, 3) if isinstance(value, float) else value


def table(body: dict[str, Any]) -> list[str]:
    """Lines of the table in docs/reenact.md, and the numbers in the text below it."""
    rows = ["| | none | adapted | the true landmarks |", "|---|---|---|---|"]

    def row(name: str, values: Sequence[float]) -> None:
        rows.append(f"| {name} | " + " | ".join(f"{value:.3f}" for value in values) + " |")

    for kind, words in (("known", "landmark error, known points"), ("found", "points detected by dlib")):
        for t, by in body[kind].items():
            row(f"{words}, T = {t}", (by["none"][0], by["adapted"][0], 0))
            row("the same without the jaw", (by["none"][1], by["adapted"][1], 0))
    for t, by in (body["ft"] or {}).items():
        for key, words in (("identity", "identity error of FT (dlib)"), ("csim", "CSIM (dlib) with the true frame"),
                           ("l1", "mean absolute difference to the true frame")):
            row(f"{words}, T = {t}", [by[name][key] for name in ("none", "adapted", "true")])
    near = {f"{kind}, T = {t}": by["better"] for kind in ("known", "found") for t, by in body[kind].items()}
    return [*rows, "", f"{body['pairs']} pairs of {body['people']} people; dlib's own error {body['own']:.3f}",
            "pairs whose points improve: " + ", ".join(f"{name}: {count}" for name, count in near.items()),
            *(f"T = {t}: identity of {by['better']['identity']} and CSIM of {by['better']['csim']} pairs improve"
              for t, by in (body["ft"] or {}).items()),
            "scaled in the image plane: " + ", ".join(f"T = {t}: {by['scaled'][0]:.3f}" for t, by in body["known"].items()),
            "LAMBDA: " + ", ".join(f"{ridge}: {value:.3f}" for ridge, value in body["ridge"].items())]


if __name__ == "__main__":
    main()
