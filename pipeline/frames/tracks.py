"""Checks the face boxes that come with a clip, cuts the clip where they jump, and fills short gaps. No detector runs.

Boxes are not smoothed over time. A clip has one fixed crop, from the median of its boxes, so jitter does not move it; and the
landmark networks tolerate boxes that are off by a few pixels.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from pipeline.core.ledger import RejectedItem

GAP = 12  # frames, half a second at 25 a second: a face moves little meanwhile, and shots are rarely shorter
JUMP = 0.25  # a box that overlaps the next by less (intersection over union) ends the shot; the number of crop_vox.py
LEAST, MOST = 8.0, 2.0  # limits of a box's side: in pixels; in sides of the frame
NEAR = 0.25  # least share of a box inside the frame
_HEAD = re.compile(rb"\x93NUMPY\x01\x00..\{'descr': '<f4', 'fortran_order': False, 'shape': \((\d{1,9}), 4\), \} *\n", re.S)
# The face in VoxCeleb2's own crops, x0, y0, x1, y1 as shares of their width and height. By MTCNN in 48 frames of six such
# clips it is 0.53 wide (0.50-0.55 by clip) and 0.73 high (0.70-0.75), its centre at 0.49 (0.45-0.52) and 0.34 (0.33-0.34):
# foreheads are cut. The width is set to one half, so that the crop `fsth` is the publishers' crop itself.
WHOLE = np.array([0.25, -0.03, 0.75, 0.70])


@dataclass(frozen=True)
class Track:
    """The boxes of a clip, and its usable part."""

    boxes: np.ndarray  # (n, 4) float64 in pixels of the clip, NaN where none is given; one row per frame
    start: int  # of the longest part without a jump
    stop: int
    reason: str  # "" when the whole clip is usable and every given box valid


def parse(data: bytes) -> np.ndarray:
    """Reads a .npy of float32 (n, 4), as `np.save` writes it, to (n, 4) float64. RejectedItem: corrupt.

    The header is matched by a pattern: NumPy evaluates it as Python, which fails in many ways on damaged headers.
    """
    head = _HEAD.match(data)
    if head is None or len(data) - head.end() != 16 * int(head[1]):
        raise RejectedItem("corrupt", f"its boxes ({len(data)} bytes) are not a .npy of float32 (n, 4)")
    return np.frombuffer(data, "<f4", offset=head.end()).reshape(-1, 4).astype(np.float64)


def track(given: np.ndarray, count: int, size: tuple[int, int]) -> Track:
    """The track of boxes (m, 4) of a clip of `count` frames of `size` (width, height).

    Rows beyond the clip are ignored; frames beyond the rows have no box. Invalid boxes count as not given. The clip is cut
    where a box overlaps the next by less than JUMP, and its longest part is used.
    """
    boxes = np.full((count, 4), np.nan)
    boxes[:len(given)] = given[:count]
    odd = ~np.isnan(boxes).all(1) & ~_valid(boxes, size)
    boxes[odd] = np.nan
    there = np.flatnonzero(~np.isnan(boxes[:, 0]))
    jumps = np.flatnonzero(_overlap(boxes[there[:-1]], boxes[there[1:]]) < JUMP)
    pieces = np.split(there, jumps + 1)
    best = max(range(len(pieces)), key=lambda k: (len(pieces[k]), -k))
    start = int(pieces[best][0]) if best else 0
    stop = int(pieces[best][-1]) + 1 if best < len(jumps) else count
    notes = [f"{odd.sum()} of the given boxes are not usable"] if odd.any() else []
    if len(jumps):
        notes.append(f"the given box jumps at frame {there[jumps[0] + 1]}: frames {start} to {stop - 1} are used")
    return Track(_filled(boxes, start, stop), start, stop, "; ".join(notes))


def whole(count: int, size: tuple[int, int]) -> Track:
    """The track of a clip that is a face crop itself: the same box in each frame of `size` (width, height)."""
    return Track(np.tile(WHOLE * np.array([*size, *size]), (count, 1)), 0, count, "")


def _valid(boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(n,) bool: finite, of plausible size, with at least NEAR of its area inside the frame."""
    edge = np.array(size, np.float64)
    with np.errstate(invalid="ignore"):
        sides = boxes[:, 2:] - boxes[:, :2]
        part = np.clip(np.minimum(boxes[:, 2:], edge) - np.maximum(boxes[:, :2], 0), 0, None).prod(1)
        fits = (sides >= LEAST).all(1) & (sides <= MOST * edge).all(1)
        return np.asarray(np.isfinite(boxes).all(1) & fits & (part >= NEAR * sides.prod(1)))


def _overlap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes (n, 4) with boxes (n, 4)."""
    both = np.clip(np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2]), 0, None).prod(1)
    return np.asarray(both / ((a[:, 2:] - a[:, :2]).prod(1) + (b[:, 2:] - b[:, :2]).prod(1) - both))


def _filled(boxes: np.ndarray, start: int, stop: int) -> np.ndarray:
    """The boxes with gaps of at most GAP frames in the usable part filled by linear interpolation."""
    boxes = boxes.copy()
    there = start + np.flatnonzero(~np.isnan(boxes[start:stop, 0]))
    for k in np.flatnonzero(np.diff(there) > 1):
        before, after = there[k], there[k + 1]
        if after - before <= GAP + 1:
            share = (np.arange(before + 1, after) - before)[:, None] / (after - before)
            boxes[before + 1:after] = (1 - share) * boxes[before] + share * boxes[after]
    return boxes
