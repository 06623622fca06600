"""A zip of clips that stays as it came: its table of contents judged member by member, one member's bytes by their place."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
import zlib
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from pipeline.core.errors import InputError
from pipeline.core.ledger import RejectedItem
from pipeline.media.multipart import Parts

_HEADER = struct.Struct("<4s22xHH")  # of a member: signature, …, length of its name and of its extra field


class Place(NamedTuple):
    """Where a member lies; as text it is what stands behind the # of a ledger's path."""

    offset: int  # of the member's header, bytes from the start of the whole
    packed: int  # bytes in the archive
    size: int  # bytes of the clip
    crc: int
    method: int  # 0 stored, 8 deflated

    def __str__(self) -> str:
        return ",".join(map(str, self))

    @classmethod
    def parse(cls, text: str) -> Place:
        """The opposite of `str`. ValueError: not such a text."""
        return cls(*map(int, text.split(",")))


class Member(NamedTuple):
    """One line of the table of contents."""

    name: str
    info: zipfile.ZipInfo
    end: int  # where the next member begins


def members(paths: Sequence[Path]) -> Iterator[Member]:
    """All members but folders, in the order of their bytes. InputError: the files together are not a zip."""
    with Parts(paths) as whole, io.BufferedReader(whole, 1 << 20) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                infos, start = archive.infolist(), archive.start_dir
        except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError, struct.error) as error:
            raise InputError(f"{paths[0]}: with the {len(paths) - 1} files after it not a zip ({error}); fetch them "
                             "again") from None
    infos.sort(key=lambda info: info.header_offset)
    starts, last = [*(info.header_offset for info in infos), start], None
    for info in infos:
        after = starts[bisect_right(starts, info.header_offset, hi=len(infos))]
        end = after if info.header_offset != last else info.header_offset  # of lines with the same bytes the first has them
        last = info.header_offset
        if not (info.orig_filename.endswith("/") and info.file_size == 0):
            yield Member(info.orig_filename, info, end)


def place(member: Member, largest: int) -> Place:
    """Where the clip lies.

    RejectedItem: not a plain file, encrypted, packed in an unknown way, too large, or not its own bytes.
    """
    info = member.info
    mode = info.external_attr >> 16
    if mode and not stat.S_ISREG(mode) and stat.S_IFMT(mode):
        raise RejectedItem("bad-name", "not a plain file (a link or a device)")
    if info.flag_bits & 0x41:
        raise RejectedItem("corrupt", "encrypted")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise RejectedItem("corrupt", f"packed by method {info.compress_type}; stored (0) and deflated (8) are read")
    if max(info.file_size, info.compress_size) > largest:
        raise RejectedItem("too-large", f"{max(info.file_size, info.compress_size)} bytes, more than the {largest} allowed")
    if info.file_size == 0:
        raise RejectedItem("empty", "the file has no bytes")
    if info.header_offset < 0 or info.header_offset + _HEADER.size + info.compress_size > member.end:
        raise RejectedItem("corrupt", "its bytes overlap those of the member after it")
    return Place(info.header_offset, info.compress_size, info.file_size, info.CRC, info.compress_type)


def read(file: Parts, where: Place) -> bytes:
    """The clip's bytes, never more than the table of contents says. RejectedItem: damaged, or its CRC is another one."""
    signature, name, extra = _HEADER.unpack(_exactly(file, where.offset, _HEADER.size))
    if signature != b"PK\3\4":
        raise RejectedItem("corrupt", "there is no member of the archive at its place")
    data = _exactly(file, where.offset + _HEADER.size + name + extra, where.packed)
    if where.method == zipfile.ZIP_DEFLATED:
        try:
            data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, where.size + 1)
        except zlib.error as error:
            raise RejectedItem("corrupt", f"cannot be unpacked ({error})") from None
    if len(data) != where.size:
        raise RejectedItem("corrupt", f"{len(data)} bytes or more unpacked where the archive lists {where.size}")
    if zlib.crc32(data) != where.crc:
        raise RejectedItem("corrupt", f"CRC {zlib.crc32(data):08x} where the archive lists {where.crc:08x}")
    return data


def _exactly(file: Parts, offset: int, length: int) -> bytes:
    data = file.piece(offset, length)
    if len(data) < length:
        raise RejectedItem("corrupt", "the archive ends within it")
    return data
