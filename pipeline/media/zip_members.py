"""Reads clips from a zip that stays packed: checks its table of contents member by member, reads a member by its offset."""

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

_HEADER = struct.Struct("<4s22xHH")  # a member's header: signature, …, lengths of its name and of its extra field


class Place(NamedTuple):
    """Location of a member; its text form follows the # of a path in the ledger."""

    offset: int  # of the member's header, bytes from the start of the archive
    packed: int  # bytes in the archive
    size: int  # bytes of the clip
    crc: int
    method: int  # 0 stored, 8 deflated

    def __str__(self) -> str:
        return ",".join(map(str, self))

    @classmethod
    def parse(cls, text: str) -> Place:
        """The inverse of `str`. ValueError: malformed text."""
        return cls(*map(int, text.split(",")))


class Member(NamedTuple):
    """One entry of the table of contents."""

    name: str
    info: zipfile.ZipInfo
    end: int  # offset of the next member


def members(paths: Sequence[Path]) -> Iterator[Member]:
    """Yields all members except folders, by offset. InputError: the joined files are not a zip."""
    with Parts(paths) as whole, io.BufferedReader(whole, 1 << 20) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                infos, start = archive.infolist(), archive.start_dir
        except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError, struct.error) as error:
            raise InputError(f"{paths[0]}: not a zip, joined with the {len(paths) - 1} files after it ({error}); fetch them "
                             "again") from None
    infos.sort(key=lambda info: info.header_offset)
    starts, last = [*(info.header_offset for info in infos), start], None
    for info in infos:
        after = starts[bisect_right(starts, info.header_offset, hi=len(infos))]
        end = after if info.header_offset != last else info.header_offset  # bytes that two entries name belong to the first
        last = info.header_offset
        if not (info.orig_filename.endswith("/") and info.file_size == 0):
            yield Member(info.orig_filename, info, end)


def place(member: Member, largest: int) -> Place:
    """The location of a member.

    RejectedItem: not a regular file, encrypted, unknown compression, too large, empty, or overlapping another member.
    """
    info = member.info
    mode = info.external_attr >> 16
    if mode and not stat.S_ISREG(mode) and stat.S_IFMT(mode):
        raise RejectedItem("bad-name", "not a regular file (a link or a device)")
    if info.flag_bits & 0x41:
        raise RejectedItem("corrupt", "encrypted")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise RejectedItem("corrupt", f"compression method {info.compress_type}; only stored (0) and deflated (8) are read")
    if max(info.file_size, info.compress_size) > largest:
        raise RejectedItem("too-large", f"{max(info.file_size, info.compress_size)} bytes, more than the {largest} allowed")
    if info.file_size == 0:
        raise RejectedItem("empty", "the file has no bytes")
    if info.header_offset < 0 or info.header_offset + _HEADER.size + info.compress_size > member.end:
        raise RejectedItem("corrupt", "its bytes overlap those of the member after it")
    return Place(info.header_offset, info.compress_size, info.file_size, info.CRC, info.compress_type)


def read(file: Parts, where: Place) -> bytes:
    """A member's bytes, never more than the table of contents states. RejectedItem: damaged, or another CRC."""
    signature, name, extra = _HEADER.unpack(_exactly(file, where.offset, _HEADER.size))
    if signature != b"PK\3\4":
        raise RejectedItem("corrupt", "the archive has no member at its offset")
    data = _exactly(file, where.offset + _HEADER.size + name + extra, where.packed)
    if where.method == zipfile.ZIP_DEFLATED:
        try:
            data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, where.size + 1)
        except zlib.error as error:
            raise RejectedItem("corrupt", f"cannot be unpacked ({error})") from None
    if len(data) != where.size:
        raise RejectedItem("corrupt", f"unpacks to {len(data)} bytes or more where the archive lists {where.size}")
    if zlib.crc32(data) != where.crc:
        raise RejectedItem("corrupt", f"CRC {zlib.crc32(data):08x} where the archive lists {where.crc:08x}")
    return data


def _exactly(file: Parts, offset: int, length: int) -> bytes:
    data = file.piece(offset, length)
    if len(data) < length:
        raise RejectedItem("corrupt", "the archive ends within it")
    return data
