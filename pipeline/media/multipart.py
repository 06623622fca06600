"""Reads the parts of a split file as one file, without joining them on disk."""

from __future__ import annotations

import io
import os
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from pipeline.core.errors import InputError


class Parts(io.RawIOBase):
    """A read-only, seekable file; `zipfile.ZipFile(io.BufferedReader(Parts(paths)))` works. InputError: a part is missing."""

    def __init__(self, paths: Sequence[Path]) -> None:
        super().__init__()
        self._files: list[int] = []
        for path in paths:
            try:
                self._files.append(os.open(path, os.O_RDONLY))
            except OSError as error:
                self.close()
                raise InputError(f"{path}: {error.strerror}; fetch it again, or restore it") from None
        self._starts = [0, *accumulate(os.fstat(file).st_size for file in self._files)]  # the last entry is the total length
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Moves to a byte of the joined file. ValueError before its start."""
        at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._starts[-1]}[whence]
        if at < 0:
            raise ValueError(f"{at} is before the start of the file")
        self._at = at
        return at

    def readinto(self, buffer: Any) -> int:
        """Fills `buffer` from the current part: fewer bytes than requested at its end, 0 at the end of the last part."""
        if self._at >= self._starts[-1]:
            return 0
        part = bisect_right(self._starts, self._at) - 1  # the last part that starts here: skips empty parts
        view = memoryview(buffer).cast("B")
        wanted = min(len(view), self._starts[part + 1] - self._at)
        data = os.pread(self._files[part], wanted, self._at - self._starts[part])
        view[:len(data)] = data
        self._at += len(data)
        return len(data)

    def piece(self, offset: int, length: int) -> bytes:
        """`length` bytes from `offset` on; fewer at the end of the file. ValueError before the start."""
        self.seek(offset)
        data = bytearray()
        while len(data) < length and (block := self.read(length - len(data))):  # a read stops at the end of a part
            data += block
        return bytes(data)

    def close(self) -> None:
        while self._files:
            os.close(self._files.pop())
        super().close()
