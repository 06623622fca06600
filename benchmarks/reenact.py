"""How many pictures a second `make reenact` makes, everything included, and where the time goes.

`python -m benchmarks.reenact` draws a film of 128 x 128 pixels in each view with the networks of params/sample.yaml,
one block longer, by random weights (they cost what trained ones cost), from a made driver of 1280 x 720 pixels with sound, and
writes results/reenact.json beside this file. Learning the person is not in it. A thread spends processor time; the clock
counts the others of the machine too, so that pictures a second of processor time on two cores are given beside it.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, get_args

import cv2
import numpy as np

from eval.reenact import compose, driving_video, render_video, source_frames, synthetic_mark, trained_head
from pipeline.core import config, fileio
from pipeline.core.manifest import write_manifest
from pipeline.frames import extract
from pipeline.media import video
from pipeline.sources import sample

OUT = Path(__file__).with_name("results") / "reenact.json"
SIZE, DRAWN, RATE = 128, 25, 25  # pixels of the model; pictures that are drawn and shown forwards and backwards; a second


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("--seconds", type=int, default=12, help="of the driver")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="reenact-") as folder:
        found = measured(Path(folder), given.seconds)
    fileio.write_json(OUT, found)
    print(json.dumps(found, indent=1))


def measured(folder: Path, seconds: int) -> dict[str, Any]:
    """View -> one film, timed."""
    import torch

    from model.backbones import face_detection, landmark_detection

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    given = config.dataset(Path("params.yaml"), "sample")
    talk(folder / "talk.mp4", seconds)
    eyes = source_frames.Eyes(face_detection.Detector().detect, landmark_detection.landmarker("dlib68").predict,
                       config.parse(extract.Config, given.data.frames, given.where("data.frames")))
    model = trained_head.load(untrained(folder / "model", given), None, 0)
    who = source_frames.read([folder / "talk.mp4"], 8, None, eyes)
    head = trained_head.learn(model, who.crops, who.points, 0)
    of = driving_video.open_driver(folder / "talk.mp4", 0.0, None, eyes)
    return {view: timed(render_video.Job(of, eyes, head, SIZE, "landmarks", who, view, True, None), folder / "out.mp4")
            for view in get_args(compose.View)}


def timed(job: render_video.Job, out: Path) -> dict[str, Any]:
    """One film."""
    began, before = time.monotonic(), spent()
    report = render_video.make(job, out, synthetic_mark.make(method="ff"))
    clock = time.monotonic() - began
    own, ffmpeg = (after - earlier for after, earlier in zip(spent(), before))
    n, cpu = report.pictures, own + ffmpeg
    shares = {"decoding and encoding": ffmpeg, **report.spent, "composing and the rest": own - sum(report.spent.values())}
    return {"pixels": SIZE, "pictures": n, "without_face": report.without, "seconds": round(clock, 2),
            "pictures_a_second": round(n / clock, 1), "cpu_ms_a_picture": round(1000 * cpu / n, 1),
            "cpu_ms_a_picture_of": {name: round(1000 * value / n, 1) for name, value in shares.items()},
            "pictures_a_second_of_two_free_cores": round(2 * n / cpu, 1)}


def talk(path: Path, seconds: int) -> None:
    """A made head in the middle of 1280 x 720 pixels, with a tone."""
    from pipeline.sources.renderer import scene

    made = sample.Config(seed=3, identities=1, videos=1, frames=DRAWN, seconds=DRAWN / RATE, test_people=0, test_frames=1,
                         pixels=360, supersample=1)
    head, _ = sample.render(scene.build(sample.seeded(made, 0)), sample.seeded(made, 0, 0), made, DRAWN)
    shown = np.abs((np.arange(seconds * RATE) + DRAWN - 1) % (2 * DRAWN - 2) - (DRAWN - 1))
    whole = np.full((DRAWN, 720, 1280, 3), 90, np.uint8)
    whole[:, 180:540, 460:820] = head
    command = [video.program(), "-v", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "1280x720", "-r", str(RATE),
               "-i", "-", "-f", "lavfi", "-i", "sine=f=440:r=44100", "-shortest", "-c:v", "libx264", "-preset", "veryfast",
               "-pix_fmt", "yuv420p", "-c:a", "aac", str(path)]
    subprocess.run(command, input=whole[shown].tobytes(), check=True)


def untrained(folder: Path, given: config.DatasetParams) -> Path:
    """A model folder as training leaves it, of FF at 128 pixels with random weights."""
    from safetensors.torch import save_file

    from model.api import DataInfo, load

    section = given.method("ff")
    nets = section["networks"]
    section = {**section, "size": SIZE, "networks": {**nets, "embedder": [*nets["embedder"], nets["embedder"][-1]]}}
    kind = load("ff")
    method = kind(config.parse(kind.Config, section, "learn"), DataInfo(SIZE, 1), 0)
    folder.mkdir()
    save_file(method.weights(), folder / "weights.safetensors")
    write_manifest(folder, "model", {"dataset": "sample", "method": "ff", "label": "FF", "trained_on": "nothing",
                                           "config": section, "facts": {"size": SIZE, "num_videos": 1}})
    return folder


def spent() -> tuple[float, float]:
    """Processor seconds of this process, and of those it waited for."""
    own, others = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime, others.ru_utime + others.ru_stime


if __name__ == "__main__":
    main()
