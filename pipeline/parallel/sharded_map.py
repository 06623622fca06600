"""A map over many items in shards: one task per shard; finished items wait in its journal until its files are written.

A stage that was killed goes on where it stopped and loses the items in flight. What a shard leaves in its folder hangs on its
items alone: not on the engine, the number of workers, their order, or how often they were killed.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import pandas as pd

from pipeline.core import fileio
from pipeline.parallel import executor, shard_progress
from pipeline.parallel.journal import COUNTS, Journal, places

LIVES = 3  # deaths of workers at one item before the item is rejected

Item = TypeVar("Item", bound=tuple[Any, ...])  # of strings and numbers: its repr is its name
Record = dict[str, np.ndarray]  # what one item gives; no objects, so that it is read without pickle


@dataclass(frozen=True)
class Shard(Generic[Item]):
    """The items of one task."""

    number: int
    items: Sequence[Item]


@dataclass(frozen=True)
class Work(Generic[Item]):
    """The functions of a map, importable by other processes.

    A record may have `status` (counted while the stage runs) and `again`: the next run makes it anew.
    """

    each: Callable[[Item], Record]  # one item
    lost: Callable[[Item, str], Record]  # the record, with this reason, of an item at which its worker died again and again
    finish: Callable[[Shard[Item], Iterator[Record], Path], None]  # makes the shard's files in an empty folder


@dataclass(frozen=True)
class Plan(Generic[Item]):
    """All shards: how many items each has, and the items of one, made when its turn comes."""

    sizes: Sequence[int]
    items: Callable[[int], Sequence[Item]]

    def shard(self, number: int) -> Shard[Item]:
        """One of them."""
        return Shard(number, self.items(number))


def cut(items: Sequence[Item] | pd.DataFrame, per_shard: int) -> Plan[Any]:
    """Shards of `per_shard` items, the last one of what is left. A table's items are its rows; it stays a table."""
    starts = range(0, len(items), per_shard)

    def of(number: int) -> Sequence[Any]:
        part = items[starts[number]:starts[number] + per_shard]
        return list(part.itertuples(index=False, name=None)) if isinstance(part, pd.DataFrame) else part

    return Plan([min(per_shard, len(items) - start) for start in starts], of)


def make(work: Work[Item], plan: Plan[Item], folder: Path, config: executor.Config, what: str) -> Iterator[Path]:
    """Yields the folder of each shard in order; shards and items that `folder` has already are not made again."""
    folder.mkdir(parents=True, exist_ok=True)
    run, numbers = os.urandom(8), range(len(plan.sizes))
    due = {number for number in numbers if not _done(*places(folder, number))}
    shards = (plan.shard(number) for number in numbers if number in due)
    lives = LIVES * (max(plan.sizes, default=0) + 2)
    with (closing(executor.map(partial(_make, work, folder, run), shards, config, lives)) as made,
          shard_progress.watched(folder, plan.sizes, run, what)):
        for number in numbers:
            yield next(made) if number in due else places(folder, number)[0]


def _done(target: Path, journal: Path) -> bool:
    """The shard's files are there, and no record of it waits to be made anew."""
    return target.is_dir() and not journal.exists()


def _make(work: Work[Item], folder: Path, run: bytes, shard: Shard[Item]) -> Path:
    """One task: makes what the journal has not, then the shard's folder."""
    mark = hashlib.sha256(repr([tuple(item) for item in shard.items]).encode()).digest()[:8]
    target, path = places(folder, shard.number)
    with Journal(path, mark, run) as journal:
        if not (journal.empty and target.is_dir()):  # else another task has just made it
            for number, item in enumerate(shard.items):
                if number not in journal:
                    _add(journal, number, _alive(work, journal, number, item))
            _finish(work, shard, journal, target)
        if not journal.again:
            journal.remove()
    return target


def _alive(work: Work[Item], journal: Journal, number: int, item: Item) -> Record:
    """The item's record, unless workers of this run have died at it too often."""
    deaths = journal.begin(number)
    if deaths < LIVES:
        return work.each(item)
    return work.lost(item, f"{deaths} workers died at it (killed, or out of memory)")


def _add(journal: Journal, number: int, record: Record) -> None:
    packed = io.BytesIO()
    np.savez(packed, allow_pickle=False, **record)
    journal.add(number, str(record.get("status", "ok")), packed.getvalue(), again="again" in record)


def _records(journal: Journal, count: int) -> Iterator[Record]:
    for number in range(count):
        with np.load(io.BytesIO(journal.read(number)), allow_pickle=False) as file:
            yield dict(file)


def _finish(work: Work[Item], shard: Shard[Item], journal: Journal, target: Path) -> None:
    """Writes the shard's folder, synced before it is moved into place."""
    if (deaths := journal.begin(len(shard.items))) >= LIVES:
        raise RuntimeError(f"{target}: {deaths} workers died while its files were written")
    part = target.with_name(f".{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    work.finish(shard, _records(journal, len(shard.items)), part)
    fileio.write_json(part / COUNTS, dict(journal.counts()))
    fileio.settle(part)
    shutil.rmtree(target, ignore_errors=True)
    os.replace(part, target)
