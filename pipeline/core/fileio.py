"""Files written whole or not at all: hashes, JSON, links, room on the disk, fsync."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from pathlib import Path

SPARE = 256 * 2**20  # bytes that stay free on a disk


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, body: object) -> None:
    """Sorted, indented JSON, moved into place when whole. NaN is refused by the encoder (ValueError)."""
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(json.dumps(body, indent=1, sort_keys=True, allow_nan=False) + "\n")
    os.replace(temporary, path)


def link(path: Path, target: Path) -> None:
    """`target` with the bytes of the file `path`, without a second copy where both lie on one disk."""
    try:
        os.link(path, target)
    except OSError:
        shutil.copyfile(path, target)


def need_room(folder: Path) -> None:
    """OSError (no space left) where less than SPARE is free: what fails on a full disk says nothing of the item."""
    if shutil.disk_usage(folder).free < SPARE:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


def settle(folder: Path) -> None:
    """Has a folder's files and their names on the disk before anything that is done next."""
    for path in [*folder.iterdir(), folder]:
        sync(path)


def sync(path: Path) -> None:
    """Has a file, or the names in a folder, on the disk before anything that is done next."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
