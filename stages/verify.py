"""Verifies a results folder: hashes, metrics.json from per-frame results and, where images and data exist, some frames.

One line for each number or file that does not match, and exit code 1; else one line that says what was looked at.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from pipeline.core.errors import InputError
from stages import _cli


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = _cli.parser(__doc__)
    made.add_argument("folder", type=Path, help="results/DATASET, or any folder that has scored cells below it")
    made.add_argument("--data", type=Path, help="frames, landmarks, split (default: data/DATASET)")
    made.add_argument("--seed", type=int, default=0, help="which person of each cell is scored again from the images")
    return made


def main(words: Sequence[str] | None = None) -> None:
    """Prints what does not match."""
    given = parser().parse_args(words)
    wrong, looked = verify(given.folder, given.data, given.seed)
    print("\n".join(wrong) if wrong else f"everything matches: {looked}")
    raise SystemExit(1 if wrong else 0)


def verify(root: Path, data: Path | None, seed: int) -> tuple[list[str], str]:
    """(one sentence a mismatch, what was looked at). InputError when there is no scored cell below `root`."""
    import numpy as np

    from eval.scoring import audit

    found = audit.manifests(root)
    cells = {folder: manifest for folder, manifest in found.items() if manifest.get("kind") == "score"}
    if not cells:
        raise InputError(f"{root}: no scored cell lies below it; give results/DATASET (`dvc checkout` brings its files back)")
    wrong = [line for folder, manifest in found.items() for line in audit.files(folder, manifest)]
    rng, again = np.random.default_rng(seed), audit.Again(0, [])
    with tempfile.TemporaryDirectory() as cache:  # nothing computed before is trusted
        for folder, manifest in cells.items():
            wrong += audit.derived(folder, manifest, Path(cache))
            place = data or data_of(root, str(manifest.get("dataset")))
            for line in audit.scored_again(folder, manifest, place, rng, Path(cache)):
                if isinstance(line, str):
                    wrong.append(line)
                else:
                    again = audit.Again(again.frames + line.frames, sorted({*again.missing, *line.missing}))
    frames = sum(audit.frames(manifest) for manifest in cells.values())
    left_out = f" (without {', '.join(again.missing)}: not to be computed here)" if again.missing else ""
    return wrong, f"{len(cells)} cells, {frames} frames, {again.frames} of them scored again from their images{left_out}"


def data_of(root: Path, dataset: str) -> Path:
    """Where the data set lies: below the folder itself, beside its results, or in the present checkout."""
    places = [root / "data" / dataset, root.parent.parent / "data" / dataset, Path("data") / dataset]
    return next((place for place in places if (place / "split").exists()), places[-1])


if __name__ == "__main__":
    _cli.run(main)
