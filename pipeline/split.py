"""Splits people into training and test, and the frames of a test video into source and hold-out frames."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pipeline.core import takedown
from pipeline.core.config import Strict
from pipeline.core.errors import InputError
from pipeline.core.tables import runs


class Config(Strict):
    """The section `data.split` of params/DATASET.yaml."""

    test_people: int  # people kept out of training
    sources: int  # source frames of a test video; T shots are the first T of them
    holdout: int  # hold-out frames of a test video, which are scored
    least: int  # frames with landmarks that a training video must have


@dataclass(frozen=True)
class Split:
    """Tables of the split stage."""

    train: pd.DataFrame  # video, person, start, stop; position i is column W_i
    test: list[dict[str, Any]]  # person, video, sources, holdout: rows of index.parquet
    excluded: pd.DataFrame  # video, reason


def make(index: pd.DataFrame, found: np.ndarray, config: Config, seed: int, listed: Collection[str] = (),
         reserved: Collection[str] | None = None) -> Split:
    """Splits the videos of `index` (columns clip, person, sorted) by people; `found` (n,) bool: the row has landmarks.

    Clips PERSON/VIDEO/UTTERANCE form one video PERSON/VIDEO. `listed`: ids on the take-down list, which are not used at all.
    `reserved`: the people of the data set's own test part, if it has one: only they are tested, and none of them trains.

    Every choice depends on (seed, id) only, so that adding a person moves nobody else. InputError: too few people for the test,
    or no video left for training.
    """
    videos, found = _videos(index, found, listed)
    own = np.ones(len(videos), bool) if reserved is None else videos["person"].isin(list(reserved)).to_numpy()
    need = config.sources + config.holdout
    fit = videos[own & (videos["good"] >= need)]
    people = sorted(fit["person"].unique(), key=lambda person: _rank(seed, "person", person))
    if len(people) < config.test_people:
        raise InputError(f"split.test_people: {config.test_people} test people wanted, but {len(people)} have a video with "
                         f"{need} usable frames ({config.sources} source + {config.holdout} hold-out); add longer videos, "
                         "raise frames.per_clip, or lower test_people, sources or holdout")
    tested = set(people[:config.test_people])
    test = [_subject(fit[fit["person"] == person], found, config, seed) for person in sorted(tested)]
    trains = ~videos["person"].isin(tested).to_numpy() & (~own if reserved is not None else True)
    good = ~videos["down"] & trains & (videos["good"] >= config.least)
    train = videos.loc[good, ["video", "person", "start", "stop"]].reset_index(drop=True)
    if train.empty:
        raise InputError(f"split: no video is left for training: {len(videos)} videos, {len(tested)} test people, "
                         f"{config.least} usable frames needed in each; lower split.test_people or split.least, or add videos")
    chosen = {subject["video"] for subject in test}
    left = videos.assign(trains=trains)[~good & ~videos["video"].isin(chosen)]
    reasons = [_why(row, tested, config) for row in left.to_dict("records")]
    excluded = pd.DataFrame({"video": left["video"].tolist(), "reason": reasons}, dtype="str")
    return Split(train, test, excluded)


def _why(row: Mapping[Hashable, Any], tested: Collection[str], config: Config) -> str:
    """Why a video is used neither for training nor for the test."""
    if row["down"]:
        return "on the take-down list"
    if row["person"] in tested:
        return f"{row['person']} is a test person, tested on another video"
    if not row["trains"]:
        return f"{row['person']} belongs to the data set's test part and was not chosen for the test"
    return f"{row['good']} of {row['stop'] - row['start']} frames have landmarks, {config.least} needed"


def _videos(index: pd.DataFrame, found: np.ndarray, listed: Collection[str]) -> tuple[pd.DataFrame, np.ndarray]:
    """One row per video: video, person, start, stop (row range of the index), good (rows with landmarks), down (all its clips
    are listed); and `found` without the rows of listed clips."""
    start = runs(index["clip"])
    clips, people = index["clip"].iloc[start], index["person"].iloc[start]
    down = np.array([takedown.covers(listed, *clip.split("/", 1)) for clip in clips] if listed else np.zeros(len(clips)), bool)
    found = found & ~np.repeat(down, np.diff(np.r_[start, len(index)]))
    videos = clips.str.replace(r"^([^/]*/[^/]*)/.*$", r"\1", regex=True)
    first = runs(videos)
    begin = start[first]
    table = pd.DataFrame({"video": videos.iloc[first].array, "person": people.iloc[first].array,
                          "start": begin, "stop": np.r_[begin[1:], len(index)][:len(begin)],
                          "good": np.add.reduceat(found, begin, dtype=np.int64) if len(begin) else begin,
                          "down": np.logical_and.reduceat(down, first) if len(begin) else begin})
    kinds = {"video": "str", "person": "str", "start": "int64", "stop": "int64", "good": "int64", "down": "bool"}
    return table.astype(kinds), found


def _subject(clips: pd.DataFrame, found: np.ndarray, config: Config, seed: int) -> dict[str, Any]:
    """One video of a test person: its frames in random order, split into source and hold-out frames."""
    clip = min(clips.to_dict("records"), key=lambda row: _rank(seed, "video", row["video"]))
    rows = clip["start"] + np.flatnonzero(found[clip["start"]:clip["stop"]])
    key = int.from_bytes(_rank(seed, "frames", clip["video"])[:16], "big")
    order = [int(row) for row in np.random.Generator(np.random.Philox(key)).permutation(rows)]
    return {"person": clip["person"], "video": clip["video"], "sources": order[:config.sources],
            "holdout": order[config.sources:config.sources + config.holdout]}


def _rank(seed: int, what: str, name: str) -> bytes:
    return hashlib.sha256(f"{seed}:{what}:{name}".encode()).digest()
