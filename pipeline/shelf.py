"""Results of a long map, kept one by one: a stage that was killed goes on where it stopped."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from pipeline import engine, run

Item = TypeVar("Item", bound=tuple[Any, ...])  # of strings and numbers: its repr is its name
Record = dict[str, np.ndarray]  # what one item gives; no objects, so that it is read without pickle


def each(function: Callable[[Item], Record], items: Sequence[Item], folder: Path, workers: int, what: str) -> Iterator[Record]:
    """Yields function(item) in the order of `items`; what `folder` (a job's work) has already is not made again.

    A record with an entry `again` is not kept: the next run asks for its item anew.
    """
    paths = engine.map(partial(_keep, function, folder), items, workers)
    for path in run.progress(paths, len(items), what):
        with np.load(path, allow_pickle=False) as file:
            record = dict(file)
        if "again" in record:
            path.unlink()
        yield record


def _keep(function: Callable[[Item], Record], folder: Path, item: Item) -> Path:
    key = hashlib.sha256(repr(tuple(item)).encode()).hexdigest()
    path = folder / key[:2] / f"{key[2:32]}.npz"
    if not path.exists():
        record = function(item)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}.part")
        with part.open("wb") as file:
            np.savez(file, allow_pickle=False, **record)
        os.replace(part, path)
    return path
