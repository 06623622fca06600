"""Clips that took days to fetch, kept for good: a fixed number of plain tars, the same bytes in whatever order they came.

A video belongs to the bucket of its id's hash. Of bucket NNN there are
- NNN.jsonl, which decides what counts: a first line with the tar's name and size, then a line for each item, sorted;
- NNN-DIGEST.tar, members NAME.SUFFIX sorted by name, DIGEST that of the list, so that a new tar never takes an old one's place
  before the new list does;
- NNN-….journal, one for each process that adds to it: what came since, to be merged by `finish`. A torn end is passed over.
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

_FRAME = struct.Struct("<4sIIQ")  # of a journal's record: mark, length and crc32 of its list, bytes of all its data


class Place(NamedTuple):
    """Where a member's data lies in a plain tar; as text it is what stands behind the # of a ledger's path."""

    offset: int
    length: int
    crc: int

    def __str__(self) -> str:
        return ",".join(map(str, self))

    @classmethod
    def parse(cls, text: str) -> Place:
        """The opposite of `str`. ValueError: not such a text."""
        return cls(*map(int, text.split(",")))


class Item(NamedTuple):
    """What is kept of one utterance; a status that is final, for good."""

    name: str  # PERSON/VIDEO/UTTERANCE
    key: str  # of the metadata it was made from: with another one it is to be made anew
    status: str
    reason: str
    members: Mapping[str, Sequence[int]]  # suffix -> Place; in a journal offsets count from the start of its data


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
        """Name -> key of everything in this video's bucket. Read once; only the last bucket is remembered."""
        number = self.number(video)
        if number not in self._known:
            found = {item.name: item.key for item in _listed(self._list(number))[1]}
            for path in self._in_flight(number):
                found |= {item.name: item.key for items, _ in _records(path) for item in items}
            self._known = {number: found}
        return self._known[number]

    def keep(self, video: str, items: Iterable[tuple[Item, Mapping[str, bytes]]]) -> None:
        """Adds what became of a video, at once: after a kill either all of it is there or nothing."""
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
            file.write(_FRAME.pack(b"tube", len(head), zlib.crc32(head), len(data)) + head + data)
            file.flush()
            os.fdatasync(file.fileno())  # the site may not show it again: it outlives the machine, too

    def finish(self, number: int, wanted: Mapping[str, str], stays: Callable[[str], bool] = lambda name: False) -> None:
        """Merges a bucket's journals into its tar and list; what is not wanted (name -> key) any more is dropped for good.

        `stays`: whether a name that `wanted` does not have is kept nevertheless.
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
        """The tar under a name that hangs on its contents, then the list, then what it replaces goes."""
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
                                     f"run "
                                     "again to fetch its clips anew")
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
        fileio.sync(self.folder)  # what is removed next is in the new tar, whatever happens to the machine
        for path in self.folder.glob(f"{number:03d}-*.tar"):
            if path.name != name or not members:
                path.unlink()

    def items(self, number: int) -> Iterator[Item]:
        """What the list of a finished bucket says."""
        yield from _listed(self._list(number))[1]

    def archive(self, number: int) -> tuple[str, int] | None:
        """Name and bytes of a bucket's tar, None if it has none."""
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
    """A member's data out of a plain tar. RejectedItem: it is damaged."""
    data = file.piece(place.offset, place.length)
    if len(data) != place.length or zlib.crc32(data) != place.crc:
        raise RejectedItem("corrupt", f"the {place.length} bytes at {place.offset} of its tar are damaged (crc differs)")
    return data


def _listed(path: Path) -> tuple[str, list[Item]]:
    """The name of a bucket's tar and its list; nothing if it has none. InputError: the list or its tar is not as it was."""
    if not path.is_file():
        return "", []
    try:
        head, *lines = (json.loads(line) for line in path.read_text().splitlines())
        tar = path.parent / head["tar"]
        if head["tar"] and (not tar.is_file() or tar.stat().st_size != head["bytes"]):
            raise ValueError(f"{tar.name} is not there with its {head['bytes']} bytes")
        return head["tar"], [Item(*line) for line in lines]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not a whole list ({error}); bring it back, or remove it to fetch its clips again") from None


def _records(path: Path) -> Iterator[tuple[list[Item], int]]:
    """A journal's whole records: items, and where their data begins. What a kill left at its end is passed over."""
    with path.open("rb") as file:
        end, at = os.fstat(file.fileno()).st_size, 0
        while at + _FRAME.size <= end:
            file.seek(at)
            mark, length, crc, size = _FRAME.unpack(file.read(_FRAME.size))
            start = at + _FRAME.size + length
            head = file.read(length)
            if mark != b"tube" or start + size > end or zlib.crc32(head) != crc:
                return
            yield [Item(*line) for line in json.loads(head)], start
            at = start + size
