"""Opens one clip of a ledger as a file, whether it is below the folder of the videos or in an archive that stays packed."""

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

Archives = Mapping[str, Mapping[str, int]]  # archive name -> its files in order -> bytes of each


@dataclass(frozen=True)
class Shelves:
    """Location of the clips. A path `ARCHIVE#PLACE` is a member of an archive, any other path a file below `root`."""

    root: Path
    files: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)  # archive name -> its files

    @contextmanager
    def open(self, path: str) -> Iterator[Path]:
        """Yields the clip as a file; a packed one is in a temporary folder until the context ends. RejectedItem: damaged."""
        if path.partition("#")[0] not in self.files:
            yield self.root / path
            return
        with tempfile.TemporaryDirectory(prefix="clip-") as folder:
            clip = Path(folder) / "clip.mp4"
            clip.write_bytes(self.read(path))
            yield clip

    def read(self, path: str) -> bytes:
        """The bytes of a clip, or of a file beside it. PLACE in a `.tar` is `offset,length,crc`. RejectedItem: damaged."""
        name, _, where = path.partition("#")
        if name not in self.files:
            return (self.root / path).read_bytes()
        if name.endswith(".tar"):
            return clip_store.read(_opened(self.files[name]), clip_store.Place.parse(where))
        return zip_members.read(_opened(self.files[name]), zip_members.Place.parse(where))


@cache
def _opened(files: tuple[Path, ...]) -> Parts:
    """Opens the files once per process."""
    return Parts(files)


def shelves(root: Path, origin: Path, archives: Archives) -> Shelves:
    """Locates the `archives` listed in the manifest of `root` below `origin`. InputError: a file is missing or has changed."""
    for name, parts in archives.items():
        for part, size in parts.items():
            path = origin / part
            if not path.is_file() or path.stat().st_size != size:
                found = f"{path.stat().st_size} bytes" if path.is_file() else "nothing"
                raise InputError(f"{path}: found {found} where {name} had {size} bytes when it was fetched; restore the file, "
                                 "or run `dvc repro` to fetch it again")
    return Shelves(root, {name: tuple(origin / part for part in parts) for name, parts in archives.items()})
