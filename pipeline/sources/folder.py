"""The user's own videos: root/person/video.*, any container ffmpeg reads. They are copied, never changed or linked."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

from pipeline import config as settings
from pipeline import takedown, video
from pipeline.ledger import Unusable

WAY_OUT = "move it to {origin}/PERSON/VIDEO.{ext}, one folder a person"


class Config(settings.Strict):
    """data.<dataset>.fetch of params.yaml for `source: folder`."""

    origin: str  # folder of the videos, given on the command line; may hold a takedown.txt
    ids: str  # regular expression that person and video names (without extension) must match as a whole
    bytes: int  # larger files are not used
    limits: video.Limits


def items(config: Config) -> list[str]:
    """Paths of all files below the folder, sorted. Refused: no such folder, or the expression is none."""
    root = Path(config.origin).expanduser()
    if not root.is_dir():
        raise settings.Refused(f"there is no folder {config.origin!r}; put videos there as "
                               f"{config.origin}/PERSON/VIDEO.mp4")
    try:
        re.compile(config.ids)
    except re.error as error:
        raise settings.Refused(f"fetch.ids: {config.ids!r} is not a regular expression ({error})") from None
    found = [path.relative_to(root) for path in root.rglob("*") if path.is_file()]
    return sorted(str(path) for path in found
                  if str(path) != takedown.NAME and not any(part.startswith(".") for part in path.parts))


def fetch(config: Config, item: str, folder: Path) -> list[dict[str, Any]]:
    """Copies one file to folder/person/video.ext and probes the copy: one row of the ledger."""
    parts = Path(item).parts
    person, name = (parts[0], Path(item).stem) if len(parts) == 2 else ("", Path(item).name)
    row = {"id": f"{person}/{name}" if person else item, "person": person, "video": name, "path": "", "status": "ok",
           "reason": ""}
    target = folder / item
    try:
        _check(config, item, person, name)
        _copy(Path(config.origin).expanduser() / item, target)
        facts = video.probe(target, config.limits)
        return [row | {"path": item, "reason": "the file ends before its header says" if facts.cut else ""}]
    except Unusable as problem:
        target.unlink(missing_ok=True)
        return [row | {"status": problem.status, "reason": str(problem)}]


def _check(config: Config, item: str, person: str, name: str) -> None:
    """What can be said before the file is opened."""
    root = Path(config.origin).expanduser()
    source = root / item
    if not person:
        raise Unusable("bad-name", f"{item} is not in a person's folder; "
                                   + WAY_OUT.format(origin=config.origin, ext=source.suffix.lstrip(".") or "mp4"))
    if takedown.covers(takedown.read(root / takedown.NAME), person, name):
        raise Unusable("takedown", "on the take-down list")
    for value in (person, name):
        if not re.fullmatch(config.ids, value):
            raise Unusable("bad-name", f"{value!r} does not match {config.ids}; rename it, or change fetch.ids")
    twins = sorted(other.name for other in source.parent.glob(f"{_literal(name)}.*") if other.stem == name)
    if twins and twins[0] != source.name:
        raise Unusable("bad-name", f"{item} has the same id as {person}/{twins[0]}; rename one of them")
    if (size := source.stat().st_size) > config.bytes:
        raise Unusable("too-large", f"{size} bytes, more than the {config.bytes} allowed; cut the video or raise fetch.bytes")


def _literal(name: str) -> str:
    """The name with the signs that a glob would read as a pattern made literal."""
    return re.sub(r"([*?\[])", r"[\1]", name)


def _copy(source: Path, target: Path) -> None:
    """Copies; the target appears when it is whole. Unusable: cannot be read."""
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, part)
    except PermissionError as error:
        raise Unusable("corrupt", f"{error.strerror}: {source}") from None
    os.replace(part, target)
