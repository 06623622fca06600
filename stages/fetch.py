"""source -> videos: verified files of one data set, and a ledger of every id. `--summary` prints how the ledgers stand."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import pkgutil
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline import config, ledger, run, shelf, sources

LEDGER = dict.fromkeys(["id", "person", "video", "path", "status", "reason"], "str")


def fetch(source: str, settings: Any, folder: Path, item: tuple[Any]) -> shelf.Record:
    """One item of the source, its files below `folder`, as a record of its ledger rows."""
    rows = importlib.import_module(f"pipeline.sources.{source}").fetch(settings, item[0], folder)
    later = {"again": np.array(True)} if any(row["status"] in ledger.AGAIN for row in rows) else {}
    return {"rows": np.array(json.dumps(rows))} | later


def link(folder: Path, out: Path) -> None:
    """Every whole file of `folder` under the same name in `out`, without a second copy on the same disk."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        if not path.name.startswith(".") and path.suffix != ".part":
            target = out / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(path, target)
            except OSError:  # data/ lies on another disk
                shutil.copyfile(path, target)


def summary(out: Path | None) -> None:
    """Prints the counts by status of the ledger in `out`, or of each data set's. Refused: there is none."""
    paths = [out / "ledger.parquet"] if out else sorted(Path("data").glob("*/videos/ledger.parquet"))
    if not paths or not paths[0].is_file():
        raise config.Refused(f"{paths[0] if paths else 'data/*/videos'}: there is no ledger.parquet; run `dvc repro` first")
    for path in paths:
        print(f"{path}\n{ledger.counts(pd.read_parquet(path))}")


def main() -> None:
    """Makes the videos folder of one data set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--summary", action="store_true", help="only print the ledgers' counts by status, and their hashes")
    parser.add_argument("--dataset")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--origin", type=Path, help="what the user brings; only some sources look there")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if args.summary:
        return summary(args.out)
    if not (args.dataset and args.origin and args.out):
        parser.error("--dataset, --origin and --out are required")
    return make(args)


def make(args: argparse.Namespace) -> None:
    """Fetches, writes the ledger, publishes."""
    data = config.pick(config.load(args.params).data, args.dataset, "data")
    known = {module.name: module.name for module in pkgutil.iter_modules(sources.__path__)}
    source = config.pick(known, data.source, f"data.{args.dataset}.source")
    module = importlib.import_module(f"pipeline.sources.{source}")
    brought = {"origin": str(args.origin)} if "origin" in module.Config.model_fields else {}
    settings = config.parse(module.Config, data.fetch | brought, f"data.{args.dataset}.fetch")
    with run.stage("fetch", out=args.out, inputs={}, config=[source, data.fetch]) as job:
        items = [(item,) for item in module.items(settings)]
        workers = getattr(settings, "connections", data.workers)  # a server is not asked by as many as a machine has cores
        records = shelf.each(partial(fetch, source, settings, job.work / "videos"), items, job.work / "done", workers,
                             f"fetch {args.dataset}")
        rows = (row for record in records for row in json.loads(str(record["rows"])))
        if hasattr(module, "contents"):  # whole archives: one row for each of their members
            rows = module.contents(settings, list(rows))
        table = ledger.write(job.out / "ledger.parquet", rows, LEDGER)
        ledger.report(table)
        link(job.work / "videos", job.out)
        facts = {"made_from": module.facts()} if hasattr(module, "facts") else {}
        facts |= module.manifest(settings, table) if hasattr(module, "manifest") else {}
        job.publish("videos", {"status": ledger.summary(table), "list": ledger.digest(table)} | facts)


if __name__ == "__main__":
    run.main(main)
