"""Fetches the verified videos of one data set and writes a ledger with the status of every id."""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import pkgutil
import shutil
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from pipeline import sources
from pipeline.core import config, fileio, ledger, stage
from pipeline.core.errors import InputError
from pipeline.parallel import executor
from stages import _cli

if TYPE_CHECKING:
    from pipeline.parallel import sharded_map

# path: a file below the videos folder, or ARCHIVE#place. boxes: "" or, in the same two forms, float32 (n, 4) of a .npy: the
# given box x0, y0, x1, y1 of the face in every frame of the clip, pixels; NaN rows where none is given.
LEDGER = dict.fromkeys(["id", "person", "video", "path", "boxes", "status", "reason"], "str")
ROWS = "rows.jsonl"  # in a shard's folder


class Shards(config.Strict):
    """The keys of `data.fetch` that all sources share."""

    per_shard: int = Field(ge=1)  # items of the source a task


def fetch(source: str, settings: Any, folder: Path, item: tuple[Any]) -> sharded_map.Record:
    """One item of the source, its files below `folder`, as a record of its ledger rows."""
    import numpy as np

    rows = importlib.import_module(f"pipeline.sources.{source}").fetch(settings, item[0], folder)
    later = {"again": np.array(True)} if any(row["status"] in ledger.AGAIN for row in rows) else {}
    odd = next((row["status"] for row in rows if row["status"] != "ok"), "ok")
    return {"rows": np.array(json.dumps(rows)), "status": np.array(odd)} | later


def lost(item: tuple[Any], reason: str) -> sharded_map.Record:
    """The record of an item whose workers died."""
    import numpy as np

    row = {"id": ledger.plain(str(item[0])), "status": "corrupt", "reason": reason}
    return {"rows": np.array(json.dumps([row])), "status": np.array("corrupt")}


def finish(shard: sharded_map.Shard[Any], records: Iterable[sharded_map.Record], folder: Path) -> None:
    """The ledger rows of one shard, one a line."""
    with (folder / ROWS).open("w") as file:
        file.writelines(json.dumps(row) + "\n" for record in records for row in json.loads(str(record["rows"])))


def rows(folders: Iterable[Path]) -> Iterator[dict[str, Any]]:
    """The ledger rows of all shards, one at a time."""
    for folder in folders:
        with (folder / ROWS).open() as file:
            yield from map(json.loads, file)


def link(folder: Path, out: Path) -> None:
    """Every whole file of `folder` under the same name in `out`, without a second copy on the same disk."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        if not path.name.startswith(".") and path.suffix != ".part":
            target = out / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            fileio.link(path, target)


def summary(out: Path | None) -> None:
    """Prints the counts by status of the ledger in `out`, or of each data set's. InputError: there is none."""
    import pandas as pd

    paths = [out / "ledger.parquet"] if out else sorted(Path("data").glob("*/videos/ledger.parquet"))
    if not paths or not paths[0].is_file():
        raise InputError(f"{paths[0] if paths else 'data/*/videos'}: there is no ledger.parquet; run `dvc repro` first")
    for path in paths:
        print(f"{path}\n{ledger.counts(pd.read_parquet(path))}")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = _cli.parser(__doc__, "params")
    made.add_argument("--summary", action="store_true", help="only print the ledgers' counts by status, and their hashes")
    for name in ("dataset", "origin", "out"):
        _cli.add(made, name, required=False)
    return made


def main(words: Sequence[str] | None = None) -> None:
    """Makes the videos folder of one data set."""
    args = parser().parse_args(words)
    if args.summary:
        return summary(args.out)
    if not (args.dataset and args.origin and args.out):
        parser().error("--dataset, --origin and --out are required")
    return make(args)


def make(args: argparse.Namespace) -> None:
    """Fetches, writes the ledger, publishes."""
    from pipeline.parallel import sharded_map

    given = config.dataset(args.params, args.dataset)
    data = given.data
    known = {module.name: module.name for module in pkgutil.iter_modules(sources.__path__)}
    source = config.pick(known, data.source, given.where("data.source"))
    module = importlib.import_module(f"pipeline.sources.{source}")
    brought = {"origin": str(args.origin)} if "origin" in module.Config.model_fields else {}
    where = given.where("data.fetch")
    shared = {name: value for name, value in data.fetch.items() if name in Shards.model_fields}
    own = {name: value for name, value in data.fetch.items() if name not in shared}
    per_shard = config.parse(Shards, shared, where).per_shard
    settings = config.parse(module.Config, own | brought, where)
    chosen = config.parse(executor.Config, data.engine, given.where("data.engine"))
    if hasattr(settings, "connections"):  # a server limits connections, whatever the number of cores
        chosen = chosen.model_copy(update={"workers": settings.connections})
    items = module.items(settings)
    with stage.run("fetch", out=args.out, inputs={}, config=[source, data.fetch, _digest(items)],
                   source=source) as job:
        work = sharded_map.Work(partial(fetch, source, settings, job.shelf / "videos"), lost, finish)
        plan = sharded_map.cut([(item,) for item in items], per_shard)
        made = rows(sharded_map.make(work, plan, job.shelf / "done", chosen, f"fetch {args.dataset}"))
        if hasattr(module, "contents"):  # whole archives: one row for each of their members
            made = module.contents(settings, made)
        table = ledger.write(job.out / "ledger.parquet", made, LEDGER)
        ledger.report(table)
        link(job.shelf / "videos", job.out)
        facts = {"made_from": module.facts()} if hasattr(module, "facts") else {}
        facts |= module.manifest(settings, table) if hasattr(module, "manifest") else {}
        job.publish("videos", {"status": ledger.summary(table), "list": ledger.digest(table)} | facts)
        shutil.rmtree(job.shelf / "done", ignore_errors=True)  # the user's files may change: the next run checks all of them


def _digest(items: Sequence[str]) -> str:
    """sha256 of the items: part of the key of resumed work, since settings and code do not determine them."""
    digest = hashlib.sha256()
    for item in items:
        digest.update(item.encode(errors="surrogateescape") + b"\n")
    return digest.hexdigest()


if __name__ == "__main__":
    _cli.run(main)
