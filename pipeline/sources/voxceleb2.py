"""Source `voxceleb2`: the official archives of cropped videos, nine parts and the test zip, which stay packed.

An item is one published file: downloaded unless it is in `origin`, then verified. When all files are present, the table of
contents gives one ledger row per utterance with its location in the archive.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.core import config as settings
from pipeline.core import takedown
from pipeline.core.errors import InputError
from pipeline.core.ledger import RejectedItem
from pipeline.media import zip_members
from pipeline.sources import download

ADDRESS, KEY = "TALKING_HEADS_VOXCELEB_URL", "TALKING_HEADS_VOXCELEB_KEY"  # environment variables, the only place for both
LIST = Path(__file__).with_suffix(".md5")
OWN_LIST = "files.md5"  # in `origin`: for a copy of the archives that is split differently
TEST = "vox2_test_mp4.zip"  # its people are the data set's own test people
MEMBER = re.compile(r"(?:(?:dev|test)/)?mp4/(id[0-9]{5})/([A-Za-z0-9_-]{11})/([0-9]{5})\.mp4")  # person, YouTube id, utterance
_LINE = re.compile(r"(\w[\w.-]*\.zip) (\w[\w.-]*) ([0-9a-f]{32})")


class Config(settings.Strict):
    """The section `data.fetch` of params/DATASET.yaml for `source: voxceleb2`."""

    origin: str  # folder of the archives, given on the command line; may hold a takedown.txt
    archives: list[str]  # names in the list; without vox2_mp4.zip there are no training people
    bytes: int  # larger clips are rejected
    connections: int  # files downloaded or verified at a time
    retry: download.Retry


def items(config: Config) -> list[str]:
    """`FILE MD5` for each file of the archives; another md5 makes another item, which is verified again.

    InputError: an archive is not in the list, or the list cannot be read.
    """
    listed = files(config)
    for name in config.archives:
        settings.pick(listed, name, "fetch.archives")
    return [f"{file} {md5}" for name in config.archives for file, md5 in listed[name].items()]


def files(config: Config) -> dict[str, dict[str, str]]:
    """Archive -> file -> md5, in order. InputError: a line that is not `ARCHIVE FILE MD5`."""
    own = Path(config.origin) / OWN_LIST
    path = own if own.is_file() else LIST
    listed: dict[str, dict[str, str]] = {}
    for line in path.read_text().splitlines():
        if entry := line.split("#")[0].strip():
            found = _LINE.fullmatch(entry)
            if not found:
                raise InputError(f"{path}: found {entry[:100]!r}; a line is ARCHIVE.zip FILE MD5")
            listed.setdefault(found[1], {})[found[2]] = found[3]
    return listed


def fetch(config: Config, item: str, folder: Path) -> list[dict[str, Any]]:
    """Downloads one file to `origin` if missing, and verifies its md5; returns no row, or one with the reason of a failure."""
    origin, (name, md5) = Path(config.origin), item.split()
    try:
        if not (origin / name).exists():
            origin.mkdir(parents=True, exist_ok=True)
            download.fetch(_server(name, origin), name, md5, origin, config.retry)
        elif (found := download.hash_of(origin / name)) != md5:
            raise RejectedItem("network", f"{origin / name} has md5 {found} where {md5} is expected; remove it to fetch it "
                                          "again")
    except RejectedItem as problem:
        return [_row(name, status=problem.status, reason=str(problem))]
    return []


def _server(name: str, origin: Path) -> download.Server:
    address = os.environ.get(ADDRESS, "")
    if not address:
        raise RejectedItem("network", f"{origin / name} is missing; put it there, or set {ADDRESS} and {KEY} "
                                      "(docs/voxceleb.md)")
    return download.Server(address, os.environ.get(KEY, ""))


def contents(config: Config, problems: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yields one ledger row per member of the archives. InputError: a file is missing (`problems`), or not a zip."""
    if missing := list(problems):
        reasons = "; ".join(row["reason"] for row in missing[:3])
        raise InputError(f"{len(missing)} of {len(items(config))} files of VoxCeleb2 are missing: {reasons}. "
                         "Downloaded files are kept; run again to resume")
    listed = takedown.read(Path(config.origin) / takedown.NAME)
    seen: set[str] = set()
    for name in config.archives:
        for member in zip_members.members([Path(config.origin) / file for file in files(config)[name]]):
            try:
                yield _clip(config, name, member, listed, seen)
            except RejectedItem as problem:
                shown = member.name.encode("unicode_escape").decode()[:200]
                yield _row(f"{name}/{shown}@{member.info.header_offset}", status=problem.status, reason=str(problem))


def _clip(config: Config, name: str, member: zip_members.Member, listed: frozenset[str], seen: set[str]) -> dict[str, Any]:
    """The ledger row of a usable member. RejectedItem: its name or its entry in the table of contents is not acceptable."""
    found = MEMBER.fullmatch(member.name)
    if not found:
        raise RejectedItem("bad-name", "its name is not mp4/PERSON/VIDEO/UTTERANCE.mp4")
    person, video = found[1], f"{found[2]}/{found[3]}"
    if takedown.covers(listed, person, video):
        return _row(f"{person}/{video}", person, video, status="takedown", reason="on the take-down list")
    where = zip_members.place(member, config.bytes)
    if f"{person}/{video}" in seen:
        raise RejectedItem("bad-name", "an earlier member has the same name")
    seen.add(f"{person}/{video}")
    return _row(f"{person}/{video}", person, video, f"{name}#{where}")


def _row(name: str, person: str = "", video: str = "", path: str = "", status: str = "ok", reason: str = "") -> dict[str, Any]:
    return {"id": name, "person": person, "video": video, "path": path, "status": status, "reason": reason}


def manifest(config: Config, table: pd.DataFrame) -> dict[str, Any]:
    """Facts for later stages: the archives' files with their sizes in bytes, and the people of the test archive."""
    listed = files(config)
    sizes = {name: {file: (Path(config.origin) / file).stat().st_size for file in listed[name]} for name in config.archives}
    tested = table.loc[table["path"].str.startswith(f"{TEST}#"), "person"]
    return {"archives": sizes, "test_people": sorted(tested.unique())}
