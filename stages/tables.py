"""Derives metrics.json of every cell and the report's tables again from stored per-frame results, offline."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.core import config, fileio
from pipeline.core.errors import InputError
from pipeline.core.manifest import write_manifest
from stages import _cli

if TYPE_CHECKING:
    from eval.scoring.results import Results


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = _cli.parser(__doc__, "data", "models", "results", "params")
    _cli.add(made, "out", required=False, default=Path("report"))
    return made


def main(words: Sequence[str] | None = None) -> None:
    """Rewrites and names every file that differs from what is derived."""
    given = parser().parse_args(words)
    from eval.scoring.results import Results

    params = config.load(given.params)
    results = Results(given.data, given.models, given.results, params.datasets, params.methods, params.shots)
    with tempfile.TemporaryDirectory() as cache:  # nothing computed before is used
        for line in make(results, given.out, Path(cache)):
            print(line)


def make(results: Results, out: Path, cache: Path) -> list[str]:
    """metrics.json of each cell and the tables in `out` -> what changed, a last line. InputError: nothing is scored."""
    from eval.report import write_tables
    from eval.scoring import real_frames

    rows: list[tuple[str, int | str]] = [(m, t) for m in results.methods for t in results.shots]
    rows += [(real_frames.FOLDER, which) for which in real_frames.LABELS]
    places = [(d, *row) for d in results.datasets for row in rows]
    folders = [folder for place in places if (folder := results.folder(*place)).exists()]
    if not folders:
        raise InputError(f"{results.results}: no cell of {', '.join(results.datasets)} is scored; run `dvc repro`")
    said = [line for folder in folders for line in derive(folder, cache)]
    out.mkdir(parents=True, exist_ok=True)
    changed = write_tables.write(out, write_tables.tables_of(results, cache))
    if changed and (out / "manifest.json").exists():  # its page still has the old tables: no longer a whole report
        (out / "manifest.json").unlink()
        said.append(f"{out}: index.html is older than the tables now; `dvc repro` makes it anew")
    said += [f"{out / name}: written" for name in changed]
    return [*said, f"{len(folders)} cells, {len(changed)} table files changed in {out}"]


def derive(folder: Path, cache: Path) -> list[str]:
    """metrics.json and cross.json from the per-frame results -> a sentence for each that was another.

    InputError when the per-frame results are not what the manifest lists.
    """
    from eval.scoring import audit, cell_summary, cross_reenactment, per_frame

    manifest = audit.manifests(folder).get(folder, {})
    if manifest.get("kind") != "score":
        raise InputError(f"{folder / 'manifest.json'}: missing or no manifest of scores; run `dvc checkout` or `dvc repro`")
    derived = [str(folder / name) for name in ("metrics.json", cross_reenactment.SUMMARY)]
    if wrong := [line for line in audit.files(folder, manifest) if not line.startswith(tuple(derived))]:
        raise InputError(f"{wrong[0]}; run `dvc checkout`, or remove {folder} and run `dvc repro`")
    due = {"metrics.json": cell_summary.summary(per_frame.read(folder), per_frame.Recipe.of(manifest), cache)}
    if "cross" in manifest:
        due[cross_reenactment.SUMMARY] = cross_reenactment.summary(folder, manifest)
    said = []
    for name, body in due.items():
        before = (folder / name).read_bytes() if (folder / name).exists() else b""
        fileio.write_json(folder / name, body)
        if (folder / name).read_bytes() != before:
            said.append(f"{folder / name}: was not what its per-frame results give; written anew")
    if said:
        write_manifest(folder, "score", {key: manifest[key] for key in manifest.keys() - {"schema", "kind", "files"}})
    return said


if __name__ == "__main__":
    _cli.run(main)
