"""The data stages as DVC calls them, with networks made of nothing, each item's begin and end noted, and items that kill.

`python -c "import made_stage; made_stage.main()" STAGE argument…` runs one with `work/` below $ROOT and its notes in $NOTES.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import made_clips
import made_clips as clips
import made_faces
import numpy as np

from pipeline.core import stage
from pipeline.landmarks import detect_landmarks
from pipeline.parallel import executor, sharded_map
from stages import _cli

Note = tuple[float, int, str, str]  # seconds, process, begin | end, item


def main() -> None:
    """One stage; its items are those of the real one."""
    name = sys.argv.pop(1)
    stage.ROOT = Path(os.environ["ROOT"])
    module = importlib.import_module(f"stages.{name}")
    real = sharded_map.make
    sharded_map.make = lambda work, *rest: real(replace(work, each=partial(noted, work.each)), *rest)
    if name == "frames":
        from model import backbones

        sys.modules["model.backbones.registry"] = backbones.registry = SimpleNamespace(hashes=lambda *names: {})
        module.detect = made_clips.detect
    if name == "landmarks":
        module.find = find
    _cli.run(module.main)


def noted(each: Callable[[Any], sharded_map.Record], item: Any) -> sharded_map.Record:
    """What `each` gives, between two notes."""
    note("begin", item)
    record = each(item)
    note("end", item)
    return record


def note(what: str, item: Any) -> None:
    """One line of $NOTES; a kill can only leave it out."""
    line = json.dumps([time.time(), os.getpid(), what, repr(item)]) + "\n"
    file = os.open(os.environ["NOTES"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(file, line.encode())
    os.close(file)


def notes(path: Path) -> list[Note]:
    """All of them."""
    return [tuple(json.loads(line)) for line in path.read_text().splitlines()] if path.is_file() else []


def find(item: detect_landmarks.Item, frames: Path, name: str) -> sharded_map.Record:
    """Points that say what the picture looks like."""
    def predict(images: Sequence[np.ndarray], boxes: np.ndarray) -> np.ndarray:
        time.sleep(.02 * len(images))
        return np.array([made_faces.face(len(image)) + image.mean() for image in images], np.float32)

    return detect_landmarks.find(item, frames, predict) | {"sha256": np.array("{}")}


def detect(images: np.ndarray, fatal: Path) -> list[np.ndarray]:
    """As the made detector, but the first process that sees $NOTES' clip of a darker tone dies; `fatal` remembers that."""
    if images[0, 0, 0, 0] < 30 and not fatal.exists():
        fatal.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return made_clips.detect(images)


def deadly(item: tuple[int, str]) -> sharded_map.Record:
    """Item 1 kills the process that takes it, and leaves a line."""
    if item[0] == 1:
        with open(item[1], "a") as file:
            file.write("1\n")
        os.kill(os.getpid(), signal.SIGKILL)
    return {"text": np.array("done")}


def given_up(item: tuple[int, str], reason: str) -> sharded_map.Record:
    """The record of item 1 in the end."""
    return {"text": np.array(reason)}


def texts(shard: sharded_map.Shard[tuple[int, str]], records: Iterator[sharded_map.Record], folder: Path) -> None:
    """A line an item."""
    (folder / "texts").write_text("".join(f"{item[0]} {record['text']}\n" for item, record in zip(shard.items, records)))


def missing(item: str) -> str:
    """Fails."""
    return {}[item]


def slow(item: tuple[int, str]) -> sharded_map.Record:
    """Takes its time."""
    time.sleep(.3)
    return {"text": np.array("done")}


def jobs(folder: str) -> None:
    """Ten slow items in two jobs of submitit."""
    stage.ROOT = Path(folder)
    work = sharded_map.Work(partial(noted, slow), given_up, texts)
    config = executor.Config(kind="slurm", workers=2, slurm={"cluster": "local"})
    list(sharded_map.make(work, sharded_map.cut([(n, "") for n in range(10)], 5), Path(folder) / "shelf", config, "test"))


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*")) if path.is_file()}


def talking(path: Path, x: float = 60, tone: int = 60, n: int = 8) -> Path:
    return clips.write(path, [clips.picture([(x + k, 60, 20)], tone=tone + k) for k in range(n)])


def lost(item: tuple[str, int], reason: str) -> sharded_map.Record:
    return {"value": np.full(5, -1), "status": np.array("corrupt")}


def total(shard: sharded_map.Shard, records: Iterator[sharded_map.Record], folder: Path) -> None:
    (folder / "values").write_text(" ".join(str(record["value"].tolist()) for record in records))
