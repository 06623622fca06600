"""`thb VERB …`, or `python -m stages VERB …`: runs a stage or another verb, a file of stages/, in this process."""

from __future__ import annotations

import argparse
import ast
import importlib
import re
import shutil
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CHECKOUT = ("dvc.yaml", "params.yaml", "stages/__main__.py")  # files of its root folder
SHELLS = ("bash", "zsh", "tcsh")


def main(words: Sequence[str] | None = None) -> None:
    """Runs one verb by the code of the checkout that is the current folder, wherever this file was installed from."""
    here = Path.cwd()
    if absent := [name for name in CHECKOUT if not (here / name).is_file()]:
        raise SystemExit(f"error: {here}: there is no {absent[0]}; run from the root of a checkout")
    sys.path.insert(0, str(here))
    if here == ROOT:
        dispatch(list(sys.argv[1:] if words is None else words))
    else:  # installed from another checkout
        for name in ("stages", "stages.__main__"):
            sys.modules.pop(name, None)
        importlib.import_module("stages.__main__").main(words)


def dispatch(words: list[str]) -> None:
    """The verb, the list of verbs, or the completion for a shell."""
    from stages import _cli

    if not words or words[0] in ("-h", "--help"):
        print(overview(shutil.get_terminal_size().columns))
    elif words[0] == "--print-completion":
        _cli.run(lambda: print(completion(words[1] if len(words) > 1 else "")))
    else:
        _cli.run(lambda: run(words[0], words[1:]))


def run(verb: str, words: list[str]) -> None:
    """InputError with the nearest verb where there is none of that name."""
    if verb not in verbs():
        from pipeline.core import config

        config.pick(verbs(), verb, "thb")
    sys.argv = [f"thb {verb}", *words]  # the usage line begins with the first
    importlib.import_module(f"stages.{verb}").main(words)


def verbs() -> dict[str, str]:
    """Verb -> first line of its docstring: the stages in dvc.yaml's order, then what is run by hand, by name. Imports none."""
    files = {path.stem: path for path in sorted((ROOT / "stages").glob("[!_]*.py"))}
    order = dict.fromkeys([*filter(files.get, pipeline()), *files])
    return {verb: (ast.get_docstring(ast.parse(files[verb].read_text())) or "").split("\n")[0] for verb in order}


def pipeline() -> list[str]:
    """The stages of dvc.yaml, in its order."""
    section = re.search(r"^stages:\n((?:[ #].*\n|\n)*)", (ROOT / "dvc.yaml").read_text(), re.M)
    return re.findall(r"^  (\w+):$", section[1], re.M) if section else []


def overview(width: int) -> str:
    """What `thb --help` prints, in lines of at most `width`."""
    lines = ["usage: thb VERB [option ...]", "       thb VERB --help", f"       thb --print-completion {'|'.join(SHELLS)}"]
    found, wide = verbs(), max(map(len, verbs()))
    for title, inside in (("stages of the pipeline, run by `dvc repro`", True), ("run by hand", False)):
        lines += ["", f"{title}:"]
        for verb, doc in found.items():
            if (verb in pipeline()) == inside:
                lines += textwrap.wrap(doc, max(width, 60), initial_indent=f"  {verb:{wide}}  ",
                                       subsequent_indent=" " * (wide + 4))
    return "\n".join(lines)


def completion(shell: str) -> str:
    """A script that completes verbs, options and paths. InputError: no such shell, or shtab is not installed."""
    from pipeline.core.config import pick

    pick(dict.fromkeys(SHELLS), shell, "--print-completion")
    import shtab

    whole = argparse.ArgumentParser("thb")
    whole.add_argument("--print-completion", choices=SHELLS)
    each = whole.add_subparsers()
    for verb, doc in verbs().items():
        own = importlib.import_module(f"stages.{verb}").parser()
        for action in own._actions:
            if action.type is Path:
                action.complete = shtab.FILE
        each.add_parser(verb, parents=[own], add_help=False, help=doc)
    script: str = shtab.complete(whole, shell)
    return script


if __name__ == "__main__":
    main()
