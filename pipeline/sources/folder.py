"""Source `folder`: your own videos, root/person/video.*, in any container ffmpeg reads. They are copied, never changed."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.core import config as settings
from pipeline.core import takedown
from pipeline.core.errors import InputError
from pipeline.core.ledger import RejectedItem, plain
from pipeline.media import filetype, video

WAY_OUT = "move it to {origin}/PERSON/VIDEO.{ext}, one folder per person"


class Config(settings.Strict):
    """The section `data.fetch` of params/DATASET.yaml for `source: folder`."""

    origin: str  # folder of the videos, given on the command line; may hold a takedown.txt
    ids: str  # regular expression that person and video names (without extension) must fully match
    bytes: int  # larger files are rejected
    limits: video.Limits


def items(config: Config) -> list[str]:
    """Paths of all files below the folder, sorted. InputError: no such folder, or `ids` is not a regular expression."""
    root = Path(config.origin).expanduser()
    if not root.is_dir():
        raise InputError(f"there is no folder {config.origin!r}; put videos there as {config.origin}/PERSON/VIDEO.mp4")
    try:
        re.compile(config.ids)
    except re.error as error:
        raise InputError(f"fetch.ids: {config.ids!r} is not a regular expression ({error})") from None
    found = [os.path.relpath(path, root) for path in _files(root)]
    return sorted(path for path in found
                  if path != takedown.NAME and not any(part.startswith(".") for part in Path(path).parts))


def _files(root: Path) -> Iterator[str]:
    """Yields all files below a folder, and links to folders, which are not followed. InputError: it cannot be read."""
    def refuse(error: OSError) -> None:
        raise InputError(f"{error.filename}: {error.strerror}; make the folder readable")

    for folder, inner, names in os.walk(root, onerror=refuse):
        links = [name for name in inner if os.path.islink(os.path.join(folder, name))]
        yield from (os.path.join(folder, name) for name in [*names, *links])


def fetch(config: Config, item: str, folder: Path) -> list[dict[str, Any]]:
    """Copies one file to folder/person/video.ext and probes the copy; returns one ledger row."""
    parts = Path(item).parts
    person, name = (parts[0], Path(item).stem) if len(parts) == 2 else ("", Path(item).name)
    row = {"id": plain(f"{person}/{name}" if person else item), "person": plain(person), "video": plain(name), "path": "",
           "status": "ok", "reason": ""}
    target = folder / item
    try:
        _check(config, item, person, name)
        _copy(Path(config.origin).expanduser() / item, target, config.bytes)
        facts = video.probe(target, config.limits)
        return [row | {"path": item, "reason": "the file is shorter than its header states" if facts.cut else ""}]
    except RejectedItem as problem:
        if row["id"] == f"{person}/{name}":  # otherwise the name may be invalid as a file name
            target.unlink(missing_ok=True)
        return [row | {"status": problem.status, "reason": str(problem)}]


def _check(config: Config, item: str, person: str, name: str) -> None:
    """Checks that need not open the file. RejectedItem: bad-name, takedown, too-large."""
    root = Path(config.origin).expanduser()
    source = root / item
    if not person:
        raise RejectedItem("bad-name", f"{plain(item)} is not in a person's folder; "
                                       + WAY_OUT.format(origin=config.origin, ext=source.suffix.lstrip(".") or "mp4"))
    if takedown.covers(takedown.read(root / takedown.NAME), person, name):
        raise RejectedItem("takedown", "on the take-down list")
    for value in (person, name):
        if not re.fullmatch(config.ids, value):
            raise RejectedItem("bad-name", f"{value!r} does not match {config.ids}; rename it, or change fetch.ids")
    if plain(item) != item:
        raise RejectedItem("bad-name", f"{plain(item)}: its name is too long or has unprintable characters; rename it")
    if not stat.S_ISREG(mode := source.lstat().st_mode):
        what = "a link; put the file itself there" if stat.S_ISLNK(mode) else "neither a file nor a folder; remove it"
        raise RejectedItem("bad-name", f"{item} is {what}")
    twins = sorted(other.name for other in source.parent.glob(f"{_literal(name)}.*") if other.stem == name)
    if twins and twins[0] != source.name:
        raise RejectedItem("bad-name", f"{item} has the same id as {person}/{plain(twins[0])}; rename one of them")
    if (size := source.stat().st_size) > config.bytes:
        raise RejectedItem("too-large", f"{size} bytes, more than the {config.bytes} allowed; cut the video or raise "
                                        "fetch.bytes")


def _literal(name: str) -> str:
    """The name with glob's special characters escaped."""
    return re.sub(r"([*?\[])", r"[\1]", name)


def _copy(source: Path, target: Path, most: int) -> None:
    """Copies at most `most` bytes atomically. RejectedItem: unreadable, or its first bytes are not those of a video."""
    part = target.with_name(f".{hashlib.sha256(target.name.encode()).hexdigest()[:16]}.part")  # short enough for any name
    try:
        file = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)  # it may have become a link or a pipe meanwhile
    except OSError as error:
        raise RejectedItem("corrupt", f"{error.strerror}: {source}") from None
    try:
        size = min(os.fstat(file).st_size, most)
        if size:
            video.refuse(os.pread(file, filetype.HEAD, 0))
        target.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as copy:
            _copy_sparse(file, copy.fileno(), size)
        os.replace(part, target)
    finally:
        os.close(file)


def _copy_sparse(source: int, target: int, size: int) -> None:
    """Copies `size` bytes and keeps holes, so that a small sparse file cannot fill the disk."""
    at = 0
    while at < size:
        try:
            start = os.lseek(source, at, os.SEEK_DATA)
            at = min(os.lseek(source, start, os.SEEK_HOLE), size)
        except OSError as error:
            if error.errno == errno.ENXIO:  # only a hole is left
                break
            start, at = at, size  # a file system without holes
        while start < at and (block := os.pread(source, min(at - start, 1 << 22), start)):
            start += os.pwrite(target, block, start)
    os.ftruncate(target, size)
