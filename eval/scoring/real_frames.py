"""Reference rows: real frames scored in place of generated ones.

same: another real frame of the same person. other: a real frame of another person. Not methods: nothing is adapted, no T.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.core.errors import InputError

FOLDER = "floors"  # in results/DATASET beside the methods' folders, so no method may have this name
LABELS = {"same": "real, same person", "other": "real, another person"}  # which -> row of the tables


@dataclass(frozen=True)
class Floor:
    """A reference row, given in place of a folder of generated frames."""

    which: str  # one of LABELS
    size: int  # height and width, pixels


class Real:
    """Real frames with the interface of protocol.Generated."""

    def __init__(self, floor: Floor, faces: Any) -> None:
        self.which, self.faces = floor.which, faces
        self.subjects = {subject.person: subject for subject in faces.subjects}

    @property
    def no_sets(self) -> str | None:
        """Why distances between sets are undefined, or None."""
        return "the frames of all people would be in both sets" if self.which == "other" else None

    def check(self, subjects: Sequence[Any]) -> None:
        """InputError if a person does not have two frames to compare."""
        if self.which == "same" and (short := [s.person for s in subjects if len(s.holdout) < 2]):
            raise InputError(f"split.holdout: {short[0]} has one hold-out frame and none to compare it with; raise it to 2 or "
                             f"more")

    def rows(self, subject: Any) -> np.ndarray:
        """Rows of the frames that others are compared with, (n,) int64.

        same: the 1st, 3rd, … of the list, each against the next one, so a distance between sets is one between the halves.
        other: all; with two people only the first one's, as the second's are the same pairs; none with a single person.
        """
        rows = np.asarray(subject.holdout, np.int64)
        if self.which == "same":
            return rows[:len(rows) // 2 * 2:2]
        first = subject.person == next(iter(self.subjects))
        return rows if len(self.subjects) > 2 or (first and len(self.subjects) == 2) else rows[:0]

    def frames(self, person: str, rows: Sequence[int]) -> np.ndarray:
        """The real frames compared with `rows`, (n, 3, H, W)."""
        own = [int(row) for row in self.subjects[person].holdout]
        place = [own.index(int(row)) for row in rows]
        if self.which == "same":
            return _eight_bits(self.faces.images([own[j + 1] for j in place]))
        people = list(self.subjects)
        theirs = self.subjects[people[(people.index(person) + 1) % len(people)]].holdout
        return _eight_bits(self.faces.images([theirs[j % len(theirs)] for j in place]))

    def driven(self, person: str, rows: Sequence[int]) -> np.ndarray:
        """The real frames compared with driving frames `rows`, (n, 3, H, W): the person's own in order, or those themselves."""
        own = self.subjects[person].holdout
        return _eight_bits(self.faces.images([own[j % len(own)] for j in range(len(rows))] if self.which == "same" else rows))


def _eight_bits(images: np.ndarray) -> np.ndarray:
    return np.asarray(np.rint(images * 255) / 255, np.float32)
