"""Source `youtube`: VoxCeleb1 and VoxCeleb2 by their metadata. An item is one YouTube video with all its utterances.

A video is asked for once, cut into its utterances and deleted. Clips and boxes go for good into plain tars in `origin`/clips
(pipeline/buckets.py); a status that is final is kept there too. A later run asks only for what is in neither.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from pydantic import Field

from pipeline import (
    archive,
    buckets,
    ledger,
    listing,
    sections,
    site,
    speakers,
    takedown,
    utterances,
    video,
)
from pipeline import config as settings
from pipeline.ledger import Unusable
from pipeline.pace import Manners, Pace, Shut

FORM = 1  # of the clips; a change of the code that gives other clips raises it


class Config(settings.Strict):
    """data.<dataset>.fetch of params.yaml for `source: youtube`."""

    origin: str  # folder of the metadata, given on the command line; may hold a takedown.txt; gets the clips
    metadata: list[str]  # in it: zips or folders of txt/PERSON/VIDEO/UTTERANCE.txt, or FOMM's vox-metadata.csv
    people: list[str]  # in it: lists of speakers with a column Set
    boxes: utterances.Kind  # of the txt files
    height: int  # rows of the picture, at most
    margin: float = Field(ge=0)  # kept around all boxes of an utterance, as a share of their sides
    quality: int = Field(ge=0, le=51)  # of the stored H.264 (CRF); 16 is hard to tell from the source
    audio: bool  # whether the sound is fetched and kept, too
    buckets: int = Field(ge=1, le=1000)  # tars; another number stores everything anew
    connections: int = Field(ge=1)  # videos at a time
    asking: site.Asking
    manners: Manners
    limits: video.Limits  # of looking into a file, and of cutting one section


class Wanted(NamedTuple):
    """One utterance of an item. Its text is PERSON/UTTERANCE=SOURCE:PLACE."""

    person: str
    utterance: str
    source: int  # number in Config.metadata
    place: archive.Place

    def __str__(self) -> str:
        return f"{self.person}/{self.utterance}={self.source}:{self.place}"

    @classmethod
    def parse(cls, text: str) -> Wanted:
        """The opposite of `str`."""
        name, place = text.split("=")
        source, where = place.split(":")
        person, utterance = name.split("/")
        return cls(person, utterance, int(source), archive.Place.parse(where))

    def of(self, video: str) -> str:
        """Its id in the ledger."""
        return f"{self.person}/{video}/{self.utterance}"

    def down(self, video: str, listed: frozenset[str]) -> bool:
        """Whether a take-down list covers it."""
        return takedown.covers(listed, self.person, f"{video}/{self.utterance}")

    @property
    def key(self) -> str:
        """Another text of the utterance gives another key, another place of the same text does not."""
        return f"{self.place.crc:08x}{self.place.size:x}"


Cut = tuple[buckets.Item, dict[str, bytes]]  # what becomes of an utterance


def items(config: Config) -> list[str]:
    """`VIDEO UTTERANCE UTTERANCE …` for each video that is not taken down, bucket by bucket.

    Refused: metadata is missing, or the environment names a site or cookies that cannot be used.
    """
    site.address(config.asking, "")
    site.cookies()
    _plan.cache_clear()  # what a run plans it ends with
    listed, found = _taken_down(config), []
    for _, planned in _planned(config):
        for name, entries in planned:
            if wanted := [entry for entry in entries if not entry.down(name, listed)]:
                found.append(" ".join([name, *map(str, wanted)]))
    if not found:
        raise settings.Refused(f"{config.origin}: the metadata there lists no utterance to be fetched (docs/voxceleb.md)")
    return found


def fetch(config: Config, item: str, folder: Path) -> list[dict[str, Any]]:
    """One video into its bucket, unless it is there: rows with what became of it, of no use but for what is not kept."""
    name, *texts = item.split(" ")
    store, listed = _store(config), _taken_down(config)
    known = store.known(name)
    wanted = [entry for entry in map(Wanted.parse, texts) if known.get(entry.of(name)) != entry.key
              and not entry.down(name, listed)]
    if not wanted:
        return []
    pace = Pace(folder / ".pace", config.manners)
    try:
        made = cut(config, name, wanted, folder.with_name("asking") / f"v{name}", pace)
    except Unusable as problem:
        return [_row(name, entry, problem.status, str(problem)) for entry in wanted]
    store.keep(name, made)
    return [_blank(item.name, item.status, item.reason) for item, _ in made]


def cut(config: Config, name: str, wanted: Iterable[Wanted], folder: Path, pace: Pace) -> list[Cut]:
    """What becomes of utterances of one video, which is asked for once and lies in `folder` meanwhile.

    Unusable: a status after which it is asked for again.
    """
    made, tracks = [], {}
    for entry in wanted:
        try:
            tracks[entry] = listing.read(Path(config.origin) / config.metadata[entry.source],
                                         listing.Found(entry.person, name, entry.utterance, entry.place), config.boxes)
        except Unusable as problem:
            made.append(_failed(name, entry, problem))
    if not tracks:
        return made
    shutil.rmtree(folder, ignore_errors=True)  # of a process that was killed
    folder.mkdir(parents=True)
    try:
        made += _sections(config, name, tracks, folder, pace)
        pace.heard("ok")
    except Unusable as problem:
        if not isinstance(problem, Shut):
            pace.heard(problem.status)
        if problem.status in ledger.AGAIN:
            raise
        made += [_failed(name, entry, problem) for entry in tracks]
    finally:
        shutil.rmtree(folder)
    return made


Tracks = dict[Wanted, tuple[utterances.Track, list[str]]]  # and sentences about lines of its text


def _sections(config: Config, name: str, tracks: Tracks, folder: Path, pace: Pace) -> list[Cut]:
    """All utterances of a video. One that came damaged is asked for once more: the same bytes again are how it is."""
    before = ""
    while True:
        picture, sound = site.receive(config.asking, name, config.height, config.audio, folder, pace)
        with picture.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        try:
            of = sections.source(picture, (sound or picture) if config.audio else None, config.limits)
            made = [_utterance(config, name, entry, of, *tracks[entry], folder) for entry in tracks]
            if digest == before or not any(damaged for _, damaged in made):
                return [cut for cut, _ in made]
        except Unusable as problem:
            if digest == before or problem.status not in ("corrupt", "empty", "no-stream"):
                raise
        if before:
            raise Unusable("network", "it came twice, damaged in two different ways")
        before = digest
        for path in filter(None, (picture, sound)):
            path.unlink()


def _utterance(config: Config, name: str, entry: Wanted, of: sections.Source, track: utterances.Track, wrong: list[str],
               folder: Path) -> tuple[Cut, bool]:
    """One utterance, and whether its bytes look damaged."""
    try:
        clip = sections.cut(of, track, config.margin, config.quality, config.limits, folder)
    except Unusable as problem:
        return _failed(name, entry, problem), problem.status == "corrupt"
    boxes = io.BytesIO()
    np.save(boxes, clip.boxes)
    missing = len(track.boxes) - len(clip.boxes)
    notes = [f"the video ends {missing} pictures early"] if missing else []
    notes += ["the decoder reports errors in it"] if clip.damaged else []
    notes += [f"{wrong[0]} ({len(wrong)} such lines)"] if wrong else []
    members = {".boxes.npy": boxes.getvalue(), ".mp4": clip.video} | ({".m4a": clip.sound} if clip.sound else {})
    return (buckets.Item(entry.of(name), entry.key, "ok", "; ".join(notes), {}), members), clip.damaged


def contents(config: Config, problems: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """One row for each utterance of the metadata and for whatever else lies there; the buckets are finished on the way.

    `problems`: the rows of `fetch`; an id that is an item's whole text is a video at which workers died.
    """
    again: dict[str, tuple[str, str]] = {}
    for row in problems:
        if row["status"] in ledger.AGAIN or " " in row["id"]:
            video = row["id"].split(" ")[0] if " " in row["id"] else row["video"].split("/")[0]
            again[video] = sys.intern(row["status"]), sys.intern(row["reason"])
    store, listed = _store(config), _taken_down(config)
    for number, planned in _planned(config):
        yield from _bucket(store, number, planned, listed, again)
    yield from _others(config)


Planned = list[tuple[str, list[Wanted]]]  # videos and their utterances


def _bucket(store: buckets.Buckets, number: int, planned: Planned, listed: frozenset[str],
            again: Mapping[str, tuple[str, str]]) -> Iterator[dict[str, Any]]:
    """The rows of one bucket, merged for good. What is taken down, or has another text now, is dropped from its tar.

    What the metadata does not list any more stays there without a row: it may come back into the list, but not to the site.
    """
    store.finish(number, {entry.of(name): entry.key for name, entries in planned for entry in entries
                          if not entry.down(name, listed)},
                 lambda name: not takedown.covers(listed, *name.partition("/")[::2]))
    found = {item.name: item for item in store.items(number)}
    for name, entries in planned:
        for entry in entries:
            item = found.get(entry.of(name))
            if entry.down(name, listed):
                yield _row(name, entry, "takedown", "on the take-down list")
            elif item is None:
                yield _row(name, entry, *again.get(name, ("network", "not fetched; run again")))
            else:
                where = {suffix: f"{_archive(store, number)}#{buckets.Place(*place)}" for suffix, place in item.members.items()}
                yield _row(name, entry, item.status, item.reason) | {"path": where.get(".mp4", ""),
                                                                     "boxes": where.get(".boxes.npy", "")}


def _others(config: Config) -> Iterator[dict[str, Any]]:
    """What lies among the metadata and is no utterance, or one that was listed before; lines of the lists of speakers."""
    plan = _plan(_metadata(config))
    for path in _metadata(config) if plan.wrong else ():
        for found in listing.scan(path):
            if isinstance(found, listing.Wrong):
                yield _blank(found.name, found.status, found.reason)
    for row in plan.twice.tolist():
        name, entry = _wanted(row)
        where = f"{entry.of(name)}@{config.metadata[entry.source]}:{entry.place.offset}"
        yield _blank(where, "bad-name", "the metadata lists this utterance twice; the first one counts")
    for name in config.people:
        for number, reason in speakers.read(Path(config.origin) / name).wrong.items():
            yield _blank(f"{name}:{number}", "bad-name", reason)


def manifest(config: Config, table: pd.DataFrame) -> dict[str, Any]:
    """What later stages need to know: the tars with their bytes, and who is kept for tests."""
    store = _store(config)
    tars = {_archive(store, number): store.archive(number) for number in range(config.buckets)}
    sizes = {name: {f"{Path(name).parent}/{tar[0]}": tar[1]} for name, tar in tars.items() if tar}
    tested = {person for name in config.people for person in speakers.read(Path(config.origin) / name).tested}
    rows = _plan(_metadata(config)).rows
    tested |= {f"id{number:05d}" for number in np.unique(rows["person"][rows["test"]])}
    return {"archives": sizes, "test_people": sorted(tested & set(table["person"]))}


def _store(config: Config) -> buckets.Buckets:
    """Settings that decide the bytes have a folder of their own: another choice destroys nothing that came."""
    lists = any(name.endswith(".csv") for name in config.metadata)  # FOMM numbers other clips as the texts do
    form = [FORM, config.boxes, config.height, config.margin, config.quality, config.audio, config.buckets, lists]
    digest = hashlib.sha256(json.dumps(form).encode()).hexdigest()[:8]
    return _opened(Path(config.origin) / "clips" / digest, config.buckets)


@cache
def _opened(folder: Path, count: int) -> buckets.Buckets:
    return buckets.Buckets(folder, count)


def _archive(store: buckets.Buckets, number: int) -> str:
    """The name under which the ledger knows a bucket's tar: without what hangs on its contents."""
    return f"clips/{store.folder.name}/{number:03d}.tar"


def _metadata(config: Config) -> tuple[Path, ...]:
    return tuple(Path(config.origin) / name for name in config.metadata)


@cache
def _plan(paths: tuple[Path, ...]) -> listing.Plan:
    return listing.plan(paths)


def _taken_down(config: Config) -> frozenset[str]:
    return takedown.read(Path(config.origin) / takedown.NAME)


def _planned(config: Config) -> Iterator[tuple[int, Planned]]:
    """Every bucket with its videos, in order. Only one bucket's is there as objects: all are 60 bytes an utterance."""
    store, rows = _store(config), _plan(_metadata(config)).rows
    groups = list(listing.videos(rows))
    order: list[list[int]] = [[] for _ in range(config.buckets)]
    for number, (first, _) in enumerate(groups):
        order[store.number(rows["video"][first].decode())].append(number)
    for bucket, numbers in enumerate(order):
        planned: Planned = []
        for first, last in (groups[number] for number in numbers):
            pairs = [_wanted(row) for row in rows[first:last].tolist()]
            planned.append((pairs[0][0], [entry for _, entry in pairs]))
        yield bucket, planned


def _wanted(row: tuple[Any, ...]) -> tuple[str, Wanted]:
    """Video and utterance of a row of listing.ROWS."""
    video, person, utterance, source, *place, _ = row
    return video.decode(), Wanted(f"id{person:05d}", f"{utterance:05d}", source, archive.Place(*place))


def _failed(name: str, entry: Wanted, problem: Unusable) -> Cut:
    return buckets.Item(entry.of(name), entry.key, problem.status, str(problem), {}), {}


def _row(name: str, entry: Wanted, status: str, reason: str) -> dict[str, Any]:
    return _blank(entry.of(name), status, reason) | {"person": entry.person, "video": f"{name}/{entry.utterance}"}


def _blank(name: str, status: str, reason: str) -> dict[str, Any]:
    return {"id": name, "person": "", "video": "", "path": "", "boxes": "", "status": status, "reason": reason}
