"""Few-shot learning of one test person, and the frames generated of it."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import driving_pairs
from pipeline.core import config
from pipeline.core.manifest import read_manifest
from pipeline.core.shards import Place, ShardWriter
from pipeline.parallel import worker

if TYPE_CHECKING:
    import numpy as np

    from model.api import Method
    from pipeline.episodes import Faces


@dataclass(frozen=True)
class Cell:
    """One method at one T: what every worker needs to know."""

    frames: Path
    landmarks: Path
    split: Path
    model: Path
    shots: int
    seed: int
    drivers: driving_pairs.Config
    work: Path


@cache
def opened(cell: Cell) -> tuple[Method, Faces]:
    """The trained method and the data, once a process."""
    import torch
    from safetensors.torch import load_file

    from model.api import DataInfo, load
    from pipeline.episodes import Faces

    torch.set_num_threads(1)
    if (gpus := torch.cuda.device_count()) > 1:  # workers side by side each take their own
        torch.cuda.set_device(worker.number() % gpus)
    manifest = read_manifest(cell.model, "model")
    kind = load(manifest["method"])
    chosen = config.parse(kind.Config, manifest["config"], f"{cell.model / 'manifest.json'}: config")
    facts = DataInfo(**manifest["facts"])
    method = kind(chosen, facts, cell.seed)
    method.load_weights(load_file(cell.model / "weights.safetensors"))
    return method, Faces(cell.frames, cell.landmarks, cell.split, facts.size)


def person(n: int, cell: Cell) -> Path:
    """Learns test person n and draws all its frames -> a file of 8-bit frames in the work folder, kept for a later run."""
    import numpy as np
    import torch

    file = cell.work / f"{n:05d}.npz"
    if file.exists():
        return file
    method, faces = opened(cell)
    subject = faces.subjects[n]
    sources, holdout = subject.sources[:cell.shots], subject.holdout
    head = method.adapt(torch.from_numpy(faces.images(sources)), torch.from_numpy(faces.poses(sources)), cell.seed)
    driving = faces.images if method.driven_by == "frames" else faces.poses
    others = driving_pairs.drivers(faces.subjects, n, cell.drivers)
    drawn = [eight_bit(head(torch.from_numpy(driving(rows)))) for rows in (holdout, driving_pairs.rows(others)) if len(rows)]
    part = file.with_suffix(".part")
    with part.open("wb") as out:
        np.savez(out, person=subject.person, driver=[subject.person] * len(holdout) + [driver for driver, _ in others],
                 rows=np.concatenate([holdout, driving_pairs.rows(others)]), frames=np.concatenate(drawn))
        out.flush()
        os.fsync(out.fileno())  # a later run takes it for whole
    os.replace(part, file)
    return file


def eight_bit(x_hat: Any) -> np.ndarray:
    """(N, 3, H, W) in [0, 1] -> (N, H, W, 3) uint8, rounded to the nearest."""
    frames: np.ndarray = (x_hat.permute(0, 2, 3, 1) * 255).round().byte().numpy()
    return frames


def pack(files: list[Path], out: Path) -> None:
    """PNGs in shards: {person}-{row}.png and, driven by another, {person}-by-{driver}-{row}.png; and the index of either kind.

    Each says of itself that it is synthetic.
    """
    import numpy as np
    import pandas as pd
    from PIL import Image, PngImagePlugin

    mark = PngImagePlugin.PngInfo()
    mark.add_text("synthetic", "true")
    writer, index, driven = ShardWriter(out), [], []
    for file in files:
        found = np.load(file)
        name = str(found["person"])
        for driver, row, frame in zip(found["driver"].tolist(), found["rows"].tolist(), found["frames"]):
            png = io.BytesIO()
            Image.fromarray(frame).save(png, "PNG", pnginfo=mark)
            by = "" if driver == name else f"by-{driver}-"
            place = writer.add(f"{name}-{by}{row:06d}.png", png.getvalue())
            if driver == name:
                index.append({"person": name, "row": row, **place})
            else:
                driven.append({"person": name, "driver": driver, "row": row, **place})
    writer.close()
    pd.DataFrame(index).to_parquet(out / "index.parquet", index=False)
    pd.DataFrame(driven, columns=["person", "driver", "row", *Place.__annotations__]).to_parquet(
        out / driving_pairs.INDEX, index=False)
