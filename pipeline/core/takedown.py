"""The take-down list: people and videos that must not be used, even if already fetched."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

NAME = "takedown.txt"


def read(*paths: Path) -> frozenset[str]:
    """The ids in all of these files: `person`, `person/video` or `person/video/utterance`, one per line; `#` starts a comment.

    A missing file is an empty list.
    """
    lines = [line for path in paths if path.is_file() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    return frozenset(entry for line in lines if (entry := line.split("#")[0].strip().strip("/")))


def covers(listed: Collection[str], person: str, video: str) -> bool:
    """Whether the person, the video, or the utterance (`video` is then video/utterance) is listed."""
    return person in listed or f"{person}/{video}" in listed or f"{person}/{video.split('/')[0]}" in listed
