"""Write-ahead log of a shard: one record per finished item; complete records survive a kill, torn or damaged ones are dropped.

A record is a header (mark, run, number, kind, status, length and crc32 of the payload, crc32 of the header) and the payload.
The mark is a hash of the items, so that a journal of other items has no record. A header that is damaged is passed over up to
the next whole one: a flipped byte costs its own record only.
"""

from __future__ import annotations

import fcntl
import os
import struct
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

STARTED, KEPT, AGAIN = range(3)  # kinds: an item was begun; its record; a record that only the run that made it takes
_HEAD = struct.Struct("<8s8sIB3x16sQI")
_CRC = struct.Struct("<I")
_SIZE = _HEAD.size + _CRC.size
_BLOCK = 1 << 20
COUNTS = "counts.json"  # in the folder of a finished shard: how many items have which status


def places(folder: Path, number: int) -> tuple[Path, Path]:
    """The folder of a finished shard, and its journal until then."""
    return folder / f"{number:05d}", folder / f"{number:05d}.journal"


class Entry(NamedTuple):
    """One record, without its payload."""

    run: bytes  # 8 bytes, another in each run of a stage
    number: int  # of the item
    kind: int
    status: str  # at most 16 bytes
    length: int  # of the payload, bytes
    crc: int
    offset: int  # of the payload in the file

    @property
    def end(self) -> int:
        """Where the next record begins."""
        return self.offset + self.length

    def counts_in(self, run: bytes) -> bool:
        """It is the record of an item, and this run takes it."""
        return self.kind == KEPT or (self.kind == AGAIN and self.run == run)


def entries(file: int, mark: bytes, start: int = 0) -> Iterator[Entry]:
    """The headers of all records that are whole in length, from the byte `start` on."""
    size = os.fstat(file).st_size
    while start + _SIZE <= size and (at := _find(file, mark, start)) is not None:
        entry = _entry(file, at)
        if entry is None or entry.end > size:  # torn or damaged; or bytes of a payload that look like a mark
            start = at + 1
        else:
            yield entry
            start = entry.end


def _find(file: int, mark: bytes, start: int) -> int | None:
    """The first place of `mark` from the byte `start` on; as a rule it is there."""
    if os.pread(file, len(mark), start) == mark:
        return start
    while len(block := os.pread(file, _BLOCK, start)) >= len(mark):
        if (found := block.find(mark)) >= 0:
            return start + found
        start += len(block) - len(mark) + 1
    return None


def _entry(file: int, at: int) -> Entry | None:
    head = os.pread(file, _SIZE, at)
    if len(head) < _SIZE or zlib.crc32(head[:_HEAD.size]) != _CRC.unpack_from(head, _HEAD.size)[0]:
        return None
    _, run, number, kind, status, length, crc = _HEAD.unpack_from(head)
    return Entry(run, number, kind, status.rstrip(b"\0").decode(), length, crc, at + _SIZE)


class Journal:
    """The journal of one shard, opened to resume: locked, a torn tail cut off, damaged records dropped."""

    def __init__(self, path: Path, mark: bytes, run: bytes) -> None:
        self.path, self._mark, self._run = path, mark, run
        self._file = _locked(path)
        self._whole: dict[int, Entry] = {}
        self._begun: Counter[int] = Counter()  # how often this run began an item since it last ended
        end = 0
        for entry in entries(self._file, mark):
            end = entry.end
            self._take(entry)
        os.ftruncate(self._file, end)
        self._synced = time.monotonic()

    def _take(self, entry: Entry) -> None:
        """Notes one record; the last one of an item counts."""
        if entry.kind == STARTED:
            self._begun[entry.number] += entry.run == self._run
        elif zlib.crc32(os.pread(self._file, entry.length, entry.offset)) == entry.crc:
            self._begun[entry.number] = 0
            if entry.counts_in(self._run):
                self._whole[entry.number] = entry

    def __contains__(self, number: int) -> bool:
        return number in self._whole

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *error: object) -> None:
        os.close(self._file)

    @property
    def empty(self) -> bool:
        """No item was begun yet."""
        return not self._whole and not self._begun

    @property
    def again(self) -> bool:
        """The next run must make some record again."""
        return any(entry.kind == AGAIN for entry in self._whole.values())

    def counts(self) -> Counter[str]:
        """How many records have which status."""
        return Counter(entry.status for entry in self._whole.values())

    def begin(self, number: int) -> int:
        """Records that an item is begun -> how often this run began it before without finishing."""
        before = self._begun[number]
        self._begun[number] += 1
        self._append(number, STARTED, "", b"")
        return before

    def add(self, number: int, status: str, payload: bytes, again: bool = False) -> None:
        """Appends the record of an item. It survives a kill at once, and a power failure after a second."""
        self._whole[number] = self._append(number, AGAIN if again else KEPT, status, payload)
        self._begun[number] = 0
        if time.monotonic() - self._synced >= 1:
            os.fdatasync(self._file)
            self._synced = time.monotonic()

    def _append(self, number: int, kind: int, status: str, payload: bytes) -> Entry:
        crc = zlib.crc32(payload)
        head = _HEAD.pack(self._mark, self._run, number, kind, status.encode(), len(payload), crc)
        rest = memoryview(head + _CRC.pack(zlib.crc32(head)) + payload)
        while rest:
            rest = rest[os.write(self._file, rest):]
        end = os.lseek(self._file, 0, os.SEEK_CUR)
        return Entry(self._run, number, kind, status, len(payload), crc, end - len(payload))

    def read(self, number: int) -> bytes:
        """The payload of an item's record."""
        entry = self._whole[number]
        return os.pread(self._file, entry.length, entry.offset)

    def remove(self) -> None:
        """Removes the file, once its records are stored elsewhere."""
        self.path.unlink()


def _locked(path: Path) -> int:
    """The file, open and ours: where a driver died, a job that it started may still be at the same shard."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            if os.path.samestat(os.fstat(file), os.stat(path)):
                return file
        except FileNotFoundError:  # it was removed while this process waited
            pass
        os.close(file)
