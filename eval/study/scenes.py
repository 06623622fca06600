"""Which frames a trial shows: a hold-out frame of a test person and two real frames of other videos of that person.

The scenes of a person are the same for every method and T: differences between methods are taken over the same pictures.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from eval.study.trials import SHOWN, Config
from pipeline.core import takedown
from pipeline.core.errors import InputError
from pipeline.episodes import Subject

Scene = tuple[int, int, int]  # rows of the frames' index: the hold-out frame, two real frames


def positions(count: int, rng: np.random.Generator) -> list[int]:
    """A random position for each scene, each of the three as often as the others (but for a remainder)."""
    return np.concatenate([rng.permutation(SHOWN) for _ in range(-(-count // SHOWN))])[:count].tolist()


def of_person(subject: Subject, clips: Mapping[int, str], seconds: np.ndarray, config: Config,
              rng: np.random.Generator) -> list[Scene]:
    """(hold-out row, two real rows) of each scene of a person. InputError with a sentence where the rule cannot be kept."""
    rows = subject.holdout[:config.frames]
    if config.rule == "frames":
        return _same_video(subject, rows, clips, seconds, config.apart, rng)
    videos: dict[str, list[int]] = {}
    for row, clip in clips.items():
        videos.setdefault(_video(clip), []).append(row)
    others = {video: found for video, found in videos.items() if video != _video(subject.video)}
    if len(others) < SHOWN - 1:
        raise InputError(f"{subject.person} has {len(others)} other video{'s' * (len(others) != 1)} with landmarks, 2 needed")
    turn = [_endless(others[video], rng) for video in rng.permutation(sorted(others))]
    return [(row, next(turn[2 * k % len(turn)]), next(turn[(2 * k + 1) % len(turn)])) for k, row in enumerate(rows)]


def _same_video(subject: Subject, rows: Sequence[int], clips: Mapping[int, str], seconds: np.ndarray, apart: float,
                rng: np.random.Generator) -> list[Scene]:
    """From the test video itself, `apart` seconds between; no source frame, as a method may show that very picture."""
    sources = set(subject.sources)
    fit = [row for row, clip in clips.items() if _video(clip) == _video(subject.video) and row not in sources]

    def clear(a: int, b: int) -> bool:
        return a != b and (clips[a] != clips[b] or abs(seconds[a] - seconds[b]) >= apart)

    scenes = []
    for row in rows:
        free = [other for other in rng.permutation(fit).tolist() if clear(row, other)]
        pair = next(((a, b) for a, b in combinations(free, SHOWN - 1) if clear(a, b)), None)
        if pair is None:
            raise InputError(f"{subject.person} has no two frames {apart:g} s away from each other and from a hold-out frame")
        scenes.append((row, *pair))
    return scenes


def _endless(rows: Sequence[int], rng: np.random.Generator) -> Iterator[int]:
    """Rows in random order, again and again: none comes twice before all others have come."""
    while True:
        yield from rng.permutation(sorted(rows)).tolist()


def clips_of(frames: Path, landmarks: Path, people: Collection[str]) -> dict[str, dict[int, str]]:
    """person -> row -> clip, of these people's frames that have landmarks and are on no take-down list."""
    import pyarrow.compute as pc
    import pyarrow.parquet as parquet

    ok = pc.equal(parquet.read_table(landmarks / "ledger.parquet", columns=["status"]).column("status"), "ok").to_numpy()
    names = takedown.read(Path(takedown.NAME), frames.parent / takedown.NAME)
    found: dict[str, dict[int, str]] = {person: {} for person in people}
    start = 0
    for batch in parquet.ParquetFile(frames / "index.parquet").iter_batches(columns=["person", "clip"]):
        theirs = np.flatnonzero([person in found for person in batch.column("person").to_pylist()])
        for row, clip in zip(start + theirs, batch.column("clip").take(theirs).to_pylist()):
            if ok[row] and not takedown.covers(names, *clip.split("/", 1)):
                found[clip.split("/", 1)[0]][int(row)] = clip
        start += len(batch)
    return found


def _video(clip: str) -> str:
    """PERSON/VIDEO of PERSON/VIDEO[/UTTERANCE]."""
    return "/".join(clip.split("/")[:2])


def stream(seed: int, *place: object) -> np.random.Generator:
    """Random numbers of a person, or of a person in a cell, alone."""
    key = hashlib.sha256(":".join(map(str, [seed, "study", *place])).encode()).digest()
    return np.random.Generator(np.random.Philox(int.from_bytes(key[:16], "big")))
