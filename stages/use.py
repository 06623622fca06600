"""Selects the data set in params.yaml (`make repro DATA=ci`), or a folder of your own videos (`make repro FOLDER=path`).

Without either it checks the names in params.yaml, before DVC complains of a missing file. Where there is no .git, as in an
unpacked source archive, it tells DVC so.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from pipeline.core import config, stage
from pipeline.core.errors import InputError
from stages import _cli

LINK = Path("videos/folder")  # where dvc.yaml looks for the user's own videos


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = _cli.parser(__doc__, "params")
    choice = made.add_mutually_exclusive_group()
    _cli.add(choice, "dataset", required=False)
    choice.add_argument("--folder", type=Path, help="holds person/video.*")
    return made


def main(words: Sequence[str] | None = None) -> None:
    """Edits `datasets` in params.yaml where asked to; for --folder also links videos/folder to the given path."""
    given = parser().parse_args(words)
    if given.folder:
        link(given.folder)
    if given.dataset or given.folder:
        choose(given.params, given.dataset or "folder")
    check(given.params)
    if not Path(".git").exists() and Path(".dvc").is_dir():
        without_git()


def without_git() -> None:
    """Sets core.no_scm in .dvc/config.local, unless it is set: by itself DVC refuses a folder that is no git repository."""
    from dvc.config import Config

    with Config(Path(".dvc").resolve()).edit("local") as local:
        if local.get("core", {}).get("no_scm"):
            return
        local.setdefault("core", {})["no_scm"] = True
    print("no .git here: core.no_scm is set in .dvc/config.local; `dvc exp` and the `diff` commands need a git repository")


def check(path: Path) -> None:
    """InputError when `datasets` or `methods` of the params.yaml names something that is not there.

    A data set that brings no videos of its own gets the empty folder videos/NAME that dvc.yaml lists.
    """
    from eval.scoring import real_frames, user_study

    params = config.load(path)
    known = {path.stem: path for path in (stage.ROOT / "model" / "methods").glob("[!_]*.py")}
    for method in params.methods:
        if method in (real_frames.FOLDER, user_study.FOLDER):
            raise InputError(f"{path}: methods: results/DATASET/{method} is where other results lie; rename the method's "
                                 "file")
        config.pick(known, method, f"{path}: methods")
    for name in params.datasets:
        dataset = config.dataset(path, name)
        for method in params.methods:
            dataset.method(method)
        if dataset.data.source != "folder" and not (origin := path.parent / "videos" / name).exists():
            origin.mkdir(parents=True)
            (origin / ".gitkeep").touch()


def link(folder: Path) -> None:
    """Makes videos/folder a link to `folder`. InputError when there is no such folder or videos/folder is a real one."""
    if not folder.is_dir():
        raise InputError(f"FOLDER={folder}: there is no such folder; name one that holds person/video.*")
    if LINK.is_symlink():
        LINK.unlink()
    elif LINK.exists() and LINK.resolve() != folder.resolve():
        raise InputError(f"{LINK}: holds videos already; move them away, or run with FOLDER={LINK}")
    if not LINK.exists():
        LINK.symlink_to(folder.resolve(), target_is_directory=True)


def choose(path: Path, dataset: str) -> None:
    """Sets `datasets` to [dataset], comments and everything else kept. InputError when there is no such data set."""
    from ruamel.yaml import YAML

    config.dataset(path, dataset)
    if config.load(path).datasets == [dataset]:
        return
    yaml = YAML()
    yaml.width, yaml.preserve_quotes = 4096, True  # leaves other lines as they are
    body = yaml.load(path.read_text())
    body["datasets"][:] = [dataset]  # in place: the list stays on one line, or on several as DVC writes it
    part = path.with_suffix(".part")
    with part.open("w") as file:
        yaml.dump(body, file)
    os.replace(part, path)
    print(f"{path}: datasets: [{dataset}]")


if __name__ == "__main__":
    _cli.run(main)
