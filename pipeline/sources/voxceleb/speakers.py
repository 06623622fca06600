"""Reads VoxCeleb's lists of speakers (vox1_meta.csv, vox2_meta.csv), in every form in circulation: who is a test person."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.errors import InputError
from pipeline.sources.voxceleb import utterances


@dataclass(frozen=True)
class Speakers:
    """The content of one list."""

    known: frozenset[str]  # every person
    tested: frozenset[str]  # people of the set `test`
    wrong: dict[str, str]  # line number -> what is wrong with it


def read(path: Path) -> Speakers:
    """Reads one list; tolerates tabs or commas, BOM, CRLF, spaces and misspelt cells (`testo `).

    InputError: no such file, or no column Set.
    """
    try:
        lines = path.read_bytes().decode("utf-8-sig", errors="replace").splitlines()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; put VoxCeleb's list of speakers there (docs/voxceleb.md), or remove it "
                         "from fetch.people") from None
    mark = "\t" if lines and "\t" in lines[0] else ","
    names = [name.strip().lower().replace(" ", "") for name in lines[0].split(mark)] if lines else []
    if "set" not in names:
        raise InputError(f"{path}: its first line has no column Set; it is not one of VoxCeleb's lists of speakers")
    return _rows(lines, mark, names.index("set"))


def _rows(lines: list[str], mark: str, column: int) -> Speakers:
    """The list's content; the person is in the first column, the set in `column`."""
    known, tested, wrong = set(), set(), {}
    for number, line in enumerate(lines[1:], 2):
        cells = [cell.strip() for cell in line.split(mark)]
        if not any(cells):
            continue
        part = cells[column].lower() if len(cells) > column else ""
        if not re.fullmatch(utterances.IDS["person"], cells[0]):
            wrong[str(number)] = f"{utterances.shown(cells[0])} is not a person's id"
        elif not part.startswith(("dev", "test")):
            wrong[str(number)] = f"its Set is {utterances.shown(part)}, neither dev nor test"
        else:
            known.add(cells[0])
            if part.startswith("test"):
                tested.add(cells[0])
    return Speakers(frozenset(known), frozenset(tested), wrong)
