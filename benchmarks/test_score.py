"""What scoring costs beside the networks' own work: `pytest benchmarks/test_score.py --benchmark-only -s`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import skimage.data
import torch

from eval import generation
from eval.scoring import cell_summary, features, metric, protocol
from eval.scoring.per_frame import Recipe, Scored, gather
from model.backbones import face_detection, identity, landmark_detection, perceptual
from pipeline.core import image_ops
from pipeline.core.config import load
from pipeline.core.manifest import write_manifest

SIZE, PAIRS, ROUNDS, PEOPLE, EACH = 256, 10, 3, 50, 32  # pixels; pairs and rounds measured; people and frames each of the claim
ROOT = Path(__file__).resolve().parents[1]


def seconds(act: Callable[[], Any]) -> tuple[float, Any]:
    """Processor seconds, and what came out."""
    start = time.process_time()
    made = act()
    return time.process_time() - start, made


def stored(folder: Path) -> tuple[protocol.Cell, dict[str, Any]]:
    """A cell on disk: one person's face, moved a little from frame to frame, and as a method might draw it."""
    face = cv2.resize(skimage.data.astronaut()[:256, 96:352], (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    box = face_detection.detector("mtcnn").detect(face[None])[0][0, :4]
    points = landmark_detection.landmarker("dlib68").predict([face], box[None])[0]
    real = [np.roll(face, j % 7, axis=1) for j in range(PAIRS)]
    fake = np.stack([cv2.GaussianBlur(x, None, 1 + j / 20) for j, x in enumerate(real)])
    np.savez(folder / "p.npz", person="p", driver=["p"] * PAIRS, rows=np.arange(PAIRS), frames=fake)
    generation.pack([folder / "p.npz"], folder)
    write_manifest(folder, "landmarks", {"detector": {"name": "dlib68", "sha256": {}}})
    given = {"real": [image_ops.to_png(x) for x in real],
             "points": np.stack([points + np.array([j % 7, 0]) for j in range(PAIRS)])}
    return protocol.Cell(*[folder] * 4), given


class Faces:
    """As pipeline.episodes.Faces: frames are decoded each time."""

    given: dict[str, Any]

    def __init__(self, frames: Path, landmarks: Path, split: Path, size: int) -> None:
        self.subjects = [SimpleNamespace(person="p", holdout=list(range(PAIRS)), sources=[])]

    def images(self, rows: np.ndarray) -> np.ndarray:
        return np.stack([image_ops.from_png(self.given["real"][row]).transpose(2, 0,
                                                                               1) for row in rows]).astype(np.float32) / 255

    def points(self, rows: np.ndarray) -> np.ndarray:
        return self.given["points"][rows].astype(np.float32)


def forwards(pairs: protocol.Pairs, names: list[str]) -> float:
    """Processor seconds of the networks' passes alone: each that a metric needs, once a frame that it looks at."""
    found = [metric.load(name) for name in names]
    nets = {net for one in found for net in one.networks}
    pixels = [np.ascontiguousarray(np.rint(x.transpose(1, 2, 0) * 255).astype(np.uint8)) for x in (*pairs.real, *pairs.fake)]
    drawn = [(pixels[len(pairs.fake):], np.stack([features.box(p) for p in pairs.points]))]
    work: list[tuple[Callable[..., Any], list[tuple[Any, ...]]]] = []
    work += [(identity.descriptor(net), list(zip(pixels, [*pairs.points] * 2))) for net in nets & set(features.DESCRIPTORS)]
    work += [(landmark_detection.landmarker(net).predict, drawn) for net in nets & set(features.DETECTORS)]
    if "efflite0" in nets:  # resized already: resizing is not the network's
        work.append((perceptual.efflite0().pool, [(torch.rand(1, 3, features.SIDE, features.SIDE),) for _ in pixels]))
    if "fid_inception" in nets:
        inception = next(one for one in found if "fid_inception" in one.networks)
        work.append((inception.forward, [(x[None],) for x in (*pairs.real, *pairs.fake)]))
    work += [(one.per_frame, [(pairs.real, pairs.fake, pairs.points)]) for one in found if one.name.startswith("lpips")]
    with torch.no_grad():
        return seconds(lambda: [net(*given) for net, each in work for given in each])[0]


def summary_of_all(names: list[str], config: protocol.Config) -> float:
    """Processor seconds of values, intervals and floors of the claim's people and frames, a tenth of the resamples of sets."""
    rng, made = np.random.default_rng(0), []
    kinds = {name: metric.load(name) for name in names}
    sets = {name: kind for name, kind in kinds.items() if isinstance(kind, metric.OfSets)}
    for person in range(PEOPLE):
        sides = {name: tuple(rng.normal(size=(2, EACH, kind.width)).astype(np.float32)) for name, kind in sets.items()}
        columns = {name: rng.random(EACH) for name in kinds if name not in sets}
        made.append(Scored(str(person), np.arange(EACH), columns, sides, {}, {}))
    frames, few, none = gather(made), config.set_resamples // 10, 2
    recipes = [Recipe(names, config.level, config.resamples, sets, 0) for sets in (few, none)]
    some, hardly = (seconds(lambda recipe=recipe: cell_summary.summary(frames, recipe))[0] for recipe in recipes)
    return hardly + (some - hardly) * config.set_resamples / (few - none)


@pytest.mark.benchmark(group="score", timer=time.process_time)
def test_scoring_costs_at_most_a_fifth_more_than_the_networks_alone(benchmark, tmp_path: Path, monkeypatch) -> None:
    torch.set_num_threads(1)
    cell, Faces.given = stored(tmp_path)
    monkeypatch.setitem(sys.modules, "pipeline.episodes", SimpleNamespace(Faces=Faces))
    protocol.opened.cache_clear()
    config = protocol.Config(**load(ROOT / "params.yaml").score)
    names = [name for name in config.metrics if metric.load(name).missing() is None]
    pairs = protocol.pairs(cell, "p")
    act = lambda: protocol.score("p", cell=cell, config=config, cache=None)
    forwards(pairs, names)  # loads
    act()
    # In turns, the least of each: a busy machine costs processor time, too.
    alone, spent = (min(times) / PAIRS for times in zip(*[(forwards(pairs, names), seconds(act)[0]) for _ in range(ROUNDS)]))
    benchmark.pedantic(act, rounds=1)
    rest, scored = summary_of_all(names, config), PEOPLE * EACH
    ratio = (spent * scored + rest) / (alone * scored)
    benchmark.extra_info["ratio"] = ratio
    print(f"\n{scored} pairs at {SIZE} px, {len(names)} columns: {alone * scored:.0f} CPU s of networks alone, "
          f"{spent * scored:.0f} of scoring, {rest:.0f} of values, intervals and floors: ratio {ratio:.3f}")
    assert ratio <= 1.2
    protocol.opened.cache_clear()
