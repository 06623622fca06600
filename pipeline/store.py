"""What a stage leaves behind: tar shards with an index, and a manifest that is written last."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import shutil
import tarfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypedDict

from pipeline.config import Refused

SCHEMA = 1
SPARE = 256 * 2**20  # bytes that stay free on a disk


class Place(TypedDict):
    """Where a member's bytes lie."""

    shard: int
    offset: int  # bytes from the start of the shard file to the first byte of the member's data
    length: int
    crc: int  # crc32 of the data


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


def join(paths: Iterable[Path], out: Path) -> int:
    """Parquet files of one schema (at least one) as one, a row group each, none for an empty one; how many rows there are."""
    import pyarrow.parquet as parquet

    rows, writer = 0, None
    try:
        for path in paths:
            table = parquet.read_table(path, partitioning=None)
            writer = writer or parquet.ParquetWriter(out, table.schema)
            if len(table):
                writer.write_table(table)
            rows += len(table)
    finally:
        if writer:
            writer.close()
    return rows


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


def write_manifest(folder: Path, kind: str, body: Mapping[str, Any]) -> None:
    """Writes folder/manifest.json, last: its presence means that the folder is whole."""
    files = {str(path.relative_to(folder)): {"bytes": path.stat().st_size, "sha256": sha256(path)}
             for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "manifest.json"}
    write_json(folder / "manifest.json", {**body, "schema": SCHEMA, "kind": kind, "files": files})


def read_manifest(folder: Path, kind: str | None = None) -> dict[str, Any]:
    """The manifest of a whole folder. Refused when it is absent, of another kind or schema, or a file is not as listed."""
    path = folder / "manifest.json"
    try:
        manifest: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        raise Refused(f"{path}: missing, so {folder} is not whole; run `dvc repro` to make it") from None
    except json.JSONDecodeError as error:
        raise Refused(f"{path}: not JSON ({error}); remove {folder} and run `dvc repro`") from None
    if manifest.get("schema") != SCHEMA or kind not in (None, manifest.get("kind")):
        raise Refused(f"{path}: schema {manifest.get('schema')}, kind {manifest.get('kind')!r} where schema {SCHEMA}, "
                      f"kind {kind!r} is due; remove {folder} and run `dvc repro`")
    for name, fact in manifest["files"].items():
        file = folder / name
        if not file.is_file() or file.stat().st_size != fact["bytes"]:
            found = f"{file.stat().st_size} bytes" if file.is_file() else "nothing"
            raise Refused(f"{file}: {found} where the manifest lists {fact['bytes']} bytes; run `dvc checkout`, "
                          f"or remove {folder} and run `dvc repro`")
    return manifest


class Tar:
    """Appends members to one tar file; the same members give the same bytes."""

    def __init__(self, path: Path) -> None:
        self._tar = tarfile.open(path, "w", format=tarfile.PAX_FORMAT)  # noqa: SIM115

    @property
    def size(self) -> int:
        """Bytes so far."""
        return int(self._tar.offset)

    def add(self, name: str, data: bytes) -> tuple[int, int, int]:
        """Appends one member: offset of its data in the file, length, crc32."""
        header = tarfile.TarInfo(name)
        header.size = len(data)
        offset = self.size + len(header.tobuf(self._tar.format or tarfile.PAX_FORMAT, "utf-8", "surrogateescape"))
        self._tar.addfile(header, io.BytesIO(data))
        return offset, len(data), zlib.crc32(data)

    def close(self) -> None:
        """Ends the file."""
        self._tar.close()


class ShardWriter:
    """Appends members to 00000.tar, 00001.tar, … in `folder`; the same members give the same bytes."""

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
    """Reads members by their place; open files are kept."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files: dict[int, int] = {}

    def read(self, shard: int, offset: int, length: int, crc: int) -> bytes:
        """The member's bytes. Refused when they do not have the crc of the index."""
        path = self.folder / f"{shard:05d}.tar"
        if shard not in self._files:
            try:
                opened = os.open(path, os.O_RDONLY)
            except OSError as error:
                raise Refused(f"{path}: {error.strerror}; run `dvc checkout` or `dvc repro`") from None
            if self._files.setdefault(shard, opened) != opened:  # another thread was first
                os.close(opened)
        data = os.pread(self._files[shard], length, offset)
        if len(data) != length or zlib.crc32(data) != crc:
            raise Refused(f"{path}: the {length} bytes at {offset} are damaged (crc differs); remove {self.folder} "
                          "and run `dvc repro`")
        return data

    def __del__(self) -> None:
        for file in self._files.values():
            os.close(file)
