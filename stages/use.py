"""Chooses the data set of params.yaml (`make repro DATA=ci`), or a folder of your own videos (`make repro FOLDER=path`).

Without either it checks the names in params.yaml, before DVC complains of a missing file.
"""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path

from eval.scoring import real_frames, user_study
from pipeline.core import config, stage
from pipeline.core.errors import Refused

LINK = Path("videos/folder")  # where dvc.yaml looks for the user's own videos


def main() -> None:
    """Edits `datasets` in params.yaml where asked to; for --folder also links videos/folder to the given path."""
    arguments = argparse.ArgumentParser(description=__doc__)
    choice = arguments.add_mutually_exclusive_group()
    choice.add_argument("--dataset", help="an entry of `data` in params.yaml")
    choice.add_argument("--folder", type=Path, help="holds person/video.*")
    arguments.add_argument("--params", type=Path, default=Path("params.yaml"))
    given = arguments.parse_args()
    if given.folder:
        link(given.folder)
    if given.dataset or given.folder:
        choose(given.params, given.dataset or "folder")
    check(config.load(given.params), str(given.params))


def check(params: config.Params, where: str) -> None:
    """Refused when `datasets` or `methods` names something that is not there."""
    known = {path.stem: path for path in (stage.ROOT / "model" / "methods").glob("[!_]*.py")}
    for method in params.methods:
        if method in (real_frames.FOLDER, user_study.FOLDER):
            raise Refused(f"{where}: methods: results/DATASET/{method} is where other results lie; rename the method's "
                                 "file")
        config.pick(known, method, f"{where}: methods")
    for dataset in params.datasets:
        config.pick(params.data, dataset, f"{where}: data")
        learn = config.pick(params.learn, dataset, f"{where}: learn")
        for method in params.methods:
            config.pick(learn, method, f"{where}: learn.{dataset}")


def link(folder: Path) -> None:
    """Makes videos/folder a link to `folder`. Refused when there is no such folder or videos/folder is a real one."""
    if not folder.is_dir():
        raise Refused(f"FOLDER={folder}: there is no such folder; name one that holds person/video.*")
    if LINK.is_symlink():
        LINK.unlink()
    elif LINK.exists() and LINK.resolve() != folder.resolve():
        raise Refused(f"{LINK}: holds videos already; move them away, or run with FOLDER={LINK}")
    if not LINK.exists():
        LINK.symlink_to(folder.resolve(), target_is_directory=True)


def choose(path: Path, dataset: str) -> None:
    """Sets `datasets` to [dataset], the rest of the file untouched. Refused when there is no such data set or no such line."""
    params = config.load(path)
    config.pick(params.data, dataset, f"{path}: data")
    if params.datasets == [dataset]:
        return
    text, count = re.subn(r"^datasets: *\[[^]]*\]", f"datasets: [{dataset}]", path.read_text(), count=1, flags=re.MULTILINE)
    if not count:
        raise Refused(f"{path}: no line `datasets: [...]`; write it on one line")
    part = path.with_suffix(".part")
    part.write_text(text)
    os.replace(part, path)
    print(f"{path}: datasets: [{dataset}]")


if __name__ == "__main__":
    stage.main(main)
