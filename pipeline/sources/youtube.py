"""Source `youtube`: VoxCeleb1 and VoxCeleb2 by their metadata. An item is one YouTube video with all its utterances.

pipeline/sources/ytdlp/video_job.py processes it. Clips, boxes and final statuses are stored permanently in `origin`/clips
(pipeline/media/clip_store.py). A later run requests only what is missing there.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field

from pipeline.core import ledger, takedown
from pipeline.core.errors import InputError
from pipeline.core.ledger import RejectedItem
from pipeline.media import clip_store, zip_members
from pipeline.sources.voxceleb import metadata, speakers
from pipeline.sources.ytdlp import client, video_job
from pipeline.sources.ytdlp.rate_limit import RateLimit, Throttle
from pipeline.sources.ytdlp.video_job import Wanted

FORM = 1  # version of the stored clips; increased when the code makes different ones


class Config(video_job.Config):
    """The section `data.fetch` of params/DATASET.yaml for `source: youtube`."""

    people: list[str]  # in `origin`: lists of speakers with a column Set
    buckets: int = Field(ge=1, le=1000)  # number of tars; a change fetches and stores everything again
    connections: int = Field(ge=1)  # videos at a time
    rate_limit: RateLimit


def items(config: Config) -> list[str]:
    """`VIDEO UTTERANCE UTTERANCE …` for each video that is not taken down, bucket by bucket.

    InputError: metadata is missing, or the site or cookies named in the environment cannot be used.
    """
    client.address(config.ytdlp, "")
    client.cookies()
    _plan.cache_clear()  # one plan for the whole run
    listed, found = _taken_down(config), []
    for _, planned in _planned(config):
        for name, entries in planned:
            if wanted := [entry for entry in entries if not entry.down(name, listed)]:
                found.append(" ".join([name, *map(str, wanted)]))
    if not found:
        raise InputError(f"{config.origin}: the metadata there lists no utterance to fetch (docs/voxceleb.md)")
    return found


def fetch(config: Config, item: str, folder: Path) -> list[dict[str, Any]]:
    """Fetches one video into its bucket unless it is stored there; returns rows with the statuses.

    `contents` makes the final rows from the bucket; only rows with a status that is not final matter later.
    """
    name, *texts = item.split(" ")
    store, listed = _store(config), _taken_down(config)
    known = store.known(name)
    wanted = [entry for entry in map(Wanted.parse, texts) if known.get(entry.of(name)) != entry.key
              and not entry.down(name, listed)]
    if not wanted:
        return []
    throttle = Throttle(folder / ".pace", config.rate_limit)
    try:
        made = video_job.cut(config, name, wanted, folder.with_name("ytdlp") / f"v{name}", throttle)
    except RejectedItem as problem:
        return [_row(name, entry, problem.status, str(problem)) for entry in wanted]
    store.keep(name, made)
    return [_blank(item.name, item.status, item.reason) for item, _ in made]


def contents(config: Config, problems: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yields one row per utterance of the metadata and per unusable entry there; finishes the buckets as it goes.

    `problems`: the rows of `fetch`; an id that is an item's whole text is a video whose workers died.
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


def _bucket(store: clip_store.Buckets, number: int, planned: Planned, listed: frozenset[str],
            again: Mapping[str, tuple[str, str]]) -> Iterator[dict[str, Any]]:
    """Finishes one bucket and yields its rows. Clips that are taken down or whose text file changed are deleted from its tar.

    Clips that the metadata no longer lists stay without a row: the list may include them again, the site may not have them.
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
                where = {suffix: f"{_archive(store, number)}#{clip_store.Place(*place)}" for suffix,
                         place in item.members.items()}
                yield _row(name, entry, item.status, item.reason) | {"path": where.get(".mp4", ""),
                                                                     "boxes": where.get(".boxes.npy", "")}


def _others(config: Config) -> Iterator[dict[str, Any]]:
    """Yields rows for unusable or repeated entries of the metadata, and for unusable lines of the lists of speakers."""
    plan = _plan(_metadata(config))
    for path in _metadata(config) if plan.wrong else ():
        for found in metadata.scan(path):
            if isinstance(found, metadata.Wrong):
                yield _blank(found.name, found.status, found.reason)
    for row in plan.twice.tolist():
        name, entry = _wanted(row)
        where = f"{entry.of(name)}@{config.metadata[entry.source]}:{entry.place.offset}"
        yield _blank(where, "bad-name", "the metadata lists this utterance twice; the first entry counts")
    for name in config.people:
        for number, reason in speakers.read(Path(config.origin) / name).wrong.items():
            yield _blank(f"{name}:{number}", "bad-name", reason)


def manifest(config: Config, table: pd.DataFrame) -> dict[str, Any]:
    """Facts for later stages: the tars with their sizes in bytes, and the test people."""
    store = _store(config)
    tars = {_archive(store, number): store.archive(number) for number in range(config.buckets)}
    sizes = {name: {f"{Path(name).parent}/{tar[0]}": tar[1]} for name, tar in tars.items() if tar}
    tested = {person for name in config.people for person in speakers.read(Path(config.origin) / name).tested}
    rows = _plan(_metadata(config)).rows
    tested |= {f"id{number:05d}" for number in np.unique(rows["person"][rows["test"]])}
    return {"archives": sizes, "test_people": sorted(tested & set(table["person"]))}


def _store(config: Config) -> clip_store.Buckets:
    """The clip store of these settings. Settings that change the clips select another folder, so that no clip is lost."""
    lists = any(name.endswith(".csv") for name in config.metadata)  # FOMM's list uses the same numbers for other clips
    form = [FORM, config.boxes, config.height, config.margin, config.quality, config.audio, config.buckets, lists]
    digest = hashlib.sha256(json.dumps(form).encode()).hexdigest()[:8]
    return _opened(Path(config.origin) / "clips" / digest, config.buckets)


@cache
def _opened(folder: Path, count: int) -> clip_store.Buckets:
    return clip_store.Buckets(folder, count)


def _archive(store: clip_store.Buckets, number: int) -> str:
    """The name of a bucket's tar in the ledger; does not depend on its contents."""
    return f"clips/{store.folder.name}/{number:03d}.tar"


def _metadata(config: Config) -> tuple[Path, ...]:
    return tuple(Path(config.origin) / name for name in config.metadata)


@cache
def _plan(paths: tuple[Path, ...]) -> metadata.Plan:
    return metadata.plan(paths)


def _taken_down(config: Config) -> frozenset[str]:
    return takedown.read(Path(config.origin) / takedown.NAME)


def _planned(config: Config) -> Iterator[tuple[int, Planned]]:
    """Yields every bucket with its videos, in order. Only one bucket's videos are objects at a time, the rest compact rows."""
    store, rows = _store(config), _plan(_metadata(config)).rows
    groups = list(metadata.videos(rows))
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
    """Video and utterance of a row of metadata.ROWS."""
    video, person, utterance, source, *place, _ = row
    return video.decode(), Wanted(f"id{person:05d}", f"{utterance:05d}", source, zip_members.Place(*place))


def _row(name: str, entry: Wanted, status: str, reason: str) -> dict[str, Any]:
    return _blank(entry.of(name), status, reason) | {"person": entry.person, "video": f"{name}/{entry.utterance}"}


def _blank(name: str, status: str, reason: str) -> dict[str, Any]:
    return {"id": name, "person": "", "video": "", "path": "", "boxes": "", "status": status, "reason": reason}
