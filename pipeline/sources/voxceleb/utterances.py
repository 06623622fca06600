"""Reads VoxCeleb's text file of one utterance: the face box in numbered frames. Tolerates common damage to these files.

A file is a header (`Identity : …`), a line `FRAME X Y W H`, and a row for each frame. Frames are numbered at 25 a second.
FOMM's vox-metadata.csv has one line with one box for a whole clip.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipeline.core.ledger import RejectedItem
from pipeline.media.video import RATE

LONGEST = 24 * 3600 * RATE  # frame numbers from here on are invalid
MOST = 60 * 60 * RATE  # most frames of one utterance
IDS = {"person": r"id[0-9]{5}", "video": r"[A-Za-z0-9_-]{11}", "utterance": r"[0-9]{5}"}
COLUMNS = ["video_id", "start", "end", "bbox", "fps", "width", "height", "partition", "person_id"]  # of vox-metadata.csv
Kind = Literal["360-rows", "fractions"]  # VoxCeleb1: pixels of a frame 360 rows high; VoxCeleb2: shares of width and height
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")


@dataclass(frozen=True)
class Track:
    """The face boxes from frame `first` on."""

    first: int  # frame number at 25 a second, from 0
    boxes: np.ndarray  # (n, 4) float64: x0, y0, x1, y1 in the unit given by `rows`; NaN rows where none is given
    rows: float  # 0: boxes are shares of width and height; otherwise pixels of a frame with this many rows

    @property
    def last(self) -> int:
        return self.first + len(self.boxes) - 1

    def pixels(self, width: int, height: int) -> np.ndarray:
        """The boxes (n, 4) in pixels of a frame of this size."""
        scale = np.full(4, height / self.rows) if self.rows else np.array([width, height, width, height])
        return np.asarray(self.boxes * scale)


def text(data: bytes, kind: Kind, person: str, video: str) -> tuple[Track, list[str]]:
    """The track in an utterance's text file, and a message per unusable line.

    Ignores CRLF, BOM, blank lines and columns beyond the fifth. RejectedItem `corrupt`: not such a file, or no usable row;
    `bad-name`: it names another person or video than its path; `too-large`: more frames than an hour has.
    """
    lines = [line.strip() for line in data.decode("utf-8-sig", errors="replace").splitlines()]
    start = next((number for number, line in enumerate(lines) if re.match(r"FRAME\b", line)), None)
    if start is None:
        raise RejectedItem("corrupt", "its text file has no line FRAME X Y W H")
    pairs = (line.partition(":") for line in lines[:start])
    head = {key.strip().lower(): value.strip(" \t,") for key, mark, value in pairs if mark}
    for key, wanted in (("identity", person), ("reference", video)):
        if head.get(key, wanted) != wanted:
            raise RejectedItem("bad-name", f"its text file states {key} {shown(head[key])}, its path {wanted}")
    return _track(lines[start + 1:], start + 2, 360.0 if kind == "360-rows" else 0.0)


def _track(lines: list[str], start: int, rows: float) -> tuple[Track, list[str]]:
    found: dict[int, tuple[float, float, float, float]] = {}
    wrong = []
    for number, line in enumerate(lines, start):
        if not line:
            continue
        try:
            frame, box = _row(line.replace(",", " ").split())
        except ValueError as error:
            wrong.append(f"line {number} of its text file: {error}")
            continue
        found.setdefault(frame, box)
    if not found:
        raise RejectedItem("corrupt", "; ".join(["its text file has no usable row", *wrong[:1]]))
    first, last = min(found), max(found)
    if last - first >= MOST:
        raise RejectedItem("too-large", f"frames {first} to {last} are more than the {MOST} of an hour")
    boxes = np.full((last - first + 1, 4), np.nan)
    boxes[np.array(list(found)) - first] = list(found.values())
    return Track(first, boxes, rows), wrong


def _row(cells: list[str]) -> tuple[int, tuple[float, float, float, float]]:
    """Frame number and x0, y0, x1, y1 of FRAME X Y W H. ValueError: what is wrong."""
    if len(cells) < 5 or not all(_NUMBER.fullmatch(cell) for cell in cells[:5]):
        raise ValueError(f"{shown(' '.join(cells))} is not FRAME X Y W H")
    frame, (x, y, w, h) = float(cells[0]), map(float, cells[1:5])
    if frame != int(frame) or not 0 <= frame < LONGEST:
        raise ValueError(f"{shown(cells[0])} is not a frame number")
    if not (w > 0 and h > 0 and max(abs(x), abs(y), w, h) < 1e6):
        raise ValueError(f"{shown(' '.join(cells[1:5]))} is not a box")
    return int(frame), (x, y, x + w, y + h)


def line(data: bytes) -> tuple[str, str, bool, Track]:
    """One line of vox-metadata.csv: person, video, whether its clip is a test clip, and its track.

    RejectedItem `bad-name`: invalid ids; `corrupt`: invalid numbers.
    """
    row = [cell.strip(' \t\r\n"\0') for cell in data.decode("utf-8-sig", errors="replace").split(",")]
    if len(row) < len(COLUMNS):
        raise RejectedItem("corrupt", f"{len(row)} columns where {len(COLUMNS)} are expected: {shown(','.join(row))}")
    cell = dict(zip(COLUMNS, row))
    for key, name in (("person_id", "person"), ("video_id", "video")):
        if not re.fullmatch(IDS[name], cell[key]):
            raise RejectedItem("bad-name", f"{shown(cell[key])} is not a {name}'s id")
    return cell["person_id"], cell["video_id"], cell["partition"].lower().startswith("test"), _clip(cell)


def _clip(cell: dict[str, str]) -> Track:
    """One box for all frames from `start` to before `end`."""
    facts = ",".join(cell[key] for key in COLUMNS[1:7])
    sides = cell["bbox"].split("-")
    numbers = [cell["start"], cell["end"], *sides, cell["width"], cell["height"]]
    if len(sides) != 4 or not all(re.fullmatch("[0-9]{1,7}", value) for value in numbers) or not _NUMBER.fullmatch(cell["fps"]):
        raise RejectedItem("corrupt", f"{shown(facts)} is not start, end, l-t-r-b, fps, width, height")
    start, end, left, top, right, bottom, width, height = map(int, numbers)
    rate = float(cell["fps"])
    if not (start < end and left < right and top < bottom and width and height and 1 <= rate <= 1000):
        raise RejectedItem("corrupt", f"{shown(facts)} has no frames, no box or no frame rate")
    first, last = round(start * RATE / rate), round(end * RATE / rate) - 1
    if not (first <= last < LONGEST and last - first < MOST):
        raise RejectedItem("corrupt", f"frames {first} to {last} are outside of any video")
    box = np.array([left / width, top / height, right / width, bottom / height])
    return Track(first, np.tile(box, (last - first + 1, 1)), 0.0)


def shown(value: str) -> str:
    """Untrusted text for a message: at most 60 characters, quoted, ASCII, on one line."""
    return repr(value[:60]).encode("ascii", "backslashreplace").decode()
