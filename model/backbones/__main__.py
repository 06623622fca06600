"""What `python -m model.backbones` prints and, with --fetch, downloads: over https, resumed, verified before use."""

from __future__ import annotations

import argparse
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from model.backbones.registry import REGISTRY, Backbone, find, folder, locate, sha256
from pipeline.core.errors import InputError

CHUNK = 1 << 20


def main(arguments: list[str]) -> int:
    """Returns the exit status: 1 when something asked for is still missing or is not what it should be."""
    parser = argparse.ArgumentParser(prog="python -m model.backbones", description=__doc__)
    parser.add_argument("--fetch", nargs="*", metavar="NAME", help="download these, or all that are missing")
    asked = parser.parse_args(arguments).fetch
    if asked is None:
        return listing()
    for name in asked:
        if name not in REGISTRY:
            parser.error(f"there is no {name!r}; the known ones are {', '.join(REGISTRY)}")
    return fetch([REGISTRY[name] for name in asked] or list(REGISTRY.values()))


def listing() -> int:
    """Prints a line a file, in the registry's order; a file that is not what it should be makes the status 1."""
    wrong = 0
    for entry in REGISTRY.values():
        choice = "paper's choice" if entry.paper else "stand-in"
        try:
            path = find(entry.name)
            print(f"{'here   ' if path else 'missing'} {entry.name:18} {entry.role} ({choice}; {entry.licence})")
            print(f"        {path or entry.way_out}")
        except InputError as refused:
            wrong += 1
            print(f"WRONG   {entry.name:18} {entry.role} ({choice}; {entry.licence})\n        {refused}")
    return int(wrong > 0)


def fetch(entries: list[Backbone], open_url: Callable[..., Any] | None = None) -> int:
    """Downloads what is missing into the user's folder; one sentence a file that fails."""
    failed = 0
    for entry in entries:
        try:
            if locate(entry.name) is None:
                download(entry, folder() / entry.file, open_url or _https)
            print(f"{entry.file}: here ({find(entry.name)})")
        except (InputError, OSError) as error:
            failed += 1
            print(error, file=sys.stderr)
    return int(failed > 0)


def download(entry: Backbone, path: Path, open_url: Callable[..., Any]) -> None:
    """One file, whole or not at all at `path`; what came so far stays in `path`.part and is gone on from."""
    if entry.package:
        raise InputError(f"{entry.file} is not here: {entry.way_out}")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    if not entry.sha256:
        part.unlink(missing_ok=True)  # without a hash, halves of two versions could not be told from one file
    try:
        _receive(entry, part, open_url)
    except urllib.error.URLError as error:
        raise InputError(f"{entry.file} could not be downloaded from {entry.source} "
                         f"({getattr(error, 'reason', error)}): {_by_hand(entry)}") from error
    except OSError as error:
        raise InputError(f"{entry.file} from {entry.source} broke off ({error}): run the same command again to go on, "
                         f"or {_by_hand(entry)}") from error
    found = sha256(part)
    if not found.startswith(entry.sha256):
        part.unlink()
        raise InputError(f"{entry.source} sent a file with sha256 {found} where {entry.sha256} is due: nothing was kept; "
                         f"{_by_hand(entry)}")
    os.replace(part, path)


def _by_hand(entry: Backbone) -> str:
    return f"fetch it by other means and put it into {folder()}"


def _receive(entry: Backbone, part: Path, open_url: Callable[..., Any]) -> None:
    start = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(entry.source, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        answer = open_url(request, timeout=60)
    except urllib.error.HTTPError as error:
        if error.code == 416 and start:  # nothing lies beyond what is here: let the hash judge it
            return
        raise
    with answer, part.open("ab" if answer.status == 206 else "wb") as file:
        due = answer.headers.get("Content-Length")
        got = 0
        while block := answer.read(CHUNK):
            file.write(block)
            got += len(block)
    if due is not None and got != int(due):
        raise OSError(f"{got} of {due} bytes came")


class _OnlyHttps(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if not newurl.startswith("https://"):
            raise urllib.error.URLError(f"redirected to {newurl}, which is not https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _https(request: urllib.request.Request, timeout: float) -> Any:
    return urllib.request.build_opener(_OnlyHttps).open(request, timeout=timeout)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
