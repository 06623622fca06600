"""What VoxCeleb's text files say of one utterance: the face's box in numbered pictures. Tolerant of how they were passed on.

A file is a header (`Identity : …`), a line `FRAME X Y W H`, and a row for each picture. Pictures are numbered at 25 a second.
FOMM's vox-metadata.csv has one line and one box for a whole clip.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipeline.core.ledger import RejectedItem
from pipeline.media.video import RATE

LONGEST = 24 * 3600 * RATE  # a number above it is no picture of a video
MOST = 60 * 60 * RATE  # pictures of one utterance
IDS = {"person": r"id[0-9]{5}", "video": r"[A-Za-z0-9_-]{11}", "utterance": r"[0-9]{5}"}
COLUMNS = ["video_id", "start", "end", "bbox", "fps", "width", "height", "partition", "person_id"]  # of vox-metadata.csv
Kind = Literal["360-rows", "fractions"]  # VoxCeleb1: pixels of a picture 360 rows high; VoxCeleb2: shares of width and height
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")


@dataclass(frozen=True)
class Track:
    """Where the face is from picture `first` on."""

    first: int  # number of a picture at 25 a second, from 0
    boxes: np.ndarray  # (n, 4) float64: x0, y0, x1, y1 in the unit that `rows` says; NaN rows where none is given
    rows: float  # 0: boxes are shares of width and height; otherwise pixels of a picture so many rows high

    @property
    def last(self) -> int:
        return self.first + len(self.boxes) - 1

    def pixels(self, width: int, height: int) -> np.ndarray:
        """The boxes (n, 4) in pixels of a picture of this size."""
        scale = np.full(4, height / self.rows) if self.rows else np.array([width, height, width, height])
        return np.asarray(self.boxes * scale)


def text(data: bytes, kind: Kind, person: str, video: str) -> tuple[Track, list[str]]:
    """An utterance's text file, and a sentence for each of its lines that could not be used.

    CRLF, BOM, blank lines and columns beyond the fifth are passed over. RejectedItem `corrupt`: not such a file, or no row in
    it;
    `bad-name`: it names another person or video than its place does; `too-large`.
    """
    lines = [line.strip() for line in data.decode("utf-8-sig", errors="replace").splitlines()]
    start = next((number for number, line in enumerate(lines) if re.match(r"FRAME\b", line)), None)
    if start is None:
        raise RejectedItem("corrupt", "its text file has no line FRAME X Y W H")
    pairs = (line.partition(":") for line in lines[:start])
    head = {key.strip().lower(): value.strip(" \t,") for key, mark, value in pairs if mark}
    for key, wanted in (("identity", person), ("reference", video)):
        if head.get(key, wanted) != wanted:
            raise RejectedItem("bad-name", f"its text file says {key} {shown(head[key])} where its place says {wanted}")
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
        raise RejectedItem("corrupt", "; ".join(["its text file has no row that can be used", *wrong[:1]]))
    first, last = min(found), max(found)
    if last - first >= MOST:
        raise RejectedItem("too-large", f"pictures {first} to {last} are more than the {MOST} of an hour")
    boxes = np.full((last - first + 1, 4), np.nan)
    boxes[np.array(list(found)) - first] = list(found.values())
    return Track(first, boxes, rows), wrong


def _row(cells: list[str]) -> tuple[int, tuple[float, float, float, float]]:
    """Number and x0, y0, x1, y1 of FRAME X Y W H. ValueError says what is wrong."""
    if len(cells) < 5 or not all(_NUMBER.fullmatch(cell) for cell in cells[:5]):
        raise ValueError(f"{shown(' '.join(cells))} is not FRAME X Y W H")
    frame, (x, y, w, h) = float(cells[0]), map(float, cells[1:5])
    if frame != int(frame) or not 0 <= frame < LONGEST:
        raise ValueError(f"{shown(cells[0])} is not the number of a picture")
    if not (w > 0 and h > 0 and max(abs(x), abs(y), w, h) < 1e6):
        raise ValueError(f"{shown(' '.join(cells[1:5]))} is not a box")
    return int(frame), (x, y, x + w, y + h)


def line(data: bytes) -> tuple[str, str, bool, Track]:
    """One line of vox-metadata.csv: person, video, whether its clip is a test clip, and its track.

    RejectedItem `bad-name`: its ids; `corrupt`: its numbers.
    """
    row = [cell.strip(' \t\r\n"\0') for cell in data.decode("utf-8-sig", errors="replace").split(",")]
    if len(row) < len(COLUMNS):
        raise RejectedItem("corrupt", f"{len(row)} columns where {len(COLUMNS)} are due: {shown(','.join(row))}")
    cell = dict(zip(COLUMNS, row))
    for key, name in (("person_id", "person"), ("video_id", "video")):
        if not re.fullmatch(IDS[name], cell[key]):
            raise RejectedItem("bad-name", f"{shown(cell[key])} is not the id of a {name}")
    return cell["person_id"], cell["video_id"], cell["partition"].lower().startswith("test"), _clip(cell)


def _clip(cell: dict[str, str]) -> Track:
    """One box for all pictures from `start` on, `end` not among them."""
    facts = ",".join(cell[key] for key in COLUMNS[1:7])
    sides = cell["bbox"].split("-")
    numbers = [cell["start"], cell["end"], *sides, cell["width"], cell["height"]]
    if len(sides) != 4 or not all(re.fullmatch("[0-9]{1,7}", value) for value in numbers) or not _NUMBER.fullmatch(cell["fps"]):
        raise RejectedItem("corrupt", f"{shown(facts)} is not start, end, l-t-r-b, fps, width, height")
    start, end, left, top, right, bottom, width, height = map(int, numbers)
    rate = float(cell["fps"])
    if not (start < end and left < right and top < bottom and width and height and 1 <= rate <= 1000):
        raise RejectedItem("corrupt", f"{shown(facts)} has no pictures, no box or no rate")
    first, last = round(start * RATE / rate), round(end * RATE / rate) - 1
    if not (first <= last < LONGEST and last - first < MOST):
        raise RejectedItem("corrupt", f"pictures {first} to {last} are none of a video")
    box = np.array([left / width, top / height, right / width, bottom / height])
    return Track(first, np.tile(box, (last - first + 1, 1)), 0.0)


def shown(value: str) -> str:
    """A stranger's text in a sentence: short, on one line."""
    return repr(value[:60]).encode("ascii", "backslashreplace").decode()
