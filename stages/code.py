"""Writes the fingerprint of every stage's code: one small file per stage and method with a hash and a path per line.

The other stages depend on these files instead of the code, so a comment runs none of them again.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from pipeline.core import fingerprint
from stages import _cli


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = _cli.parser(__doc__, "params")
    _cli.add(made, "out", required=False, default=Path("code"))
    return made


def main(words: Sequence[str] | None = None) -> None:
    """Writes OUT/STAGE, OUT/STAGE-METHOD and OUT/fetch-DATASET."""
    given = parser().parse_args(words)
    fingerprint.write(given.out, fingerprint.stages(given.params))


if __name__ == "__main__":
    _cli.run(main)
