"""File helpers: hashes, JSON written atomically, links, free disk space, fsync."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from pathlib import Path

SPARE = 256 * 2**20  # bytes kept free on a disk


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, body: object) -> None:
    """Writes sorted, indented JSON atomically. ValueError: NaN."""
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(json.dumps(body, indent=1, sort_keys=True, allow_nan=False) + "\n")
    os.replace(temporary, path)


def link(path: Path, target: Path) -> None:
    """Makes `target` a hard link to the file `path`, or a copy where they are on different file systems."""
    try:
        os.link(path, target)
    except OSError:
        shutil.copyfile(path, target)


def need_room(folder: Path) -> None:
    """OSError (no space left) when less than SPARE is free: a failure on a full disk must not be blamed on the item."""
    if shutil.disk_usage(folder).free < SPARE:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


def settle(folder: Path) -> None:
    """Flushes a folder's files and their names to disk."""
    for path in [*folder.iterdir(), folder]:
        sync(path)


def sync(path: Path) -> None:
    """Flushes a file, or the names in a folder, to disk."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
