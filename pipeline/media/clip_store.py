"""Stores fetched clips permanently in a fixed number of plain tars; the bytes do not depend on the order of fetching.

The hash of its id assigns a video to a bucket. Bucket NNN consists of
- NNN.jsonl, the authoritative list: a first line with the tar's name and size, then one line per item, sorted;
- NNN-DIGEST.tar, members NAME.SUFFIX sorted by name; DIGEST is that of the list, so that a new tar never overwrites the old
  one before the new list is in place;
- NNN-….journal, one per process that adds items: new ones, until `finish` merges them. An incomplete last record is ignored.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import struct
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from pipeline.core import fileio
from pipeline.core.errors import InputError
from pipeline.core.ledger import RejectedItem
from pipeline.core.shards import Tar
from pipeline.media.multipart import Parts

_RECORD = struct.Struct("<4sIIQ")  # header of a journal's record: mark, length and crc32 of its list, bytes of all its data


class Place(NamedTuple):
    """Location of a member's data in a plain tar; its text form follows the # of a path in the ledger."""

    offset: int
    length: int
    crc: int

    def __str__(self) -> str:
        return ",".join(map(str, self))

    @classmethod
    def parse(cls, text: str) -> Place:
        """The inverse of `str`. ValueError: malformed text."""
        return cls(*map(int, text.split(",")))


class Item(NamedTuple):
    """The stored result of one utterance; its status is final."""

    name: str  # PERSON/VIDEO/UTTERANCE
    key: str  # of its metadata: with another key it is made again
    status: str
    reason: str
    members: Mapping[str, Sequence[int]]  # suffix -> Place; in a journal offsets are relative to the record's data


@dataclass
class Buckets:
    """All buckets of one folder."""

    folder: Path
    count: int
    _known: dict[int, dict[str, str]] = field(default_factory=dict)
    _journals: dict[int, Path] = field(default_factory=dict)

    def number(self, video: str) -> int:
        """The bucket of a video."""
        return int.from_bytes(hashlib.sha256(video.encode()).digest()[:8]) % self.count

    def known(self, video: str) -> Mapping[str, str]:
        """Name -> key of every item in this video's bucket. Cached for the last bucket only."""
        number = self.number(video)
        if number not in self._known:
            found = {item.name: item.key for item in _listed(self._list(number))[1]}
            for path in self._in_flight(number):
                found |= {item.name: item.key for items, _ in _records(path) for item in items}
            self._known = {number: found}
        return self._known[number]

    def keep(self, video: str, items: Iterable[tuple[Item, Mapping[str, bytes]]]) -> None:
        """Adds all items of a video atomically: after a kill either all of them are stored or none."""
        number, listed, data = self.number(video), [], bytearray()
        for item, members in items:
            places: dict[str, list[int]] = {}
            for suffix, content in members.items():
                places[suffix] = [len(data), len(content), zlib.crc32(content)]
                data += content
            listed.append(item._replace(members=places))
        head = json.dumps(listed).encode()
        if number not in self._journals:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._journals = {number: self.folder / f"{number:03d}-{os.getpid()}-{time.time_ns():x}.journal"}
        with self._journals[number].open("ab") as file:
            file.write(_RECORD.pack(b"tube", len(head), zlib.crc32(head), len(data)) + head + data)
            file.flush()
            os.fdatasync(file.fileno())  # the site may not serve it again: it must survive a crash of the machine

    def finish(self, number: int, wanted: Mapping[str, str], stays: Callable[[str], bool] = lambda name: False) -> None:
        """Merges a bucket's journals into its tar and list; deletes items that are no longer `wanted` (name -> key).

        `stays`: whether a name that is not in `wanted` is kept all the same.
        """
        tar, listed = _listed(self._list(number))
        found = {item.name: (item, self.folder / tar, 0) for item in listed}
        journals = self._in_flight(number)
        for path in journals:
            for items, start in _records(path):
                found |= {item.name: (item, path, start) for item in items}
        kept = {name: entry for name, entry in sorted(found.items())
                if (wanted[name] == entry[0].key if name in wanted else stays(name))}
        if journals or len(kept) < len(listed):
            self._write(number, kept)
        for path in [*self.folder.glob(f"{number:03d}-*.part"), *journals]:
            path.unlink()
        self._known.pop(number, None)
        self._journals.pop(number, None)

    def _write(self, number: int, kept: Mapping[str, tuple[Item, Path, int]]) -> None:
        """Writes the tar under a name that depends on its contents, then the list, then removes the old tar."""
        members = sorted((f"{name}{suffix}", name, suffix) for name, (item, _, _) in kept.items() for suffix in item.members)
        part = self.folder / f"{number:03d}-new.tar.part"
        places: dict[str, dict[str, Sequence[int]]] = {name: {} for name in kept}
        archive = Tar(part)
        with contextlib.closing(archive), contextlib.ExitStack() as stack:
            files: dict[Path, int] = {}
            for full, name, suffix in members:
                item, path, start = kept[name]
                offset, length, crc = item.members[suffix]
                if path not in files:
                    files[path] = os.open(path, os.O_RDONLY)
                    stack.callback(os.close, files[path])
                data = os.pread(files[path], length, start + offset)
                if len(data) != length or zlib.crc32(data) != crc:
                    raise InputError(f"{path}: the {length} bytes of {full} are damaged (crc differs); remove this file and "
                                     "run again to fetch its clips anew")
                places[name][suffix] = archive.add(full, data)
        lines = [json.dumps(kept[name][0]._replace(members=places[name])) for name in kept]
        digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
        name = f"{number:03d}-{digest}.tar"
        head = json.dumps({"tar": name if members else "", "bytes": part.stat().st_size if members else 0})
        if members:
            fileio.sync(part)
            os.replace(part, self.folder / name)
        fresh = self.folder / f"{number:03d}-list.part"
        fresh.write_text("\n".join([head, *lines]) + "\n")
        fileio.sync(fresh)
        os.replace(fresh, self._list(number))
        fileio.sync(self.folder)  # the new tar must survive a crash before the old one is removed
        for path in self.folder.glob(f"{number:03d}-*.tar"):
            if path.name != name or not members:
                path.unlink()

    def items(self, number: int) -> Iterator[Item]:
        """The items of a finished bucket."""
        yield from _listed(self._list(number))[1]

    def archive(self, number: int) -> tuple[str, int] | None:
        """Name and size in bytes of a bucket's tar; None if it has none."""
        path = self._list(number)
        if not path.is_file():
            return None
        with path.open() as file:
            head = json.loads(file.readline())
        return (head["tar"], head["bytes"]) if head["tar"] else None

    def _list(self, number: int) -> Path:
        return self.folder / f"{number:03d}.jsonl"

    def _in_flight(self, number: int) -> list[Path]:
        return sorted(self.folder.glob(f"{number:03d}-*.journal"), key=lambda path: (path.stat().st_mtime_ns, path.name))


def read(file: Parts, place: Place) -> bytes:
    """A member's data in a plain tar. RejectedItem: damaged."""
    data = file.piece(place.offset, place.length)
    if len(data) != place.length or zlib.crc32(data) != place.crc:
        raise RejectedItem("corrupt", f"the {place.length} bytes at {place.offset} of its tar are damaged (crc differs)")
    return data


def _listed(path: Path) -> tuple[str, list[Item]]:
    """Name of a bucket's tar and its items; empty if there is no list. InputError: the list is damaged or its tar missing."""
    if not path.is_file():
        return "", []
    try:
        head, *lines = (json.loads(line) for line in path.read_text().splitlines())
        tar = path.parent / head["tar"]
        if head["tar"] and (not tar.is_file() or tar.stat().st_size != head["bytes"]):
            raise ValueError(f"{tar.name} with {head['bytes']} bytes is missing")
        return head["tar"], [Item(*line) for line in lines]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: incomplete list ({error}); restore it, or remove it to fetch its clips again") from None


def _records(path: Path) -> Iterator[tuple[list[Item], int]]:
    """Yields a journal's complete records: items, and the offset of their data. Ignores an incomplete last record."""
    with path.open("rb") as file:
        end, at = os.fstat(file.fileno()).st_size, 0
        while at + _RECORD.size <= end:
            file.seek(at)
            mark, length, crc, size = _RECORD.unpack(file.read(_RECORD.size))
            start = at + _RECORD.size + length
            head = file.read(length)
            if mark != b"tube" or start + size > end or zlib.crc32(head) != crc:
                return
            yield [Item(*line) for line in json.loads(head)], start
            at = start + size
