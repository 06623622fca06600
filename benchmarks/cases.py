"""What is measured: name -> set-up -> act. The one list behind `pytest benchmarks` and behind the gate.

Names end in the size. `sample`: the networks of params/sample.yaml, 64 px. `paper`: those of params/voxceleb2.yaml, 256 px,
one episode a step, the embedded content loss in the place of the VGG files. Weights are random: time does not depend on them.
The files are those of the working directory. Fine-tuning is cut to one step, so that `adapt` is its fixed part and one step.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))  # made data


class Ready(NamedTuple):
    """A benchmark after its set-up."""

    act: Callable[[Any], object]  # takes what `fresh` made
    fresh: Callable[[], Any] = lambda: None  # made anew before each act, not measured
    parameters: int = 0  # of the networks that act
    counts: tuple[str, ...] = ("flops", "peak_bytes", "files", "bytes", "processes", "parameters")  # what says something here
    timed: bool = True  # False: only its counters do


@dataclass(frozen=True)
class Size:
    """Where the settings of the methods are, and what is changed in them."""

    dataset: str
    shots: int
    changes: dict[str, dict[str, Any]]


ONE_STEP: dict[str, dict[str, Any]] = {
    "ft": {"tuning": {"start": 0.0, "budgets": [{"shots": 1, "steps": 1, "lr": 1e-4, "lr_D": 1e-4}]}},
    "pix2pixhd": {"tuning": {"epochs": 1, "max_steps": 1}}}
PLAYING = {"adversarial": {"start": 0}, "guard": {"after": 10**9}}  # D plays from the first step
CONTENT = {"kind": "pyramid", "weight": 10.0, "scales": 3, "gradient": 0.5, "perceptual": 0.25, "levels": [2.0, 8.7, 6.0, 3.8]}
EMBEDDED = {**PLAYING, "content": CONTENT, "batch": 1}
SIZES = {
    "sample": Size("sample", 8, {"ff": PLAYING, "ft": {**PLAYING, **ONE_STEP["ft"]}, "pix2pixhd": ONE_STEP["pix2pixhd"]}),
    "paper": Size("voxceleb2", 8, {"ff": EMBEDDED, "ft": {**EMBEDDED, **ONE_STEP["ft"]}, "x2face": {"batch": 1},
                                   "pix2pixhd": {"vgg": False, "batch": 1, **ONE_STEP["pix2pixhd"]}})}
METHODS, LEARNING = ("mean", "copy", "x2face", "pix2pixhd", "ff", "ft"), ("x2face", "pix2pixhd", "ff", "ft")
VIDEOS = 100  # columns of W


def merged(given: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`given` with the changes; sections are changed key by key, but `content`, whose keys hang together."""
    inner = {key: merged(given[key], value) for key, value in changes.items()
             if isinstance(value, dict) and key != "content" and isinstance(given.get(key), dict)}
    return {**given, **changes, **inner}


def method(name: str, size: Size) -> Any:
    """A method with random weights."""
    import torch
    from ruamel.yaml import YAML

    from model import api

    torch.manual_seed(0)
    kind = api.load(name)
    given = YAML(typ="safe").load(Path("params", f"{size.dataset}.yaml").read_text())["learn"][name]
    config = kind.Config.model_validate(merged(given, size.changes.get(name, {})))
    return kind(config, api.DataInfo(config.size, VIDEOS), seed=0)


def images(*shape: int) -> Any:
    """Random pictures (…, 3, H, W) in [0, 1] of a seed; the last of `shape` is the size."""
    import torch

    return torch.rand(*shape[:-1], 3, shape[-1], shape[-1], generator=torch.Generator().manual_seed(shape[0]))


def meta_step(name: str, size: Size, folder: Path) -> Ready:
    """One update of meta-learning on pictures in memory."""
    import torch

    from model.api import Episode

    one = method(name, size)
    batch, K, side = one.config.batch, one.config.K, one.facts.size
    episode = Episode(images(batch, side), images(batch, side), images(batch, K, side), images(batch, K, side),
                      torch.arange(batch))
    return Ready(lambda _: one.learn(episode), parameters=one.parameters())


def fine_tune_step(size: Size, folder: Path) -> Ready:
    """One step of one person's fine-tuning, the optimisers' set-up included."""
    one = method("ft", size)
    x, y = images(size.shots, one.facts.size), images(size.shots, one.facts.size)
    tuned, config = one.start(x, y), one.config
    learn = partial(tuned.learn, x, y, tuning=config.tuning, content=one.content, weights=config.adversarial,
                    precision=config.precision, seed=0)
    return Ready(lambda _: learn(), parameters=one.parameters())


def forward(net: str, size: Size, folder: Path) -> Ready:
    """G or D on one picture, E on the K of an episode; no gradient."""
    import torch

    from model.few_shot.adversarial import autocast

    one = method("ft", size)
    K, side = one.config.K, one.facts.size
    x, y = images(1, K, side), images(1, K, side)
    e = one.E.each(x, y).mean(1).detach()
    psi = one.G.P(e).detach()
    acts = {"G": lambda: one.G(y[:, 0], psi), "E": lambda: one.E.each(x, y), "D": lambda: one.D(x[:, 0], y[:, 0], e)}

    def act(_: Any) -> None:
        with torch.no_grad(), autocast(one.config.precision, one.place):
            acts[net]()

    return Ready(act, parameters=sum(p.numel() for p in getattr(one, net).parameters()))


def adapt(name: str, size: Size, folder: Path) -> Ready:
    """Few-shot learning of one person from 8 frames."""
    one = method(name, size)
    x, y = images(size.shots, one.facts.size), images(size.shots, one.facts.size)
    return Ready(lambda _: one.adapt(x, y), parameters=one.parameters())


def frame(name: str, size: Size, folder: Path) -> Ready:
    """One frame of an adapted head."""
    one = method(name, size)
    pose = images(1, one.facts.size)
    head = one.adapt(pose, pose)
    return Ready(lambda _: head(pose), parameters=one.parameters())


def side_of(size: Size) -> int:
    """Pixels."""
    return {"sample": 64, "voxceleb2": 256}[size.dataset]


def draw(size: Size, folder: Path) -> Ready:
    """One landmark image."""
    from made_faces import face

    from pipeline.landmarks import landmark_image

    points = face(side_of(size))
    return Ready(lambda _: landmark_image.draw(points, side_of(size)))


def made(size: Size, folder: Path) -> Path:
    """Frames, landmarks and a split of 8 people on disk, stored twice as large as they are read."""
    import made_faces

    return made_faces.write(folder, people=8, count=10, size=2 * side_of(size), blind=0)


def shards(size: Size, folder: Path) -> Ready:
    """All frames of a folder of shards, as bytes."""
    import pandas as pd

    from pipeline.core.shards import ShardReader

    frames = made(size, folder) / "frames"
    index = pd.read_parquet(frames / "index.parquet")
    places = [tuple(map(int, row)) for row in index[["shard", "offset", "length", "crc"]].to_numpy()]
    return Ready(lambda reader: [reader.read(*place) for place in places], lambda: ShardReader(frames))


def episode(size: Size, folder: Path) -> Ready:
    """A batch of 8 episodes with 2 sources from shards that were not read before: decoded, changed, landmarks drawn."""
    from pipeline.episodes import Augment, Faces
    from pipeline.episodes import episode as sample

    root = made(size, folder)
    augment = Augment(flip=True, gain=.25, hue=20., stretch=.08)

    def act(faces: Faces) -> None:
        sample(faces, 0, slots=range(8), K=2, seed=0, augment=augment)

    return Ready(act, lambda: Faces(root / "frames", root / "landmarks", root / "split", side_of(size)))


def frechet(size: Size, folder: Path) -> Ready:
    """The Fréchet distance of two sets of 128 frames (sample) or 1,600 (paper)."""
    from eval.scoring import metric

    n = {"sample": 128, "voxceleb2": 1600}[size.dataset]
    real, fake = np.random.default_rng(0).normal(size=(2, n, 1280)).astype(np.float32)
    distance, whose = metric.load("fd_efflite0"), np.repeat(np.arange(4), n // 4)
    return Ready(lambda _: distance.value(real, fake, whose))  # type: ignore[attr-defined]


def clip(size: Size, folder: Path) -> Ready:
    """A clip through the frames stage: what counts are the processes that look into it."""
    import made_clips

    from pipeline.frames import extract
    from pipeline.frames.clips import Shelves

    made_clips.write(folder / "clip.mp4", [made_clips.picture([(80 + .3 * k, 60, 20)], tone=40 + 3 * k) for k in range(20)])
    item = ("person", "video", "clip.mp4", "")

    def act(_: Any) -> None:
        record = extract.pack(item, Shelves(folder), made_clips.CONFIG, made_clips.detect)
        assert str(record["status"]) == "ok", record

    return Ready(act, counts=("processes",), timed=False)


def _cases(size: str) -> dict[str, Callable[[Path], Ready]]:
    made: dict[str, Callable[[Size, Path], Ready]] = {
        "fine_tune_step-ft": fine_tune_step, "draw": draw, "shards": shards, "episode": episode, "frechet": frechet}
    if size == "sample":
        made["clip"] = clip
    made |= {f"meta_step-{name}": partial(meta_step, name) for name in LEARNING}
    made |= {f"forward-{net}": partial(forward, net) for net in "GED"}
    made |= {f"{act.__name__}-{name}": partial(act, name) for act in (adapt, frame) for name in METHODS}
    return {f"{name}-{size}": partial(set_up, SIZES[size]) for name, set_up in sorted(made.items())}


CASES = _cases("sample") | _cases("paper")
