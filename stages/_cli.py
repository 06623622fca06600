"""What the command lines of the stages share: options, and what a user sees of an error."""

from __future__ import annotations

import argparse
import errno
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.core import stage
from pipeline.core.errors import InputError

# Keyword arguments of `add_argument`, by the option's name.
OPTIONS: dict[str, dict[str, Any]] = {
    "dataset": {"required": True, "help": "a file of params/, without .yaml"},
    "method": {"required": True, "help": "a file of model/methods/, without .py"},
    "shots": {"required": True, "type": int, "help": "T, frames of each person to learn from"},
    "origin": {"required": True, "type": Path, "help": "what the user brings: videos, or archives that clips are read from"},
    "videos": {"required": True, "type": Path, "help": "folder written by `fetch`"},
    "frames": {"required": True, "type": Path, "help": "folder written by `frames`"},
    "landmarks": {"required": True, "type": Path, "help": "folder written by `landmarks`"},
    "split": {"required": True, "type": Path, "help": "folder written by `split`"},
    "model": {"required": True, "type": Path, "help": "folder written by `train`"},
    "images": {"required": True, "type": Path, "help": "folder written by `adapt`"},
    "out": {"required": True, "type": Path, "help": "folder to write"},
    "data": {"default": Path("data"), "type": Path, "help": "holds DATASET/frames, landmarks, split and videos"},
    "models": {"default": Path("models"), "type": Path, "help": "holds DATASET/METHOD"},
    "results": {"default": Path("results"), "type": Path, "help": "holds DATASET/METHOD/SHOTS"},
    "params": {"default": Path("params.yaml"), "type": Path, "help": "what is chosen per run; params/ lies beside it"},
    "cache": {"type": Path, "help": "of descriptors and features; may be removed at any time"},
}


def parser(doc: str | None, *names: str) -> argparse.ArgumentParser:
    """A command line with these of OPTIONS. doc: the docstring of the stage."""
    made = argparse.ArgumentParser(description=doc)
    for name in names:
        add(made, name)
    return made


def add(to: argparse._ActionsContainer, name: str, **changes: Any) -> None:
    """Adds one of OPTIONS, `changes` in the place of what the table says."""
    place = {"default": stage.ROOT / "work" / "descriptors"} if name == "cache" else {}
    to.add_argument(f"--{name}", **place | OPTIONS[name] | changes)


def run(main: Callable[[], None]) -> None:
    """Runs a command: refused input is one sentence and exit code 1, Ctrl-C is 130; a defect keeps its traceback."""
    stage.keep_memory()
    try:
        main()
    except KeyboardInterrupt:
        print("interrupted; what is done is kept, run again to go on", file=sys.stderr)
        raise SystemExit(130) from None
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        print(f"error: the disk is full ({error.filename or 'while writing'}); make room and run again", file=sys.stderr)
        raise SystemExit(1) from None
