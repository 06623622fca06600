"""Feature vectors cached by content: the same real frame is scored in many cells of the table.

One append-only file per kind: records of sha256 key, float32 vector, crc32. May be removed at any time; it is not an output.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np


def key(recipe: str, *arrays: np.ndarray) -> bytes:
    """sha256 of a recipe (hashes of the networks, preprocessing in words) and of the arrays that it is applied to."""
    digest = hashlib.sha256(recipe.encode())
    for array in arrays:
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.digest()


class Cache:
    """Vectors by key in memory and in `folder` (None: memory only): metrics with the same cache share their features.

    Several processes may use one folder at the same time.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder, self._held = folder, dict[str, dict[bytes, np.ndarray]]()

    def vectors(self, kind: str, keys: Sequence[bytes], width: int,
                compute: Callable[[list[int]], Iterator[np.ndarray]]) -> np.ndarray:
        """(n, width) float32. `compute(missing)` yields the vectors at these positions in order; each is stored immediately."""
        record = np.dtype([("key", "V32"), ("vector", "<f4", (width,)), ("crc", "<u4")])
        if kind not in self._held:
            self._held[kind] = self._read(kind, record)
        have = self._held[kind]
        first = {k: j for j, k in reversed(list(enumerate(keys)))}
        missing = sorted(j for k, j in first.items() if k not in have)
        for j, vector in zip(missing, compute(missing), strict=True) if missing else ():
            have[keys[j]] = np.asarray(vector, np.float32)
            self._append(kind, record, keys[j], have[keys[j]])
        return np.stack([have[k] for k in keys]) if keys else np.zeros((0, width), np.float32)

    def _read(self, kind: str, record: np.dtype) -> dict[bytes, np.ndarray]:
        path = self.folder / f"{kind}.bin" if self.folder else None
        if path is None or not path.exists():
            return {}
        data = path.read_bytes()
        rows = np.frombuffer(data[:len(data) // record.itemsize * record.itemsize], record)  # without an incomplete last one
        return {row["key"].tobytes(): row["vector"] for row in rows if row["crc"] == _crc(row)}

    def _append(self, kind: str, record: np.dtype, name: bytes, vector: np.ndarray) -> None:
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        row = np.zeros((), record)
        row["key"], row["vector"] = np.void(name), vector
        row["crc"] = _crc(row)
        with (self.folder / f"{kind}.bin").open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            end = os.fstat(file.fileno()).st_size
            os.ftruncate(file.fileno(), end - end % record.itemsize)  # the incomplete record of a killed writer
            file.write(row.tobytes())


def _crc(row: np.ndarray) -> int:
    return zlib.crc32(row["key"].tobytes() + row["vector"].tobytes())
