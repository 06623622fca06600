"""Tar shards with an index: a member is read by its offset, without scanning the tar."""

from __future__ import annotations

import io
import os
import tarfile
import zlib
from pathlib import Path
from typing import TypedDict

from pipeline.core.errors import InputError


class Place(TypedDict):
    """Location of a member's bytes."""

    shard: int
    offset: int  # bytes from the start of the shard file to the first byte of the member's data
    length: int
    crc: int  # crc32 of the data


class Tar:
    """Writes one tar file; equal members give equal bytes."""

    def __init__(self, path: Path) -> None:
        self._tar = tarfile.open(path, "w", format=tarfile.PAX_FORMAT)  # noqa: SIM115

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return int(self._tar.offset)

    def add(self, name: str, data: bytes) -> tuple[int, int, int]:
        """Appends one member; returns offset of its data in the file, length, crc32."""
        header = tarfile.TarInfo(name)
        header.size = len(data)
        offset = self.size + len(header.tobuf(self._tar.format or tarfile.PAX_FORMAT, "utf-8", "surrogateescape"))
        self._tar.addfile(header, io.BytesIO(data))
        return offset, len(data), zlib.crc32(data)

    def close(self) -> None:
        """Finishes the file."""
        self._tar.close()


class ShardWriter:
    """Writes 00000.tar, 00001.tar, … in `folder`; equal members give equal bytes."""

    def __init__(self, folder: Path, max_items: int = 64_000, max_bytes: int = 512 * 2**20) -> None:
        self.folder, self.max_items, self.max_bytes = folder, max_items, max_bytes
        self._shard, self._items = -1, 0
        self._tar: Tar | None = None

    def add(self, name: str, data: bytes) -> Place:
        """Appends one member and returns its place."""
        offset, length, crc = self._room(len(data)).add(name, data)
        self._items += 1
        return Place(shard=self._shard, offset=offset, length=length, crc=crc)

    def _room(self, length: int) -> Tar:
        full = self._items >= self.max_items or (self._tar is not None and self._tar.size + length > self.max_bytes)
        if self._tar is None or full:
            self.close()
            self._shard, self._items = self._shard + 1, 0
            self._tar = Tar(self.folder / f"{self._shard:05d}.tar")
        return self._tar

    def close(self) -> None:
        """Finishes the open shard."""
        if self._tar is not None:
            self._tar.close()
            self._tar = None


class ShardReader:
    """Reads members by their location; keeps files open."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files: dict[int, int] = {}

    def read(self, shard: int, offset: int, length: int, crc: int) -> bytes:
        """The member's bytes. InputError when the shard cannot be opened or the crc differs from the index."""
        path = self.folder / f"{shard:05d}.tar"
        if shard not in self._files:
            try:
                opened = os.open(path, os.O_RDONLY)
            except OSError as error:
                raise InputError(f"{path}: {error.strerror}; run `dvc checkout` or `dvc repro`") from None
            if self._files.setdefault(shard, opened) != opened:  # another thread opened it first
                os.close(opened)
        data = os.pread(self._files[shard], length, offset)
        if len(data) != length or zlib.crc32(data) != crc:
            raise InputError(f"{path}: the {length} bytes at {offset} are damaged (crc differs); remove {self.folder} "
                             "and run `dvc repro`")
        return data

    def __del__(self) -> None:
        for file in self._files.values():
            os.close(file)
