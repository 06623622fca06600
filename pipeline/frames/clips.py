"""One clip of a ledger as a file, wherever it lies: below the folder of the videos, or in an archive that stays packed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from pipeline.core.errors import InputError
from pipeline.media import clip_store, zip_members
from pipeline.media.multipart import Parts

Archives = Mapping[str, Mapping[str, int]]  # name of an archive -> its files in order, and their bytes


@dataclass(frozen=True)
class Shelves:
    """Where clips lie. A path `ARCHIVE#place` is a member of an archive, any other a file below `root`."""

    root: Path
    files: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)  # of each archive

    @contextmanager
    def open(self, path: str) -> Iterator[Path]:
        """The clip as a file while the context lasts; a packed one is in a temporary folder. RejectedItem: damaged."""
        if path.partition("#")[0] not in self.files:
            yield self.root / path
            return
        with tempfile.TemporaryDirectory(prefix="clip-") as folder:
            clip = Path(folder) / "clip.mp4"
            clip.write_bytes(self.read(path))
            yield clip

    def read(self, path: str) -> bytes:
        """The bytes of a clip, or of what lies beside it. Of a `.tar` a place is `offset,length,crc`. RejectedItem: damaged."""
        name, _, where = path.partition("#")
        if name not in self.files:
            return (self.root / path).read_bytes()
        if name.endswith(".tar"):
            return clip_store.read(_opened(self.files[name]), clip_store.Place.parse(where))
        return zip_members.read(_opened(self.files[name]), zip_members.Place.parse(where))


@cache
def _opened(files: tuple[Path, ...]) -> Parts:
    """Once a process."""
    return Parts(files)


def shelves(root: Path, origin: Path, archives: Archives) -> Shelves:
    """`archives` (of the manifest of `root`) below `origin`. InputError: one of their files is not there or not as it was."""
    for name, parts in archives.items():
        for part, size in parts.items():
            path = origin / part
            if not path.is_file() or path.stat().st_size != size:
                found = f"{path.stat().st_size} bytes" if path.is_file() else "nothing"
                raise InputError(f"{path}: {found} where {size} bytes of {name} lay when it was fetched; bring the file back, "
                                 f"or "
                                 "run `dvc repro` to fetch it again")
    return Shelves(root, {name: tuple(origin / part for part in parts) for name, parts in archives.items()})
