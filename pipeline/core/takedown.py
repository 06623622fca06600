"""The take-down list: people or videos that must not be used, whatever has been fetched already."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

NAME = "takedown.txt"


def read(*paths: Path) -> frozenset[str]:
    """Ids of all these lists: `person`, `person/video` or `person/video/utterance`, one a line, `#` starts a comment.

    A missing file lists nobody.
    """
    lines = [line for path in paths if path.is_file() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    return frozenset(entry for line in lines if (entry := line.split("#")[0].strip().strip("/")))


def covers(listed: Collection[str], person: str, video: str) -> bool:
    """Whether this video, the one it is an utterance of (`video` is then video/utterance), or the whole person is listed."""
    return person in listed or f"{person}/{video}" in listed or f"{person}/{video.split('/')[0]}" in listed
