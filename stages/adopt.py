"""Records the output of a stage, or its unfinished work, as made by the present code: for changes that keep the result.

`make adopt STAGE=train@voxceleb2-ft` says which files have changed since and asks. It refuses where more than code has changed.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.core import fingerprint, stage
from pipeline.core.errors import InputError
from stages import _cli


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = _cli.parser(__doc__, "params")
    made.add_argument("stage", help="as `dvc stage list` names it: train@sample-ff")
    made.add_argument("--yes", action="store_true", help="do not ask")
    return made


def main(words: Sequence[str] | None = None) -> None:
    """Says what changed; after a yes records it. InputError: no such stage, nothing to adopt, or not only code has changed."""
    given = parser().parse_args(words)
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    fingerprint.write(Path("code"), fingerprint.stages(given.params))
    with Repo() as repo:
        try:
            [found] = repo.stage.collect(given.stage)
        except (DvcException, ValueError):
            raise InputError(f"STAGE={given.stage}: dvc.yaml has no such single stage; `dvc stage list --name-only` has the "
                             "names") from None
        dependency = next((dep for dep in found.deps if Path(dep.fs_path).parent == Path("code").resolve()), None)
        if dependency is None:
            raise InputError(f"STAGE={given.stage}: it depends on no file of code/; there is nothing to adopt")
        now = parsed(Path(dependency.fs_path).read_text())
        if any(out.exists for out in found.outs):
            finished(repo, given, found, dependency, now)
        else:
            begun(given, found.cmd, now)


def finished(repo: Any, given: argparse.Namespace, found: Any, dependency: Any, now: dict[str, str]) -> None:
    """Records the output that is there by `dvc commit`."""
    name = Path(dependency.fs_path).name
    status = repo.status(targets=[given.stage])
    changed = [entry for entries in status.values() for one in entries if isinstance(one, dict)
               for part in one.values() if isinstance(part, dict) for entry in part]
    if others := [entry for entry in changed if entry != f"code/{name}"]:
        raise InputError(f"STAGE={given.stage}: not only its code has changed ({', '.join(others)}); `dvc repro` makes it "
                         "anew")
    if not changed:
        raise InputError(f"STAGE={given.stage}: it was made by the present code; there is nothing to adopt")
    before = Path(repo.cache.local.oid_to_path(dependency.hash_info.value)) if dependency.hash_info else Path("-")
    told(given.stage, parsed(before.read_text()) if before.is_file() else None, now)
    if agreed(given):
        repo.commit(given.stage, force=True)
        print(f"{given.stage}: recorded in dvc.lock as made by this code")


def begun(given: argparse.Namespace, command: str, now: dict[str, str]) -> None:
    """Gives the work of an interrupted run the key of the present code."""
    words = shlex.split(command)
    out, name = Path(words[words.index("--out") + 1]), words[words.index("-m") + 1].split(".")[-1]
    kept = [path for path in (stage.ROOT / "work" / name).glob(f"*/{stage.KEY}")
            if json.loads(path.read_text())["out"] == str(out)]
    if not kept:
        raise InputError(f"STAGE={given.stage}: there is neither an output nor unfinished work of it; `dvc repro "
                         f"{given.stage}` begins")
    newest = max(kept, key=lambda path: path.stat().st_mtime_ns)
    made_of = json.loads(newest.read_text())
    if made_of["code"] == now:
        raise InputError(f"STAGE={given.stage}: its unfinished work was begun by this code; `dvc repro {given.stage}` goes on")
    told(given.stage, made_of["code"], now)
    if agreed(given):
        to = stage.adopt(newest.parent, made_of | {"code": now})
        print(f"{to}: `dvc repro {given.stage}` resumes it, if configuration and inputs are unchanged")


def parsed(text: str) -> dict[str, str]:
    """A file of code/ as path -> sha256."""
    return {name: value for value, name in (line.split("  ", 1) for line in text.splitlines())}


def told(name: str, before: dict[str, str] | None, now: dict[str, str]) -> None:
    """Prints which files have changed."""
    if before is None:
        print(f"{name}: its code has changed; the files cannot be named, as DVC's cache no longer has the old fingerprint")
        return
    print(f"{name}: changed since it ran:")
    for path in sorted(before.keys() | now.keys()):
        if before.get(path) != now.get(path):
            print(f"  {path}{'' if path in now and path in before else ' (new)' if path in now else ' (gone)'}")


def agreed(given: argparse.Namespace) -> bool:
    """Whether the user says yes. InputError: nobody can be asked."""
    if given.yes:
        return True
    if not sys.stdin.isatty():
        raise InputError(f"STAGE={given.stage}: there is no terminal to ask on; pass --yes (YES=1)")
    return input("Is the result the same with these changes? Record it as made by the present code? [yes/no] ").strip() == "yes"


if __name__ == "__main__":
    _cli.run(main)
