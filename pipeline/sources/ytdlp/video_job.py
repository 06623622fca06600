"""Processes one YouTube video: downloads it once, cuts its utterances into clips with face boxes, deletes it."""

from __future__ import annotations

import hashlib
import io
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydantic import Field

from pipeline.core import config as settings
from pipeline.core import fileio, ledger, takedown
from pipeline.core.ledger import RejectedItem
from pipeline.media import clip_store, video, zip_members
from pipeline.sources.voxceleb import metadata as vox_metadata
from pipeline.sources.voxceleb import utterances
from pipeline.sources.ytdlp import client
from pipeline.sources.ytdlp import cut as cutting
from pipeline.sources.ytdlp.rate_limit import NotRequested, Throttle


class Config(settings.Strict):
    """How a video is requested and cut: part of `data.fetch` in params/DATASET.yaml."""

    origin: str  # folder of the metadata and of the clips, given on the command line; may hold a takedown.txt
    metadata: list[str]  # in it: zips or folders of txt/PERSON/VIDEO/UTTERANCE.txt, or FOMM's vox-metadata.csv
    boxes: utterances.Kind  # unit of the boxes in the txt files
    height: int  # most rows of the frame
    margin: float = Field(ge=0)  # kept around all boxes of an utterance, as a share of their sides
    quality: int = Field(ge=0, le=51)  # CRF of the stored H.264; 16 is hard to tell from the source
    audio: bool  # whether the audio is fetched and kept, too
    ytdlp: client.Request
    limits: video.Limits  # of probing a file, and of cutting one section


class Wanted(NamedTuple):
    """One utterance of an item. Its text is PERSON/UTTERANCE=SOURCE:PLACE."""

    person: str
    utterance: str
    source: int  # index in Config.metadata
    place: zip_members.Place

    def __str__(self) -> str:
        return f"{self.person}/{self.utterance}={self.source}:{self.place}"

    @classmethod
    def parse(cls, text: str) -> Wanted:
        """The inverse of `str`."""
        name, place = text.split("=")
        source, where = place.split(":")
        person, utterance = name.split("/")
        return cls(person, utterance, int(source), zip_members.Place.parse(where))

    def of(self, video: str) -> str:
        """Its id in the ledger."""
        return f"{self.person}/{video}/{self.utterance}"

    def down(self, video: str, listed: frozenset[str]) -> bool:
        """Whether a take-down list covers it."""
        return takedown.covers(listed, self.person, f"{video}/{self.utterance}")

    @property
    def key(self) -> str:
        """Identifies the content of the utterance's text file, wherever it is stored."""
        return f"{self.place.crc:08x}{self.place.size:x}"


Cut = tuple[clip_store.Item, dict[str, bytes]]  # the result of an utterance: its item, and suffix -> bytes of its files


def cut(config: Config, name: str, wanted: Iterable[Wanted], folder: Path, throttle: Throttle) -> list[Cut]:
    """Downloads one video to `folder`, cuts the wanted utterances, deletes it; returns the result of each utterance.

    RejectedItem: a status after which the next run requests it again. OSError: the disk is full.
    """
    made, tracks = [], {}
    for entry in wanted:
        try:
            tracks[entry] = vox_metadata.read(Path(config.origin) / config.metadata[entry.source],
                                              vox_metadata.Found(entry.person, name, entry.utterance, entry.place),
                                              config.boxes)
        except RejectedItem as problem:
            made.append(_failed(name, entry, problem))
    if not tracks:
        return made
    shutil.rmtree(folder, ignore_errors=True)  # left by a killed process
    folder.mkdir(parents=True)
    fileio.need_room(folder)
    try:
        made += _sections(config, name, tracks, folder, throttle)
        throttle.record("ok")
    except RejectedItem as problem:
        fileio.need_room(folder)
        if not isinstance(problem, NotRequested):
            throttle.record(problem.status)
        if problem.status in ledger.AGAIN:
            raise
        made += [_failed(name, entry, problem) for entry in tracks]
    finally:
        shutil.rmtree(folder)
    return made


Tracks = dict[Wanted, tuple[utterances.Track, list[str]]]  # with a message per unusable line of its text file


def _sections(config: Config, name: str, tracks: Tracks, folder: Path, throttle: Throttle) -> list[Cut]:
    """Downloads a video and cuts its utterances. A damaged download is repeated once; equal bytes are then accepted."""
    before = ""
    while True:
        path, audio = client.download_video(config.ytdlp, name, config.height, config.audio, folder, throttle)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        try:
            of = cutting.source(path, (audio or path) if config.audio else None, config.limits)
            made = [_utterance(config, name, entry, of, *tracks[entry], folder) for entry in tracks]
            if digest == before or not any(damaged for _, damaged in made):
                return [cut for cut, _ in made]
        except RejectedItem as problem:
            if digest == before or problem.status not in ("corrupt", "empty", "no-stream"):
                raise
        if before:
            raise RejectedItem("network", "two downloads are damaged in different ways")
        before = digest
        for part in filter(None, (path, audio)):
            part.unlink()


def _utterance(config: Config, name: str, entry: Wanted, of: cutting.Source, track: utterances.Track, wrong: list[str],
               folder: Path) -> tuple[Cut, bool]:
    """Cuts one utterance; returns it and whether the video appears damaged."""
    try:
        clip = cutting.cut(of, track, config.margin, config.quality, config.limits, folder)
    except RejectedItem as problem:
        return _failed(name, entry, problem), problem.status == "corrupt"
    boxes = io.BytesIO()
    np.save(boxes, clip.boxes)
    missing = len(track.boxes) - len(clip.boxes)
    notes = [f"the video ends {missing} frames early"] if missing else []
    notes += ["the decoder reported errors"] if clip.damaged else []
    notes += [f"{wrong[0]} ({len(wrong)} such lines)"] if wrong else []
    members = {".boxes.npy": boxes.getvalue(), ".mp4": clip.video} | ({".m4a": clip.audio} if clip.audio else {})
    return (clip_store.Item(entry.of(name), entry.key, "ok", "; ".join(notes), {}), members), clip.damaged


def _failed(name: str, entry: Wanted, problem: RejectedItem) -> Cut:
    return clip_store.Item(entry.of(name), entry.key, problem.status, str(problem), {}), {}
