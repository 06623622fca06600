"""Runs a stage as DVC does, its work folder elsewhere, red discs for faces: `python made_run.py STAGE ROOT argument…`."""

from __future__ import annotations

import importlib
import resource
import sys
from pathlib import Path

import made_clips

from pipeline.core import stage as core_stage
from stages import _cli


def main() -> None:
    name, root, *words = sys.argv[1:]
    sys.argv = [name, *words]
    core_stage.ROOT = Path(root)
    stage = importlib.import_module(f"stages.{name}")
    if name == "frames":
        stage.detect = made_clips.detect
    _cli.run(stage.main)
    print(f"largest process: {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024} MiB")


if __name__ == "__main__":
    main()
