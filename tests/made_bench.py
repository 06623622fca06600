"""Drawing and scoring with the project's own code, between made pictures and stand-in networks, in a fraction of a second."""

import sys
from types import SimpleNamespace

import numpy as np
import torch
from made_metrics import Describer, smooth

from eval import generation
from eval.scoring import cell_summary, features, per_frame, protocol

SIZE, PEOPLE, FRAMES = 32, ("p1", "p2", "p3"), 4
COLUMNS = ("l1", "psnr", "ssim", "csim_dlib128", "fd_efflite0")
PICTURES = dict(enumerate(smooth(0, n=12, size=SIZE)))


class Faces:
    """Real frames by row: FRAMES of each person. p2's second frame has no landmarks."""

    def __init__(self, frames, landmarks, split, size):
        rows = {person: list(range(FRAMES * j, FRAMES * (j + 1))) for j, person in enumerate(PEOPLE)}
        self.size = size
        self.subjects = [SimpleNamespace(person=p, video="v", sources=[], holdout=rows[p]) for p in PEOPLE]

    def images(self, rows):
        return np.stack([PICTURES[int(row)] for row in rows])

    def points(self, rows):
        points = np.random.default_rng(0).random((len(rows), 68, 2)).astype(np.float32) * SIZE
        points[[int(row) == 5 for row in rows]] = np.nan
        return points


COLOURS = np.array([3.0, 2.0, 1.0], np.float32)  # the stand-in networks know red from blue


def describe(image, points):
    return (Describer()(image, points).reshape(16, 3) * COLOURS).ravel()


def forward(self, x):
    return 10 * (x.reshape(len(x), 3, 4, 8, 4, 8).mean((3, 5)) * COLOURS[:, None, None]).reshape(len(x), -1)


def bench(tmp_path, monkeypatch):
    """Yields score(drawn) -> summary, what came out of each person, the cell."""
    monkeypatch.setitem(sys.modules, "pipeline.episodes", SimpleNamespace(Faces=Faces))
    monkeypatch.setattr(protocol, "_detector", lambda cell: {"name": "dlib68", "sha256": {}})
    monkeypatch.setattr(features, "_descriptor", lambda name: describe)
    monkeypatch.setitem(features.DESCRIPTORS, "dlib128", ("dlib", 48, "a grid"))
    monkeypatch.setattr(features.EffLite0, "width", 48)
    monkeypatch.setattr(features.EffLite0, "forward", forward)
    for kind in (features.Pooled, features.Described):
        monkeypatch.setattr(kind, "backbones", {})
        monkeypatch.setattr(kind, "missing", lambda self: None)

    def score(drawn=None):
        """drawn: row -> the frame a method draws; the real one where nothing is said."""
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        files = []
        for subject in Faces(*[None] * 4).subjects:
            x_hat = torch.from_numpy(np.stack([(drawn or PICTURES)[row] for row in subject.holdout]))
            files.append(folder / f"{subject.person}.npz")
            np.savez(files[-1], person=subject.person, driver=[subject.person] * FRAMES,
                     rows=np.array(subject.holdout), frames=generation.eight_bit(x_hat))
        generation.pack(files, folder)
        protocol.opened.cache_clear()
        cell = protocol.Cell(*[folder] * 4)
        config = protocol.Config(metrics=list(COLUMNS), level=0.95, resamples=200, set_resamples=20, workers=1)
        found = [protocol.score(person, cell=cell, config=config, cache=None) for person in protocol.people(cell)]
        recipe = per_frame.Recipe(COLUMNS, level=0.95, means=200, sets=20, seed=0)
        return cell_summary.summary(per_frame.gather(found), recipe), found, cell

    yield score
    protocol.opened.cache_clear()
