"""Lists the weights files of third-party networks; --fetch downloads them: over https, resumable, verified before use."""

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
    """Returns the exit status: 1 when a listed file is wrong, or a requested one is still missing."""
    parser = argparse.ArgumentParser(prog="python -m model.backbones", description=__doc__)
    parser.add_argument("--fetch", nargs="*", metavar="NAME", help="download these files, or all that are missing")
    names = parser.parse_args(arguments).fetch
    if names is None:
        return listing()
    for name in names:
        if name not in REGISTRY:
            parser.error(f"there is no {name!r}; the known ones are {', '.join(REGISTRY)}")
    return fetch([REGISTRY[name] for name in names] or list(REGISTRY.values()))


def listing() -> int:
    """Prints one entry per file, in the registry's order; returns 1 when a file has the wrong size or hash."""
    wrong = 0
    for entry in REGISTRY.values():
        choice = "paper's choice" if entry.paper else "stand-in"
        try:
            path = find(entry.name)
            print(f"{'here   ' if path else 'missing'} {entry.name:18} {entry.role} ({choice}; {entry.licence})")
            print(f"        {path or entry.way_out}")
        except InputError as error:
            wrong += 1
            print(f"WRONG   {entry.name:18} {entry.role} ({choice}; {entry.licence})\n        {error}")
    return int(wrong > 0)


def fetch(entries: list[Backbone], open_url: Callable[..., Any] | None = None) -> int:
    """Downloads missing files into the user's folder; prints one sentence per failure; returns the exit status."""
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
    """Downloads one file to `path`, complete or not at all; a partial download stays in `path`.part and is resumed."""
    if entry.package:
        raise InputError(f"{entry.file} is missing: {entry.way_out}")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    if not entry.sha256:
        part.unlink(missing_ok=True)  # without a hash, parts of two versions could be joined unnoticed
    try:
        _receive(entry, part, open_url)
    except urllib.error.URLError as error:
        raise InputError(f"{entry.file} could not be downloaded from {entry.source} "
                         f"({getattr(error, 'reason', error)}): {_by_hand(entry)}") from error
    except OSError as error:
        raise InputError(f"the download of {entry.file} from {entry.source} failed ({error}): run the same command again to "
                         f"resume, or {_by_hand(entry)}") from error
    found = sha256(part)
    if not found.startswith(entry.sha256):
        part.unlink()
        raise InputError(f"{entry.source} sent a file with sha256 {found}, expected {entry.sha256}: nothing was kept; "
                         f"{_by_hand(entry)}")
    os.replace(part, path)


def _by_hand(entry: Backbone) -> str:
    return f"download it by other means and put it into {folder()}"


def _receive(entry: Backbone, part: Path, open_url: Callable[..., Any]) -> None:
    start = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(entry.source, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        response = open_url(request, timeout=60)
    except urllib.error.HTTPError as error:
        if error.code == 416 and start:  # the partial file is complete: its hash decides
            return
        raise
    with response, part.open("ab" if response.status == 206 else "wb") as file:
        expected = response.headers.get("Content-Length")
        received = 0
        while block := response.read(CHUNK):
            file.write(block)
            received += len(block)
    if expected is not None and received != int(expected):
        raise OSError(f"received {received} of {expected} bytes")


class _OnlyHttps(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if not newurl.startswith("https://"):
            raise urllib.error.URLError(f"redirected to {newurl}, which is not https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _https(request: urllib.request.Request, timeout: float) -> Any:
    return urllib.request.build_opener(_OnlyHttps).open(request, timeout=timeout)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
