"""Chooses the data set of params.yaml: `make repro DATA=ci`, or a folder of your own videos: `make repro FOLDER=path`."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from pipeline import config, run

LINK = Path("videos/folder")  # where dvc.yaml looks for the user's own videos


def main() -> None:
    """Edits `datasets` in params.yaml; for --folder also links videos/folder to the given path."""
    arguments = argparse.ArgumentParser(description=__doc__)
    choice = arguments.add_mutually_exclusive_group(required=True)
    choice.add_argument("--dataset", help="an entry of `data` in params.yaml")
    choice.add_argument("--folder", type=Path, help="holds person/video.*")
    arguments.add_argument("--params", type=Path, default=Path("params.yaml"))
    given = arguments.parse_args()
    dataset = given.dataset or "folder"
    config.pick(config.load(given.params).data, dataset, f"{given.params}: data")
    if given.folder:
        link(given.folder)
    choose(given.params, dataset)
    print(f"params.yaml: datasets: [{dataset}]")


def link(folder: Path) -> None:
    """Makes videos/folder a link to `folder`. Refused when there is no such folder or videos/folder is a real one."""
    if not folder.is_dir():
        raise config.Refused(f"FOLDER={folder}: there is no such folder; name one that holds person/video.*")
    if LINK.is_symlink():
        LINK.unlink()
    elif LINK.exists() and LINK.resolve() != folder.resolve():
        raise config.Refused(f"{LINK}: holds videos already; move them away, or run with FOLDER={LINK}")
    if not LINK.exists():
        LINK.symlink_to(folder.resolve(), target_is_directory=True)


def choose(path: Path, dataset: str) -> None:
    """Sets `datasets` to [dataset]; comments and order of the file stay."""
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.preserve_quotes, yaml.width = True, 4096
    params = yaml.load(path.read_text())
    if list(params["datasets"]) == [dataset]:
        return
    params["datasets"][:] = [dataset]
    part = path.with_suffix(".part")
    with part.open("w") as file:
        yaml.dump(params, file)
    os.replace(part, path)


if __name__ == "__main__":
    run.main(main)
