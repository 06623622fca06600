"""Writes the fingerprint of every stage's code: one small file for each stage and method, each line a hash and a path.

DVC's other stages depend on these files instead of the code: a comment runs none of them again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from pipeline.core import config, fingerprint, stage

PLAIN = ("frames", "landmarks", "split", "floors", "score", "report")


def main() -> None:
    """Writes OUT/STAGE, OUT/STAGE-METHOD and OUT/fetch-DATASET; a file whose content stays is left alone."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--params", type=Path, default=Path("params.yaml"))
    arguments.add_argument("--out", type=Path, default=Path("code"))
    given = arguments.parse_args()
    made = fingerprints(given.params)
    given.out.mkdir(exist_ok=True)
    for path in sorted(given.out.iterdir()):
        if path.name not in made:
            path.unlink()
    for name, text in made.items():
        path = given.out / name
        if not path.is_file() or path.read_text() != text:
            path.write_text(text)


def fingerprints(params: Path, root: Path = fingerprint.ROOT) -> dict[str, str]:
    """Name of the file -> its text, for every stage of dvc.yaml, method and data set."""
    methods = sorted(path.stem for path in (root / "model" / "methods").glob("[!_]*.py"))
    wanted: dict[str, dict[str, str]] = {name: {} for name in PLAIN}
    wanted |= {f"{name}-{method}": {"method": method} for name in fingerprint.BY_METHOD for method in methods}
    wanted |= {f"fetch-{name}": {"source": config.dataset(params, name).data.source} for name in config.known_datasets(params)}
    return {name: text(fingerprint.files(name.split("-")[0], root=root, **given)) for name, given in wanted.items()}


def text(files: dict[str, str]) -> str:
    """A line for each file: hash and path."""
    return "".join(f"{value}  {name}\n" for name, value in files.items())


if __name__ == "__main__":
    stage.main(main)
