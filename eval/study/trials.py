"""The trials of USER as they are stored: three pictures of one person, two of them real. Which one is the fake?"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from pipeline.core import takedown
from pipeline.core.config import Strict
from pipeline.core.manifest import read_manifest
from pipeline.core.shards import ShardReader

CHANCE, SHOWN = 1 / 3, 3
CHECK = "check"  # in the place of a method's name
NAME = "trials.json"
WORDS = {"videos": "three different videos (the paper's rule)", "frames": "same-video trials (not the paper's rule)"}


class Rate(Strict):
    """So many at once, then one every `seconds`."""

    burst: int = Field(ge=1)
    seconds: float = Field(gt=0)


class Limits(Strict):
    """What the server bears."""

    requests: Rate  # of one rater; a trial is five
    start: Rate  # new raters from one address
    starts: Rate  # new raters from anywhere
    kept: int = Field(ge=1)  # raters and addresses that are remembered, in memory


class Config(Strict):
    """The section `study` of params.yaml."""

    rule: Literal["videos", "frames"]  # where the real pictures come from: two other videos, or other frames of the same one
    apart: float = Field(ge=0)  # rule frames: seconds between any two pictures of a trial
    frames: int = Field(ge=1)  # hold-out frames of each person
    trials: int = Field(ge=1)  # of one rater, attention checks among them
    checks: int = Field(ge=2)  # one trial in so many is an attention check
    misses: int = Field(ge=0)  # attention checks that a rater may miss and still count
    level: float = Field(gt=0, lt=1)  # of the intervals
    contact: str  # whom raters may ask, on the first page
    host: str
    port: int = Field(ge=0, lt=2**16)
    threads: int = Field(ge=1)
    limits: Limits

    def design(self) -> dict[str, Any]:
        """What must not change while a study runs."""
        return self.model_dump(include={"rule", "apart", "frames", "checks", "misses"})


@dataclass(frozen=True)
class Trial:
    """Three pictures in the order they are shown in. `id` hangs on their pixels: other pictures, another trial."""

    id: str
    method: str
    shots: int
    person: str
    row: int  # of the frames' index: the hold-out frame
    clips: list[str]  # PERSON/VIDEO[/UTTERANCE] of each picture
    pictures: list[int]
    fake: int  # which of them

    @property
    def scene(self) -> tuple[str, int]:
        """What a rater sees once only, whoever drew it."""
        return self.person, self.row

    def listed(self, names: Collection[str]) -> bool:
        """Whether one of its pictures is on the take-down list."""
        return any(takedown.covers(names, *clip.split("/", 1)) for clip in self.clips)


class Study:
    """A folder of trials, read back. Needs nothing of data/, models/ and results/. InputError when it is not whole."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.manifest = folder, read_manifest(folder, "study")
        body = json.loads((folder / NAME).read_text())
        self.trials = {entry["id"]: Trial(**entry) for entry in body["trials"]}
        self._places, self._reader = body["pictures"], ShardReader(folder)

    @property
    def design(self) -> str:
        """Digest of the rules it was built by; answers belong to one."""
        return hashlib.sha256(json.dumps(self.manifest["design"], sort_keys=True).encode()).hexdigest()

    def png(self, trial: Trial, k: int) -> bytes:
        """Picture k of a trial."""
        return self._reader.read(**self._places[trial.pictures[k]])
