"""The whole way of VoxCeleb1 and VoxCeleb2 in miniature, from fetch to report: `make rehearsal`, a quarter of an hour.

Rendered heads under VoxCeleb's names are served from this machine: VoxCeleb2 as nine parts and a test zip, VoxCeleb1 as a
video site with the metadata beside it. A clone of the project runs them as a user would, with one edit of params.yaml; what is
smaller than the real thing besides is SMALLER.
"""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import made_archives as archives
import made_clips as clips
import made_params
import made_site
import numpy as np
from ruamel.yaml import YAML

from model.backbones import face_detection
from pipeline.core.image_ops import crop
from pipeline.sources import sample

ROOT = Path(__file__).resolve().parents[1]
DATASETS = ["voxceleb1", "voxceleb2"]
KEY = "a-key-for-the-rehearsal"
DEV, TESTED, UTTERANCES = 4, 2, 6  # people of each data set; utterances of a test person's video
CROP = 112  # pixels of VoxCeleb2's clips; the real ones have 224
LENGTH = 30  # pictures of an utterance, at 25 a second
ROWS = {("voxceleb1", "x2face"), ("voxceleb1", "pix2pixhd"), ("voxceleb1", "ft"), ("voxceleb2", "ff"), ("voxceleb2", "ft")}
SMALLER: dict[str, Any] = {  # of params/DATASET.yaml
    "frames": {"size": 64, "per_shard": 4}, "split": {"test_people": TESTED, "holdout": 12},
    "fetch": {"voxceleb1": {"buckets": 2, "rate_limit": {"pause": 0.0, "max_throttled": 5, "cooldown": 60.0}}, "voxceleb2": {}}}



def films(first: int) -> Iterator[tuple[str, str, np.ndarray, np.ndarray]]:
    """One video a person, test people last: person, video, pictures (n, H, W, 3), points (n, 68, 2)."""
    config = sample.Config(seed=first, identities=DEV + TESTED, videos=1, frames=25, seconds=1.0, test_people=TESTED,
                           test_frames=LENGTH * UTTERANCES, pixels=128, supersample=1)
    from pipeline.sources.renderer import scene

    for number in range(DEV + TESTED):
        actor = scene.build(sample.seeded(config, number))
        count = LENGTH * (UTTERANCES if number >= DEV else 2)
        pictures, points = sample.render(actor, sample.seeded(config, number, 0), config, count)
        yield f"id{first + number:05d}", f"mini_{first + number:06d}", pictures, points


def utterances(person: str, video: str, pictures: np.ndarray) -> Iterator[tuple[str, int, np.ndarray]]:
    """PERSON/VIDEO/UTTERANCE, its first picture, its pictures."""
    for number, start in enumerate(range(0, len(pictures), LENGTH), 1):
        yield f"{person}/{video}/{number:05d}", start, pictures[start:start + LENGTH]


def published(face: np.ndarray) -> tuple[float, float, float, float]:
    """The crop that VoxCeleb2 has of a face x0, y0, x1, y1: half as wide, its middle a third from the top (docs/crops.md)."""
    side = 2 * (face[2] - face[0])
    x, y = (face[0] + face[2]) / 2 - .49 * side, (face[1] + face[3]) / 2 - .34 * side
    return x, y, x + side, y + side


def voxceleb2(folder: Path, work: Path) -> dict[str, bytes]:
    """The publishers' ten files; their list goes into `folder`."""
    parts: dict[str, dict[str, bytes]] = {"dev": {}, "test": {}}
    detector = face_detection.Detector()
    for number, (person, video, pictures, _) in enumerate(films(12)):
        for name, _, part in utterances(person, video, pictures):
            box = published(detector.detect(part[:1])[0][0])
            clip = clips.write(work / "clip.mp4", [crop(picture, box, CROP) for picture in part])
            parts["test" if number >= DEV else "dev"][f"mp4/{name}.mp4"] = clip.read_bytes()
    served = archives.cut(archives.zipped(parts["dev"])) | {archives.TEST: archives.zipped(parts["test"])}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "files.md5").write_text(archives.listed(served))
    return served


def voxceleb1(folder: Path, work: Path) -> dict[str, bytes]:
    """Whole videos by their YouTube id; the metadata goes into `folder`."""
    texts: dict[str, dict[str, bytes]] = {"dev": {}, "test": {}}
    served, speakers = {}, ["VoxCeleb1 ID\tVGGFace1 ID\tGender\tNationality\tSet"]
    for number, (person, video, pictures, points) in enumerate(films(10001)):
        part = "test" if number >= DEV else "dev"
        served[video] = clips.write(work / "film.mp4", list(pictures)).read_bytes()
        speakers.append(f"{person}\tA._Head\tm\tNowhere\t{part}")
        corner, far = points.min(1) * 360 / pictures.shape[1], points.max(1) * 360 / pictures.shape[1]
        boxes = np.concatenate([corner, far - corner], 1)  # x, y, w, h in a picture of 360 rows
        for name, start, _ in utterances(person, video, pictures):
            text = made_site.text(person, video, start, boxes[start:start + LENGTH].tolist())
            texts[part][f"txt/{name}.txt"] = text.encode()
    folder.mkdir(parents=True, exist_ok=True)
    for part, members in texts.items():
        (folder / f"vox1_{part}_txt.zip").write_bytes(archives.zipped(members))
    (folder / "vox1_meta.csv").write_text("\n".join(speakers) + "\n")
    return served


def edit(clone: Path) -> None:
    """The one edit of a user, `datasets: [voxceleb1, voxceleb2]`, and what a rehearsal has smaller."""
    path, yaml = clone / "params.yaml", YAML(typ="safe")
    path.write_text(re.sub(r"(?m)^datasets: .*$", f"datasets: [{', '.join(DATASETS)}]", path.read_text()))
    for name in DATASETS:
        given = made_params.published(name)
        data = given["data"]
        data["engine"] |= {"workers": 2}
        for section in ("frames", "split"):
            data[section] |= SMALLER[section]
        data["fetch"] |= SMALLER["fetch"][name]
        given["learn"] = made_params.published("ci")["learn"]
        yaml.dump(given, clone / "params" / f"{name}.yaml")


def rehearse(clone: Path) -> None:
    """Lays the data out, serves it and runs `make repro`."""
    with tempfile.TemporaryDirectory() as work, ExitStack() as running:
        publisher = running.enter_context(archives.publisher(voxceleb2(clone / "videos" / "voxceleb2", Path(work)), KEY))
        site = running.enter_context(made_site.site(voxceleb1(clone / "videos" / "voxceleb1", Path(work))))
        edit(clone)
        given = {"TALKING_HEADS_VOXCELEB_URL": publisher.address, "TALKING_HEADS_VOXCELEB_KEY": KEY,
                 "TALKING_HEADS_YOUTUBE_SITE": site.address}
        subprocess.run(["make", "-o", ".venv/ready", "repro"], cwd=clone, env=os.environ | given, check=True)
        subprocess.run([sys.executable, "-m", "stages.fetch", "--summary"], cwd=clone, check=True)


def check(clone: Path) -> None:
    """Every row of the paper's Table 1 has its numbers; no file of the project has the key."""
    with (clone / "report" / "table1.csv").open(newline="") as file:
        rows: list[Mapping[str, str]] = list(csv.DictReader(file))
    for dataset, method in sorted(ROWS):
        found = {row["shots"] for row in rows if (row["dataset"], row["method"]) == (dataset, method) and row["ssim"]}
        assert found == {"1", "8", "32"}, f"{dataset} {method}: T = {sorted(found)} have numbers"
    for path in clone.rglob("*"):
        if path.is_file() and ".venv" not in path.parts:
            assert KEY.encode() not in path.read_bytes() or path.name == "rehearsal.py", f"{path} has the key"


def main() -> None:
    """In a clone of its own below a temporary folder, with this environment."""
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "project"
        subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
        (clone / ".venv").symlink_to(ROOT / ".venv")
        rehearse(clone)
        check(clone)
    print("rehearsal: every row of the paper's Table 1 has its numbers, and no file has the key")


if __name__ == "__main__":
    main()
