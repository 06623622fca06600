"""Lists every utterance of a data set's metadata by YouTube video, in about 60 bytes each, without unpacking.

Metadata is a folder or zip of txt/PERSON/VIDEO/UTTERANCE.txt, or FOMM's vox-metadata.csv.
"""

from __future__ import annotations

import os
import re
import stat
import struct
import zlib
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from pipeline.core.errors import InputError
from pipeline.core.ledger import RejectedItem
from pipeline.media import zip_members
from pipeline.media.multipart import Parts
from pipeline.sources.voxceleb import utterances

LARGEST = 8 * 2**20  # bytes of one text file
_ID = "({person})/({video})/({utterance})".format(**utterances.IDS)
MEMBER = re.compile(rf"(?:[A-Za-z0-9_-]+/)?txt/{_ID}\.txt")
_NAME = re.compile(rf"{_ID}\.txt")
_ENTRY = struct.Struct("<4sHHHHHHLLLHHHHHLL")
ROWS = np.dtype([("video", "S11"), ("person", "i4"), ("utterance", "i4"), ("source", "i2"), ("offset", "i8"), ("packed", "i8"),
                 ("size", "i8"), ("crc", "u4"), ("method", "i2"), ("test", "?")])


class Found(NamedTuple):
    """Location of one utterance's text: a member of a zip, a line of a csv, a file of a folder (offset 0, crc 0)."""

    person: str
    video: str
    utterance: str
    place: zip_members.Place
    test: bool = False


class Wrong(NamedTuple):
    """An unusable entry of the metadata."""

    name: str
    status: str
    reason: str


def scan(path: Path) -> Iterator[Found | Wrong]:
    """Yields every entry of one folder, zip or csv. InputError: it is none of these."""
    if path.is_dir():
        yield from _folder(path / "txt" if (path / "txt").is_dir() else path)
    elif not path.is_file():
        raise InputError(f"{path}: no such file or folder; put VoxCeleb's metadata there (docs/voxceleb.md), or remove it "
                         "from fetch.metadata")
    elif path.suffix == ".csv":
        yield from _lines(path)
    else:
        yield from _members(path)


class Plan(NamedTuple):
    """The utterances of several sources together."""

    rows: np.ndarray  # (n,) ROWS sorted by video, person, utterance
    twice: np.ndarray  # (k,) ROWS that an earlier source or place lists already
    wrong: int  # number of members, files and lines that are not an utterance


def plan(paths: Sequence[Path]) -> Plan:
    """Collects all utterances of these sources."""
    parts, wrong = [np.zeros(0, ROWS)], [0]

    def rows(number: int, path: Path) -> Iterator[tuple[bytes, int, int, int, int, int, int, int, int, bool]]:
        for found in scan(path):
            if isinstance(found, Wrong):
                wrong[0] += 1
            else:
                yield found.video.encode(), int(found.person[2:]), int(found.utterance), number, *found.place, found.test

    parts += [np.fromiter(rows(number, path), ROWS) for number, path in enumerate(paths)]
    every = np.concatenate(parts)
    every = every[np.lexsort([every[name] for name in ("offset", "source", "utterance", "person", "video")])]
    same = np.zeros(len(every), bool)
    same[1:] = np.all([every[name][1:] == every[name][:-1] for name in ("video", "person", "utterance")], 0)
    return Plan(every[~same], every[same], wrong[0])


def read(path: Path, found: Found, kind: utterances.Kind) -> tuple[utterances.Track, list[str]]:
    """The track of an utterance, and a message per unusable line of its text. RejectedItem: it cannot be read."""
    if path.suffix == ".csv":
        data = _bytes(path, found.place)
        return utterances.line(data)[3], []
    if path.is_dir():
        below = path / "txt" if (path / "txt").is_dir() else path
        data = (below / found.person / found.video / f"{found.utterance}.txt").read_bytes()
    else:
        data = zip_members.read(_opened(path), found.place)
    return utterances.text(data, kind, found.person, found.video)


@cache
def _opened(path: Path) -> Parts:
    """Opens the file once per process."""
    return Parts([path])


def _bytes(path: Path, place: zip_members.Place) -> bytes:
    data = _opened(path).piece(place.offset, place.size)
    if zlib.crc32(data) != place.crc:
        raise RejectedItem("corrupt", f"{path.name} changed while it was being read")
    return data


def _folder(root: Path) -> Iterator[Found | Wrong]:
    """Yields a folder's text files, sorted so that the order does not depend on the file system; does not follow links."""
    for place, folders, files in os.walk(root):
        folders.sort()
        for name in sorted(files):
            path = Path(place, name)
            inside = path.relative_to(root).as_posix()
            named = _NAME.fullmatch(inside)
            if not named:
                yield Wrong(inside, "bad-name", "its name is not PERSON/VIDEO/UTTERANCE.txt")
            elif not stat.S_ISREG(path.lstat().st_mode):
                yield Wrong(inside, "bad-name", "not a regular file (a link or a device)")
            elif path.stat().st_size > LARGEST:
                yield Wrong(inside, "too-large", f"{path.stat().st_size} bytes, more than the {LARGEST} of a text file")
            else:
                size = path.stat().st_size
                yield Found(named[1], named[2], named[3], zip_members.Place(0, size, size, 0, 0))


def _lines(path: Path) -> Iterator[Found | Wrong]:
    """Yields a csv's clips; those of a person in a video are numbered from 1 in the order of their lines."""
    count: dict[tuple[str, str], int] = {}
    offset = 0
    with path.open("rb") as file:
        for number, data in enumerate(iter(lambda: file.readline(1 << 16), b""), 1):
            place = zip_members.Place(offset, len(data), len(data), zlib.crc32(data), 0)
            offset += len(data)
            if not data.strip() or (number == 1 and utterances.COLUMNS[0].encode() in data):
                continue
            try:
                person, video, test, _ = utterances.line(data)
            except RejectedItem as problem:
                yield Wrong(f"{path.name}:{number}", problem.status, str(problem))
                continue
            count[person, video] = clip = count.get((person, video), 0) + 1
            yield Found(person, video, f"{clip:05d}", place, test)


def _members(path: Path) -> Iterator[Found | Wrong]:
    """Yields a zip's text files, entry by entry: a million entries are never in memory at once."""
    test = bool(re.search(r"(^|[_-])test([_.-]|$)", path.name))
    for name, flags, mode, place in _entries(path):
        shown = f"{path.name}/{name.encode('unicode_escape').decode()[:200]}@{place.offset}"
        named = MEMBER.fullmatch(name)
        if name.endswith("/") and place.size == 0:
            continue
        if not named:
            yield Wrong(shown, "bad-name", "its name is not txt/PERSON/VIDEO/UTTERANCE.txt")
        elif mode and stat.S_IFMT(mode) and not stat.S_ISREG(mode):
            yield Wrong(shown, "bad-name", "not a regular file (a link or a device)")
        elif flags & 0x41 or place.method not in (0, 8):
            yield Wrong(shown, "corrupt", "encrypted" if flags & 0x41 else
                        f"compression method {place.method}; only stored (0) and deflated (8) are read")
        elif max(place.size, place.packed) > LARGEST:
            yield Wrong(shown, "too-large", f"{place.size} bytes, more than the {LARGEST} of a text file")
        else:
            yield Found(named[1], named[2], named[3], place, test)


def _entries(path: Path) -> Iterator[tuple[str, int, int, zip_members.Place]]:
    """Yields name, flags, Unix mode and location of every member. InputError: not a zip."""
    with path.open("rb", buffering=1 << 20) as file:
        try:
            start, count = _directory(file, path.stat().st_size)
            file.seek(start)
            for _ in range(count):
                head = _ENTRY.unpack(file.read(_ENTRY.size))
                if head[0] != b"PK\1\2":
                    raise ValueError("its table of contents is damaged")
                name, extra, _ = file.read(head[10]), file.read(head[11]), file.read(head[12])
                packed, size, offset = _sizes(extra, head[8], head[9], head[16])
                text = name.decode("utf-8" if head[3] & 0x800 else "cp437", errors="replace")
                yield text, head[3], head[15] >> 16, zip_members.Place(offset, packed, size, head[7], head[4])
        except (struct.error, ValueError) as error:
            raise InputError(f"{path}: not a readable zip ({error}); fetch it again") from None


def _directory(file: BinaryIO, size: int) -> tuple[int, int]:
    """Offset of the table of contents, and its number of members. ValueError: missing or damaged."""
    file.seek(max(0, size - 65_557))
    tail = file.read()
    at = tail.rfind(b"PK\5\6")
    if at < 0:
        raise ValueError("it has no table of contents")
    count, _, start = struct.unpack_from("<HLL", tail, at + 10)
    if at >= 20 and tail[at - 20:at - 16] == b"PK\6\7":
        file.seek(struct.unpack_from("<Q", tail, at - 12)[0])
        signature, count, _, start = struct.unpack("<4s28xQQQ", file.read(56))
        if signature != b"PK\6\6":
            raise ValueError("its table of contents is damaged")
    return start, count


def _sizes(extra: bytes, packed: int, size: int, offset: int) -> tuple[int, int, int]:
    """Packed size, size and offset; taken from the extra field if they exceed 32 bits."""
    at = 0
    while at + 4 <= len(extra) and packed | size | offset > 0x7FFFFFFF:
        kind, length = struct.unpack_from("<HH", extra, at)
        if kind == 1:
            large = iter(struct.unpack_from(f"<{length // 8}Q", extra, at + 4))
            size, packed, offset = (next(large, value) if value == 0xFFFFFFFF else value for value in (size, packed, offset))
            break
        at += 4 + length
    return packed, size, offset


def videos(rows: np.ndarray) -> list[tuple[int, int]]:
    """First row and last row + 1 of each video in the rows of `plan`."""
    edges = [0, *(np.flatnonzero(rows["video"][1:] != rows["video"][:-1]) + 1).tolist(), len(rows)]
    return [(first, last) for first, last in pairwise(edges) if last > first]
