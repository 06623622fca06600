"""People whose pictures say who they are and where their faces are, and networks that read it off: all scores are known.

Red is the person, an angle in degrees: 0, 60, 120, … The descriptor is (cos, sin) of it. Blue is how far the landmarks lie to
the right, in tenths of a pixel. Both survive the 8 bits of a PNG.
"""

import json
import sys
from types import SimpleNamespace

import made_faces
import made_params
import numpy as np

from eval import generation
from eval.metrics import fd
from eval.scoring import features, protocol
from pipeline import driving_pairs
from pipeline.core import stage as core_stage
from pipeline.core.manifest import write_manifest
from stages import floors, score

SIZE, FRAMES = 24, 6
METRICS = ["l1", "csim_dlib128", "fd_efflite0", "iderr_dlib128", "nme_interocular_dlib68"]
FACE = made_faces.face(SIZE).astype(np.float32)
EYES = float(np.linalg.norm(FACE[45] - FACE[36]))
PEOPLE: list = []


def rows(j):
    return [10 * j + k for k in range(FRAMES)]


def pixels(angle, shift):
    """(3, SIZE, SIZE) uint8."""
    return np.broadcast_to(np.array([angle, 100, shift], np.uint8)[:, None, None], (3, SIZE, SIZE))


def shift(row):
    return 7 * (row % 10) + row // 10


def truth(row):
    return pixels(60 * (row // 10), shift(row))


class Faces:
    def __init__(self, frames, landmarks, split, size):
        assert size == SIZE
        self.size = size
        self.subjects = [SimpleNamespace(person=name, holdout=rows(j)) for j, name in enumerate(PEOPLE)]

    def images(self, rows):
        return np.stack([truth(int(row)) for row in rows]).astype(np.float32) / 255

    def points(self, rows):
        return np.stack([FACE + np.array([0.1 * shift(int(row)), 0]) for row in rows]).astype(np.float32)


class Landmarker:
    def predict(self, images, boxes):
        return np.stack([FACE + np.array([0.1 * int(image[0, 0, 2]), 0]) for image in images])


def describe(image, points):
    angle = np.radians(int(image[0, 0, 0]))
    return np.r_[np.cos(angle), np.sin(angle), np.zeros(126)].astype(np.float32)


def bench(root, monkeypatch, people=3):
    """Stand-ins everywhere; params.yaml and empty data in `root`."""
    monkeypatch.setattr(sys.modules[__name__], "PEOPLE", [f"p{j + 1}" for j in range(people)])
    monkeypatch.setitem(sys.modules, "pipeline.episodes", SimpleNamespace(Faces=Faces))
    monkeypatch.setattr(protocol, "_detector", lambda cell: {"name": "dlib68", "sha256": {"dlib68.dat": "ab" * 32}})
    monkeypatch.setattr(features, "_descriptor", lambda name: describe)
    monkeypatch.setattr(features, "_landmarker", lambda name: Landmarker())
    monkeypatch.setattr(fd.EffLite0, "forward", lambda self, x: np.stack([x[:, 0, 0, 0], 5 * x[:, 2, 0, 0] ** 2], 1) * 10)
    monkeypatch.setattr(fd.EffLite0, "width", 2)
    for kind in (features.Pooled, features.Described, features.Redetected):
        monkeypatch.setattr(kind, "backbones", {"net.dat": "cd" * 32})
        monkeypatch.setattr(kind, "missing", lambda self: None)
    monkeypatch.setattr(core_stage, "ROOT", root)
    monkeypatch.setattr(core_stage, "die_with_parent", lambda parent: None)
    made_params.write(root, {"score": {"metrics": METRICS, "resamples": 100, "set_resamples": 20}, "methods": ["copy", "mean"],
                             "cross": {"drivers": 1, "frames": 3}},
                      sample={"learn": {"copy": {"size": 16}, "mean": {"size": SIZE}}})
    counts = {"videos": 1, "people": 1, "test_people": people, "excluded": 0}
    for part in ("frames", "landmarks", "split"):
        (root / "data" / "sample" / part).mkdir(parents=True)
        write_manifest(root / "data" / "sample" / part, part, counts if part == "split" else {})


def call(root, stage, monkeypatch, *words):
    parts = [word for part in ("frames", "landmarks", "split") for word in (f"--{part}", str(root / "data" / "sample" / part))]
    monkeypatch.setattr(sys, "argv", ["stage", "--dataset", "sample", *parts, "--params", str(root / "params.yaml"), "--cache",
                                      str(root / "cache"), *map(str, words)])
    protocol.opened.cache_clear()
    stage.main()
    protocol.opened.cache_clear()


def floors_of(root, monkeypatch):
    """results/sample/floors, by the stage itself."""
    call(root, floors, monkeypatch, "--out", root / "results" / "sample" / "floors")
    return root / "results" / "sample" / "floors"


def scored(root, monkeypatch, method, drawn):
    """results/sample/METHOD/8: self-reenactment is perfect; driven by others it draws `drawn`(own row, driver's row)."""
    cell = root / "results" / "sample" / method / "8"
    (cell / "images").mkdir(parents=True)
    files, subjects = [], Faces(None, None, None, SIZE).subjects
    config = driving_pairs.Config(drivers=1, frames=3)
    for n, subject in enumerate(subjects):
        others = driving_pairs.drivers(subjects, n, config)
        frames = [truth(row) for row in subject.holdout] + [drawn(subject.holdout[0], row) for _, row in others]
        files.append(cell / f"{n}.npz")
        np.savez(files[-1], person=subject.person, driver=[subject.person] * FRAMES + [driver for driver, _ in others],
                 rows=[*subject.holdout, *(row for _, row in others)], frames=np.stack(frames).transpose(0, 2, 3, 1))
    generation.pack(files, cell / "images")
    write_manifest(cell / "images", "images", {"label": method.upper(), "driven_by": "landmarks",
                                                     "cross": config.model_dump()})
    call(root, score, monkeypatch, "--method", method, "--shots", 8, "--images", cell / "images", "--out", cell / "metrics")
    return cell


def resigned(folder):
    """Writes the manifest anew: what somebody does who tampers with care."""
    manifest = json.loads((folder / "manifest.json").read_text())
    write_manifest(folder, manifest["kind"], {k: v for k, v in manifest.items() if k not in ("schema", "kind", "files")})
