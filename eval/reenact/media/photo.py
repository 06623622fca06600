"""Reads one photo, upright. Files are decoded in a process of their own, under limits."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eval.reenact.media import photo_exec
from pipeline.core.ledger import RejectedItem
from pipeline.media import sandbox, video

PHOTOS = ((0, b"\xff\xd8\xff"), (0, b"\x89PNG\r\n\x1a\n"), (8, b"WEBP"), (0, b"II*\0"), (0, b"MM\0*"), (0, b"BM"))
OTHERS = ((4, b"ftyphei"), (4, b"ftypmif1"), (4, b"ftypavif"))  # of phones; Pillow alone does not read them


@dataclass(frozen=True)
class Photo:
    """A photo, rotated by its EXIF orientation."""

    image: np.ndarray  # (H, W, 3) uint8 RGB
    scale: float  # pixels of `image` per pixel of the file, <= 1


def is_photo(path: Path) -> bool:
    """Whether the file is a photo, by its first bytes. RejectedItem: a HEIC or AVIF photo."""
    with path.open("rb") as file:
        head = file.read(16)
    if any(head[at:at + len(sign)] == sign for at, sign in OTHERS):
        raise RejectedItem("corrupt", "a HEIC or AVIF photo, which is not supported; save it as JPEG or PNG")
    return any(head[at:at + len(sign)] == sign for at, sign in PHOTOS)


def read(path: Path, longest: int, limits: video.Limits) -> Photo:
    """The photo, averaged down to a longer side of `longest` pixels. RejectedItem: empty, corrupt, too-large, timeout."""
    if not path.is_file() or path.stat().st_size == 0:
        raise RejectedItem("empty", "the file has no bytes")
    command = [sys.executable, "-I", "-B", str(photo_exec.__file__), os.path.abspath(path), str(limits.pixels), str(longest)]
    done = sandbox.run(command, seconds=limits.seconds, memory=limits.memory, clock=4 * limits.seconds,
                     most=3 * longest**2 + sandbox.PRINTED)
    head, _, pixels = done.stdout.partition(b"\n")
    try:
        facts = json.loads(head)
    except ValueError:
        raise RejectedItem("corrupt", f"not a photo that can be read (its reader ended with code {done.returncode})") from None
    if facts["status"] != "ok":
        raise RejectedItem(facts["status"], facts["reason"])
    shape = facts["height"], facts["width"], 3
    if len(pixels) != np.prod(shape):
        raise RejectedItem("corrupt", "not a photo that can be read (pixels are missing)")
    return Photo(np.frombuffer(pixels, np.uint8).reshape(shape), facts["scale"])
