"""A table as the page shows it: one number a cell, that a reader can sort by, its interval below it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from eval.report.markdown_table import DASH, Table, number
from eval.report.table1_quality import SHORT

SIGNED = re.compile(r"[-−+]?\d[\d,]*\.?\d*(?:e[-+]?\d+)?")
UNITS = {" G": 1e9, " M": 1e6, " k": 1e3}
SPLIT = re.compile(r"paper on (\w+): (.*)")  # one column of the file is several on the page
LONG = {short: f"the paper on {name.replace('voxceleb', 'VoxCeleb')}" for name, short in SHORT.items()}


class Column(NamedTuple):
    """A head; `group` stands above those that share it."""

    group: str
    name: str
    numeric: bool
    key: bool  # says which row it is, and stays in view


class Cell(NamedTuple):
    """What is shown, the small print below it, and the number to sort by (None: sorted last)."""

    text: str
    small: str
    value: float | None


class Row(NamedTuple):
    """kind: "paper", "floor" or "" for a method; new: a method begins."""

    cells: list[Cell]
    kind: str
    new: bool


class View(NamedTuple):
    """A table for the page."""

    anchor: str
    title: str
    groups: list[tuple[str, int]]  # head, columns below it; none where no column has one
    columns: list[Column]
    rows: list[Row]
    notes: list[str]
    prose: bool


def view(table: Table) -> View:
    """Cells like `46.1 / 0.61` of the paper are taken apart, `value [low, high]` is value over interval.

    A first column that says the same in every row goes into the title.
    """
    head = [part for name in table.head for part in _heads(name)]
    rows = [[part for name, text in zip(table.head, row) for part in _texts(name, text)] for row in table.rows]
    cells = [[cell(text) for text in row] for row in rows]
    columns = [Column(*names, j >= 2 and _numeric([row[j] for row in cells]), j == 1) for j, names in enumerate(head)]
    kinds = ["paper" if row[0] == "paper" else "floor" if row[1].startswith("real, ") else "" for row in rows]
    one = len({row[0] for row in rows}) == 1
    found = [Row(row[one:], kind, bool(j) and rows[j][1] != rows[j - 1][1]) for j, (row, kind) in enumerate(zip(cells, kinds))]
    columns = columns[one:]
    groups = [(name, len(list(same))) for name, same in groupby(columns, key=lambda column: column.group)]
    title = table.title + (f": {rows[0][0]}" if one else "")
    return View(table.anchor, title, groups if len(groups) > 1 else [], columns, found, table.notes, table.prose)


def _numeric(cells: Sequence[Cell]) -> bool:
    return all(cell.value is not None for cell in cells if cell.text != DASH)


def _heads(name: str) -> list[tuple[str, str]]:
    if found := SPLIT.fullmatch(name):
        return [(LONG[found[1]], part) for part in found[2].split(" / ")]
    return [("", name)]


def _texts(name: str, text: str) -> list[str]:
    if not (found := SPLIT.fullmatch(name)):
        return [text]
    parts = found[2].split(" / ")
    return text.split(" / ") if text != DASH else [DASH] * len(parts)


def cell(text: str) -> Cell:
    """`0.771 [0.70, 0.84] p 0.1`, `336 M`, `4 × 32`, a word or a dash."""
    value, bracket, rest = text.partition(" [")
    found = SIGNED.match(value)
    unit = next((size for end, size in UNITS.items() if value.endswith(end)), 1.0)
    amount = float(found[0].replace(",", "").replace("−", "-")) * unit if found else None
    return Cell(value, bracket.strip() + rest, amount)


class Comparison(NamedTuple):
    """One row under a claim."""

    what: str
    verdict: str
    column: str
    difference: str
    interval: str
    p: str
    people: str
    paper: str


class Stated(NamedTuple):
    """A claim of the paper with its comparisons."""

    dataset: str
    verdict: str
    says: str
    source: str
    rows: list[Comparison]


def claims(record: Sequence[dict[str, Any]], label: Callable[[str], str]) -> list[Stated]:
    """From the lines of claims.csv."""
    out = []
    for (dataset, _), same in groupby(record, key=lambda line: (line["dataset"], line["claim"])):
        lines = list(same)
        first = lines[0]
        rows = [_comparison(line, label) for line in lines]
        out.append(Stated(dataset, first["claim_verdict"], first["says"], first["source"], rows))
    return out


def _comparison(line: dict[str, Any], label: Callable[[str], str]) -> Comparison:
    places = [_place(line, side, label) for side in ("small", "large")]
    times = f" × {line['times']:g}" if line["times"] != 1 else ""
    what = f"{places[0]}{times} {'≤' if line['number'] is not None or times else '<'} {places[1] or number(line['number'])}"
    like = max((abs(x) for x in (line["value"], line["low"], line["high"]) if x is not None), default=None)
    bounds = DASH if line["low"] is None else f"{number(line['low'], like)} to {number(line['high'], like)}"
    theirs = " and ".join(x for x in (line["paper_small"], line["paper_large"]) if x)
    return Comparison(what, line["verdict"], line["why_not"] or line["column"] or DASH, number(line["value"], like), bounds,
                      number(line["p"]), str(line["people"] or DASH), theirs or DASH)


def _place(line: dict[str, Any], side: str, label: Callable[[str], str]) -> str:
    if line[f"{side}_method"] is None:
        return ""
    return label(line[f"{side}_method"]) + ("" if line["metric"] == "frame_seconds" else f" T={line[f'{side}_T']}")
