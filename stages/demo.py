"""A page with three sliders (yaw, mouth, T): one test person drawn by the trained FF and FT. No stage of DVC; `make demo`."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core import config
from pipeline.core.errors import InputError
from stages import _cli

if TYPE_CHECKING:
    import numpy as np

    from eval import generation
    from eval.demo import demo_page, pose_grid
    from pipeline.episodes import Faces, Subject

METHODS, SHAPE = ("ff", "ft"), (5, 9)  # openings of the mouth, yaws
PEOPLE = "The people are rendered and do not exist; "
NETWORKS = "data, networks and losses are small stand-ins for the paper's."


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = _cli.parser(__doc__, "data", "models", "out", "params")
    _cli.add(made, "dataset", required=False, help="a file of params/; without it the first of `datasets`")
    made.add_argument("--person", help="a test person; without it the first")
    return made


def main(words: Sequence[str] | None = None) -> None:
    """Writes OUT/index.html. InputError: FF or FT is not trained yet, or there is no such test person."""
    given = parser().parse_args(words)
    from eval.demo import demo_page

    params = config.load(given.params)
    dataset = given.dataset or params.datasets[0]
    chosen = config.dataset(given.params, dataset)
    demo_page.write(given.out, demo(params, chosen, dataset, given.data / dataset, given.models / dataset, given.person))
    file = given.out / "index.html"
    print(f"{file.resolve()}: {file.stat().st_size / 1e6:.1f} MB, opens from disk")


def demo(params: config.Params, given: config.DatasetParams, dataset: str, data: Path, models: Path,
         person: str | None) -> demo_page.Demo:
    """Everything on the page."""
    import numpy as np

    from eval import generation
    from eval.demo import demo_page, pose_grid

    for name in METHODS:
        if not (models / name / "manifest.json").is_file():
            raise InputError(f"{models / name}: there is no trained model; `make repro` makes it")
    opened = {name: generation.opened(cell(params, name, data, models)) for name in METHODS}
    faces = opened["ff"][1]
    people = {subject.person: subject for subject in faces.subjects}
    subject = config.pick(people, person or next(iter(people)), f"{data / 'split'}: test people")
    shots = [T for T in params.shots if len(subject.sources) >= T] or [len(subject.sources)]
    grid = posed(given, faces, subject, data)
    driving = np.array([[pose_grid.drawn(points, faces.size) for points in row] for row in grid.points])
    learn(opened["ff"][0], faces, subject, 1, driving, grid.truth)  # a warm-up: the first use of a network costs more
    learnt = {name: {T: learn(method, faces, subject, T, driving, grid.truth) for T in shots}
              for name, (method, _) in opened.items()}
    plain = given.method("ft")["content"]["kind"] != "vgg"
    told = (PEOPLE if grid.rendered else "") + (NETWORKS if plain else "")
    return demo_page.Demo(subject.person, dataset, told[:1].upper() + told[1:], grid, driving,
                     np.array([faces.raw(row) for row in subject.sources[:max(shots)]]), learnt)


def cell(params: config.Params, method: str, data: Path, models: Path) -> generation.Cell:
    """The trained method and the data, as the stage `adapt` opens them."""
    from eval import generation
    from pipeline import driving_pairs

    return generation.Cell(data / "frames", data / "landmarks", data / "split", models / method, 1, params.seed,
                           config.parse(driving_pairs.Config, params.cross, "cross"), Path())


def posed(given: config.DatasetParams, faces: Faces, subject: Subject, data: Path) -> pose_grid.Grid:
    """The grid of poses: rendered where the data are, else of the person's own frames."""
    import pandas as pd

    from eval.demo import pose_grid

    if given.data.source != "sample":
        return pose_grid.nearest(faces, subject, SHAPE)
    from pipeline.sources import sample

    own = {key: value for key, value in given.data.fetch.items() if key in sample.Config.model_fields}
    fetch = config.parse(sample.Config, own, given.where("data.fetch"))
    index = pd.read_parquet(data / "frames" / "index.parquet", columns=["frame", "x0", "y0", "x1", "y1"])
    return pose_grid.rendered(fetch, faces, subject, index.iloc[subject.sources], SHAPE, data / "videos")


def learn(method: Any, faces: Faces, subject: Subject, T: int, driving: np.ndarray, truth: np.ndarray) -> demo_page.Learnt:
    """Few-shot learning from T photos, then every cell of the grid."""
    import numpy as np
    import torch

    from eval import generation
    from eval.demo import demo_page
    from eval.scoring import metric

    x, y = (torch.from_numpy(read(subject.sources[:T])) for read in (faces.images, faces.poses))
    start = time.perf_counter()
    head = method.adapt(x, y, method.seed)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    spent = time.perf_counter() - start
    print(f"{method.label} from {T} photo{'s' * (T > 1)}: {spent:.2f} s", flush=True)
    cells = generation.eight_bit(head(torch.from_numpy(_planes(driving)))).reshape(driving.shape)
    ssim: Any = metric.load("ssim")
    values = ssim.per_frame(_planes(truth), _planes(cells), np.zeros((len(truth) * len(truth[0]), 68, 2)))
    return demo_page.Learnt(cells, spent, values.reshape(driving.shape[:2]))


def _planes(cells: np.ndarray) -> np.ndarray:
    """(M, Y, S, S, 3) uint8 -> (M Y, 3, S, S) float32 in [0, 1]."""
    from pipeline.episodes import planes

    return planes(cells.reshape(-1, *cells.shape[2:]))


if __name__ == "__main__":
    _cli.run(main)
