"""Our preprocessing against the field's usual one on the same clips with the same networks: what it costs and what it leaves.

The field's way: ffmpeg writes every picture as PNG, the detector looks at each, its landmarks are found, the crop and the
points are a file each. Ours: chosen pictures, given boxes, one tar. `python -m benchmarks.preprocessing` writes
results/preprocessing.json beside this file. Clips: heads of the sample's renderer as H.264 with the boxes that a tracker would
give, and VoxCeleb2's own crops where ../shared/data has some. Networks are loaded before anything is timed; the ways run in
turns in one process, on one thread.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from pipeline.core import image_ops
from pipeline.frames import crops, extract
from pipeline.frames.clips import Shelves
from pipeline.landmarks import detect_landmarks, landmark_image
from pipeline.media import video
from pipeline.parallel.sharded_map import Shard
from pipeline.sources import sample

OUT = Path(__file__).with_name("results") / "preprocessing.json"
REAL = Path(__file__).resolve().parents[2] / "shared/data/clips/voxceleb2_style"
PICTURES, RATE = 100, 25  # of a made clip, and a second; VoxCeleb2's utterances have 205 in the mean
DRAWN = 25  # of them are drawn and shown forwards and backwards: drawing is slow
MADE, CROPS, TURNS = 2, 2, 2  # made clips, real ones, how often each way runs
CONFIG = {"size": 256, "per_shard": 100, "per_clip": 8, "least": 4, "crop": "fsth", "confidence": .9, "min_face": 20.,
          "second_face": .5, "second_share": .2, "inside": .7, "longest": 720,
          "limits": video.Limits(seconds=60, memory=4096, pixels=2**22, frames=100_000)}
Found = dict[tuple[str, int], np.ndarray]  # clip and number of the picture -> its landmarks (68, 2) in pixels of the clip


@dataclass(frozen=True)
class Cost:
    """What one way leaves behind and takes."""

    files: int
    bytes: int
    cpu: float  # seconds, user and system, of this process and the ones it started
    pictures: int  # with landmarks


def clips(folder: Path, detect: extract.Detect) -> list[extract.Item]:
    """Made and real clips in `folder`, as items of the frames stage; made ones have their true points beside them."""
    items = []
    config = sample.Config(seed=1, identities=MADE, videos=1, frames=DRAWN, seconds=DRAWN / RATE, test_people=0, test_frames=1,
                           pixels=224, supersample=1)
    for k, person in enumerate(sample.items(config)):
        from pipeline.sources.renderer import scene

        pictures, truth = sample.render(scene.build(sample.seeded(config, k)), sample.seeded(config, k, 0), config, DRAWN)
        shown = np.abs((np.arange(PICTURES) + DRAWN - 1) % (2 * DRAWN - 2) - (DRAWN - 1))
        write(folder / f"{person}.mp4", pictures[shown])
        np.save(folder / f"{person}.points.npy", truth[shown])
        seen = [boxes[0][:4] if len(boxes) else np.full(4, np.nan) for boxes in detect(pictures)]
        np.save(folder / f"{person}.npy", tracked(np.array(seen)[shown]))
        items.append((person, "v", f"{person}.mp4", f"{person}.npy"))
    for path in sorted(REAL.glob("*.mp4"))[:CROPS]:
        (folder / path.name).symlink_to(path)
        items.append((path.stem, "v", path.name, ""))
    return items


def tracked(seen: np.ndarray) -> np.ndarray:
    """Boxes as VoxCeleb1's tracker gives them, (n, 4) float32: square, trembling by a pixel or two; `seen`: MTCNN's (n, 4).

    Their size and place follow from 47 example pictures of X2Face's release, which are such boxes times 1.6: 1.115 x the width
    of MTCNN's box, their middle 0.063 of its height below its own.
    """
    size = seen[:, 2:] - seen[:, :2]
    centre = (seen[:, :2] + seen[:, 2:]) / 2 + np.array([0, .063]) * size
    half = 1.115 / 2 * size[:, :1]
    boxes = np.concatenate([centre - half, centre + half], 1)
    return (boxes + np.random.default_rng(0).normal(0, 1.5, boxes.shape)).astype(np.float32)


def write(path: Path, pictures: np.ndarray) -> None:
    """An H.264 file of pictures (n, H, W, 3)."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(RATE), options={"crf": "18"})
        stream.codec_context.thread_count = 1  # several do not give the same bytes twice
        stream.height, stream.width, stream.pix_fmt = *pictures.shape[1:3], "yuv420p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


def ours(items: Sequence[extract.Item], folder: Path, out: Path, config: extract.Config, detect: extract.Detect,
         predict: detect_landmarks.Predict) -> Found:
    """One shard of the stages frames and landmarks, without their shells."""
    made, work = (out / "frames", out / "landmarks"), (out.parent / "frames", out.parent / "landmarks")
    for path in (*made, *work):
        path.mkdir(parents=True)
    shelves = Shelves(folder)
    extract.finish(Shard(0, items), (extract.pack(item, shelves, config, detect) for item in items), work[0])
    extract.publish(made[0], [work[0]])
    index = pd.read_parquet(made[0] / "index.parquet")
    shard = detect_landmarks.plan(index[["clip", "shard"]]).shard(0)
    detect_landmarks.finish(shard, [detect_landmarks.find(clip, made[0], predict) for clip in shard.items], work[1], made[0],
                            folder, config.size)
    detect_landmarks.publish(made[1], [work[1]])
    found = np.load(made[1] / "00000.npy")
    return {(row["person"], row["frame"]): back(marks, row) for row, marks in zip(index.to_dict("records"), found)}


def back(marks: np.ndarray, row: dict[str, Any]) -> np.ndarray:
    """Points of a stored frame in pixels of its clip."""
    return (marks + .5) * (row["x1"] - row["x0"]) / CONFIG["size"] + np.array([row["x0"], row["y0"]]) - .5


def fields(items: Sequence[extract.Item], folder: Path, out: Path, detect: extract.Detect,
           predict: detect_landmarks.Predict) -> Found:
    """Every picture a file, the detector on every picture, a crop and an array for each."""
    import imageio_ffmpeg

    found = {}
    for person, _, path, _ in items:
        (out / person).mkdir(parents=True)
        quiet = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-loglevel", "error", "-threads", "1"]
        subprocess.run([*quiet, "-i", folder / path, "-fps_mode", "passthrough", "-threads", "1", "-start_number", "0",
                        out / person / "%06d.png"], check=True)
        for file in sorted((out / person).glob("*.png")):
            image = np.ascontiguousarray(cv2.imread(str(file))[:, :, ::-1])
            faces = detect(image[None])[0]
            marks = predict([image], faces[:1, :4])[0] if len(faces) else np.full((68, 2), np.nan)
            if np.isfinite(marks).all():
                frame = crops.boxed(crops.stored("fsth"), faces[:1, :4].astype(np.float64), image.shape)
                file.with_suffix(".crop.png").write_bytes(image_ops.to_png(crops.cut(image, frame, CONFIG["size"])))
                np.save(file.with_suffix(".npy"), marks)
                found[person, int(file.stem)] = marks
    return found


def measured(way: Callable[[Path], Found]) -> tuple[Cost, Found]:
    """One run of a way in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="preprocessing-") as folder:
        before = spent()
        found = way(Path(folder) / "out")
        cpu = spent() - before
        sizes = [path.stat().st_size for path in (Path(folder) / "out").rglob("*") if path.is_file()]
    return Cost(len(sizes), sum(sizes), cpu, sum(bool(np.isfinite(marks).all()) for marks in found.values())), found


def spent() -> float:
    """CPU seconds of this process and of those it waited for."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def error(a: Found, b: Found, names: Sequence[str]) -> dict[str, Any] | None:
    """How far the landmarks of `a` lie from those of `b` on the pictures that both have, over the eyes' distance."""
    both = sorted(key for key in a.keys() & b.keys() if key[0] in names and np.isfinite([a[key], b[key]]).all())
    if not both:
        return None
    nme = landmark_image.nme(np.array([a[key] for key in both]), np.array([b[key] for key in both])).mean(1)
    return {"mean": round(float(nme.mean()), 4), "median": round(float(np.median(nme)), 4), "worst": round(float(nme.max()), 4),
            "pictures": len(both)}


def compare(items: Sequence[extract.Item], folder: Path, detect: extract.Detect, predict: detect_landmarks.Predict,
            turns: int) -> dict[str, Any]:
    """All ways in turns; costs of the cheapest turn of each, ratios, and how equal the landmarks are."""
    given, looked = (extract.Config(**CONFIG, faces=faces) for faces in ("given", "detect"))
    ways: dict[str, Callable[[Path], Found]] = {
        "field": lambda out: fields(items, folder, out, detect, predict),
        "chosen frames, given boxes": lambda out: ours(items, folder, out, given, detect, predict),
        "chosen frames, detector": lambda out: ours(items, folder, out, looked, detect, predict)}
    runs: dict[str, list[Cost]] = {name: [] for name in ways}
    found: dict[str, Found] = {}
    for _ in range(turns):
        for name, way in ways.items():
            cost, found[name] = measured(way)
            runs[name].append(cost)
    costs = {name: min(costs, key=lambda cost: cost.cpu) for name, costs in runs.items()}
    field, made = costs["field"], [item[0] for item in items if item[3]]
    truth = {(name, k): marks for name in made for k, marks in enumerate(np.load(folder / f"{name}.points.npy"))}
    chosen = {key: found["field"][key] for key in found["chosen frames, given boxes"].keys() & found["field"].keys()}
    groups = {"made": made, "real": [item[0] for item in items if not item[3]]}
    pictures = sum(len(video.probe(folder / item[2], given.limits).times) for item in items)
    return {
        "clips": {"made": len(made), "real": len(items) - len(made), "pictures": pictures},
        "ways": {name: {"files": cost.files, "bytes": cost.bytes, "cpu_seconds": round(cost.cpu, 3), "pictures": cost.pictures,
                        "cpu_of_each_turn": [round(other.cpu, 3) for other in runs[name]]} for name, cost in costs.items()},
        "field_over": {name: {"files": round(field.files / cost.files, 1), "bytes": round(field.bytes / cost.bytes, 1),
                              "cpu": round(field.cpu / cost.cpu, 1)} for name, cost in costs.items() if name != "field"},
        "landmarks": {
            "against the field's": {name: {group: error(found[name], chosen, names) for group, names in groups.items()}
                                    for name in ways if name != "field"},
            "against the renderer's": {name: error(chosen if name == "field" else found[name], truth, made) for name in ways}}}


def main() -> None:
    """Runs, prints and writes the comparison."""
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    from model.backbones import face_detection, landmark_detection, registry

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    detector, landmarker = face_detection.Detector(), landmark_detection.landmarker("fan" if registry.find("fan") else "dlib68")
    with tempfile.TemporaryDirectory(prefix="clips-") as folder:
        items = clips(Path(folder), detector.detect)
        image = np.zeros((224, 224, 3), np.uint8)
        detector.detect(image[None])
        body = compare(items, Path(folder), detector.detect, landmarker.predict, TURNS)
    body["networks"] = {"detector": detector.name, "landmarks": landmarker.name, "torch": torch.__version__}
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(body, indent=1) + "\n")
    print(json.dumps(body, indent=1))


if __name__ == "__main__":
    main()
