"""Few-shot learning of every test person from T frames, then their hold-out frames drawn from their landmarks."""

from __future__ import annotations

import argparse
import io
import json
import os
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import config, engine, run, store

if TYPE_CHECKING:
    import numpy as np

    from model.api import Method
    from pipeline.episodes import Faces


class Config(config.Strict):
    """The section `adapt` of params.yaml."""

    workers: int  # processes, one person each on one thread: two of them do more than one with two threads


@dataclass(frozen=True)
class Cell:
    """One method at one T: what every worker needs to know."""

    frames: Path
    landmarks: Path
    split: Path
    model: Path
    section: str  # the method's configuration as JSON
    shots: int
    seed: int
    work: Path


def main() -> None:
    """Writes the drawn frames in shards, index.parquet and the manifest."""
    arguments = argparse.ArgumentParser(description=__doc__)
    for name in ("dataset", "method"):
        arguments.add_argument(f"--{name}", required=True)
    arguments.add_argument("--shots", type=int, required=True, help="T, frames of each person to learn from")
    for name in ("frames", "landmarks", "split", "model", "out"):
        arguments.add_argument(f"--{name}", type=Path, required=True)
    arguments.add_argument("--params", type=Path, default=Path("params.yaml"))
    given = arguments.parse_args()
    params = config.load(given.params)
    chosen = config.parse(Config, params.adapt, f"{given.params}: adapt")
    section = config.pick(config.pick(params.learn, given.dataset, "learn"), given.method, f"learn.{given.dataset}")
    paths = {name: getattr(given, name) for name in ("frames", "landmarks", "split", "model")}
    with run.stage("adapt", out=given.out, inputs=paths, config=[section, given.shots, params.seed]) as job:
        cell = Cell(**paths, section=json.dumps(section), shots=given.shots, seed=params.seed, work=job.work)
        method, faces = opened(cell)
        if short := [s.person for s in faces.subjects if len(s.sources) < given.shots]:
            raise config.Refused(f"shots: {given.shots} are asked for, {short[0]} has fewer source frames; lower `shots`, or "
                                 "raise the frames a video in data.<dataset>.frames")
        people = list(range(len(faces.subjects)))
        drawn = engine.map(partial(person, cell=cell), people, chosen.workers if method.fine_tunes else 1)
        files = list(run.progress(drawn, len(people), f"adapt {given.method} T={given.shots}"))
        pack(files, job.out)
        job.publish("images", {"dataset": given.dataset, "method": given.method, "label": method.label, "shots": given.shots,
                               "driven_by": method.driven_by, "trained_on": job.inputs["model"].get("trained_on", ""),
                               "size": faces.size, "people": len(people), "seed": params.seed})


@cache
def opened(cell: Cell) -> tuple[Method, Faces]:
    """The trained method and the data, once a process."""
    import torch
    from safetensors.torch import load_file

    from model.api import Facts, load
    from pipeline.episodes import Faces

    torch.set_num_threads(1)
    manifest = store.read_manifest(cell.model, "model")
    kind = load(manifest["method"])
    chosen = config.parse(kind.Config, json.loads(cell.section), f"learn.{manifest['dataset']}.{manifest['method']}")
    facts = Facts(**manifest["facts"])
    method = kind(chosen, facts, cell.seed)
    method.load_weights(load_file(cell.model / "weights.safetensors"))
    return method, Faces(cell.frames, cell.landmarks, cell.split, facts.size)


def person(n: int, cell: Cell) -> Path:
    """Learns test person n and draws its hold-out frames -> a file of 8-bit frames in the work folder, kept for a later run."""
    import numpy as np
    import torch

    file = cell.work / f"{n:05d}.npz"
    if file.exists():
        return file
    method, faces = opened(cell)
    subject = faces.subjects[n]
    sources, holdout = subject.sources[:cell.shots], subject.holdout
    head = method.adapt(torch.from_numpy(faces.images(sources)), torch.from_numpy(faces.poses(sources)), cell.seed)
    driving = faces.images(holdout) if method.driven_by == "frames" else faces.poses(holdout)
    drawn = head(torch.from_numpy(driving))
    part = file.with_suffix(".part")
    with part.open("wb") as out:
        np.savez(out, person=subject.person, rows=np.asarray(holdout, np.int64), frames=eight_bit(drawn))
    os.replace(part, file)
    return file


def eight_bit(x_hat: Any) -> np.ndarray:
    """(N, 3, H, W) in [0, 1] -> (N, H, W, 3) uint8, rounded to the nearest."""
    frames: np.ndarray = (x_hat.permute(0, 2, 3, 1) * 255).round().byte().numpy()
    return frames


def pack(files: list[Path], out: Path) -> None:
    """PNGs named {person}-{row}.png in shards, and their index. Each says of itself that it is synthetic."""
    import numpy as np
    import pandas as pd
    from PIL import Image, PngImagePlugin

    mark = PngImagePlugin.PngInfo()
    mark.add_text("synthetic", "true")
    writer, index = store.ShardWriter(out), []
    for file in files:
        found = np.load(file)
        name = str(found["person"])
        for row, frame in zip(found["rows"].tolist(), found["frames"]):
            png = io.BytesIO()
            Image.fromarray(frame).save(png, "PNG", pnginfo=mark)
            index.append({"person": name, "row": row, **writer.add(f"{name}-{row:06d}.png", png.getvalue())})
    writer.close()
    pd.DataFrame(index).to_parquet(out / "index.parquet", index=False)


if __name__ == "__main__":
    run.main(main)
