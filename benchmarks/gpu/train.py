"""FT meta-learnt at 256 px on the heads of `large`, as long as the time allows: losses, SSIM on unseen people, a picture.

The heads are rendered here, with the renderer's own landmarks, from the mesh of the package `anny` (its folder `data` is all
that is used, also from a folder on the PYTHONPATH). Where it is missing, noise of tests/made_faces.py stands in: then only the
times say something, and the result says so. `--data DIR` takes prepared frames, landmarks and split instead.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ruamel.yaml import YAML

from benchmarks.cases import merged
from benchmarks.gpu.run import ROOT, Bench, wait
from model import api
from model.backbones import registry
from pipeline import split
from pipeline.episodes import Faces

Member = tuple[str, str, int, bytes, np.ndarray]
RENDERING, AFTER = 0.35, 0.2  # shares of the time: rendering may take so much; so much is kept for adapting and scoring
TRIED, AHEAD = 20, 16  # first steps, from whose pace the number of steps is taken; episodes read ahead


def measure(bench: Bench) -> None:
    """Data, learning, then the test people."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    whole, start = bench.left(), time.monotonic()
    large, small = (YAML(typ="safe").load((ROOT / "params" / f"{name}.yaml").read_text()) for name in ("large", "ci"))
    section = (small if bench.quick else large)["learn"]["ft"]
    with tempfile.TemporaryDirectory() as folder:
        root, what = data(bench, Path(folder) / "data", large["data"]["fetch"], section["size"], RENDERING * whole)
        faces = Faces(*(root / name for name in ("frames", "landmarks", "split")), section["size"])
        bench.keep("data", {"what": what, "videos": faces.num_videos, "test_people": len(faces.subjects), "size": faces.size,
                            "seconds": time.monotonic() - start})
        method = learn(bench, faces, section, AFTER * whole)
        test(bench, method, faces)


def data(bench: Bench, root: Path, fetch: dict[str, Any], size: int, seconds: float) -> tuple[Path, str]:
    """Where frames, landmarks and split are, and what is to be seen on them."""
    import made_faces

    if bench.data:
        return bench.data, "prepared frames"
    if bench.quick or importlib.util.find_spec("anny") is None:
        made_faces.write(root, people=4 if bench.quick else 32, count=9 if bench.quick else 16, size=size,
                         tested=1 if bench.quick else 4)
        return root, "noise in the place of faces (" + ("quick)" if bench.quick else "the package anny is missing)")
    people, few = [f"p{n:03d}" for n in reversed(range(fetch["identities"]))], fetch["test_people"]
    order = [*people[:few // 2], *people[few:], *people[few // 2:few]]  # some of the test people, those who train, the others
    members = sorted(rendered(order, {**fetch, "pixels": size}, seconds), key=lambda member: member[:3])
    found = {member[0] for member in members}
    reserved = found & set(people[:few])
    chosen = split.Config(test_people=len(reserved), sources=32, holdout=32, least=8)
    made_faces.keep(root, members, size, chosen, reserved)
    return root, f"rendered heads of {len(found)} people, the renderer's own landmarks"


def rendered(people: list[str], fetch: dict[str, Any], seconds: float) -> Iterator[Member]:
    """The frames of as many people as are drawn within `seconds`, a process a core."""
    spawned = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(mp_context=spawned) as pool:
        for found in pool.map(partial(filmed, fetch=fetch, end=time.time() + seconds), people):
            yield from found


def filmed(person: str, fetch: dict[str, Any], end: float) -> list[Member]:
    """All videos of one person; none when the time is over."""
    import cv2

    from pipeline.core import image_ops
    from pipeline.sources import sample
    from pipeline.sources.renderer import scene

    cv2.setNumThreads(1)
    config, number = sample.Config(**{key: value for key, value in fetch.items() if key != "per_shard"}), int(person[1:])
    if time.time() > end:
        return []
    actor, found = scene.build(sample.seeded(config, number)), []
    tested = number >= config.identities - config.test_people
    for clip in range(1 if tested else config.videos):
        count = config.test_frames if tested else config.frames
        pictures, points = sample.render(actor, sample.seeded(config, number, clip), config, count)
        found += [(person, f"v{clip}", k, image_ops.to_png(x), points[k]) for k, x in enumerate(pictures)]
    return found


def learn(bench: Bench, faces: Faces, section: dict[str, Any], after: float) -> Any:
    """Meta-learning; its schedule is laid over the steps that fit into the time."""
    given = section
    if given["content"]["perceptual"] and registry.locate("efflite0") is None:
        given = merged(given, {"content": {**given["content"], "perceptual": 0.0}})
        bench.keep("content", "without the features of EfficientNet-Lite0: its package is not here")
    tried = shortened(given, 4 if bench.quick else TRIED)
    pace = seconds_a_step(made(tried, faces), faces, tried)
    steps = tried["steps"] if bench.quick else max(int((bench.left() - after) / pace), 1)
    chosen = shortened(given, steps)
    method, start, sums = made(chosen, faces), time.monotonic(), list[dict[str, float]]()
    for step, episode in zip(range(steps), episodes(faces, chosen, steps)):
        sums.append(method.learn(episode))
        if (step + 1) % max(steps // 10, 1) == 0:
            means = {name: float(np.mean([row[name] for row in sums if name in row])) for name in sums[-1]}
            bench.keep(f"losses at {(step + 1) / steps:.0%}", means)
            sums.clear()
        if bench.left() < after / 2:
            break
    spent = time.monotonic() - start
    bench.keep("learning", {"steps": step + 1, "of": steps, "seconds": spent, "batch": chosen["batch"], "K": chosen["K"],
                            "step": spent / (step + 1), "precision": chosen["precision"]})
    return method


def shortened(section: dict[str, Any], steps: int) -> dict[str, Any]:
    """The method's section for so many steps: what the configuration says of steps is taken as shares of them."""
    share = steps / section["steps"]
    schedule, start = section["schedule"], section["adversarial"]["start"]
    return merged(section, {"steps": steps, "schedule": {"warm_up": max(min(schedule["warm_up"], steps // 10), 1),
                                                         "decay_from": int(schedule["decay_from"] * share)},
                            "adversarial": {"start": int(start * share)}, "guard": {"after": 10**9}})


def made(section: dict[str, Any], faces: Faces) -> Any:
    """FT for these faces, mirrored ones included."""
    kind = api.load("ft")
    return kind(kind.Config.model_validate(section), api.DataInfo(faces.size, 2 * faces.num_videos), seed=0)


def seconds_a_step(method: Any, faces: Faces, section: dict[str, Any]) -> float:
    """The pace of the second half of a few steps, when D plays."""
    for step, episode in enumerate(episodes(faces, section, section["steps"])):
        if step == section["steps"] // 2:
            wait()
            start = time.monotonic()
        method.learn(episode)
    wait()
    return (time.monotonic() - start) / (section["steps"] - section["steps"] // 2)


def episodes(faces: Faces, section: dict[str, Any], steps: int) -> Iterator[api.Episode]:
    """Read ahead by threads: an episode hangs on its step alone."""
    from pipeline.episodes import Augment, episode

    augment = Augment(**section["augment"])

    def read(step: int) -> api.Episode:
        found = episode(faces, step, slots=range(section["batch"]), K=section["K"], seed=0, augment=augment)
        return api.Episode(**{name: torch.from_numpy(array) for name, array in found.items()})

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        waiting = [pool.submit(read, step) for step in range(min(AHEAD, steps))]
        try:
            for step in range(steps):
                ready = waiting.pop(0).result()
                if step + AHEAD < steps:
                    waiting.append(pool.submit(read, step + AHEAD))
                yield ready
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def test(bench: Bench, method: Any, faces: Faces) -> None:
    """SSIM on the hold-out frames of unseen people, before fine-tuning and at each T; and some of the frames as a picture."""
    from eval.scoring import metric

    ssim, scores, rows = metric.load("ssim"), dict[str, list[float]](), []
    for subject in faces.subjects:
        if bench.left() < 10:
            break
        real, poses = faces.images(subject.holdout), torch.from_numpy(faces.poses(subject.holdout))
        row = [faces.images(subject.sources[:1])[0], poses[0].numpy(), real[0]]
        for name, T in (("not fine-tuned", 8), ("T=1", 1), ("T=8", 8), ("T=32", 32)):
            x, y = (torch.from_numpy(read(subject.sources[:T])) for read in (faces.images, faces.poses))
            head = api.load("ff").adapt(method, x, y) if name == "not fine-tuned" else method.adapt(x, y)  # type: ignore[arg-type]
            drawn = head(poses).numpy()
            values = ssim.per_frame(real, drawn, faces.points(subject.holdout))  # type: ignore[attr-defined]
            scores.setdefault(name, []).append(float(values.mean()))
            row.append(drawn[0])
        rows.append(row)
        bench.keep("preview", picture(rows, bench.file.with_name("preview.png")))
        bench.keep("ssim", {name: {"mean": float(np.mean(values)), "people": len(values)} for name, values in scores.items()})


def picture(rows: list[list[np.ndarray]], path: Path) -> str:
    """One row a person: a source, the pose, the truth, drawn before fine-tuning and at T = 1, 8, 32; marked as synthetic."""
    from PIL import Image, PngImagePlugin

    mark = PngImagePlugin.PngInfo()
    mark.add_text("synthetic", "true")
    grid = np.concatenate([np.concatenate(list(row), 2) for row in rows[:8]], 1)
    Image.fromarray((grid.transpose(1, 2, 0) * 255).round().astype(np.uint8)).save(path, "PNG", pnginfo=mark)
    return f"{path.name}: a source, the pose, the truth, not fine-tuned, T=1, T=8, T=32"
