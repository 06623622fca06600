"""A table as Markdown, CSV and rows for the page; how numbers and intervals are printed."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

DASH = "–"
ARROW = {"higher": "↑", "lower": "↓"}


@dataclass
class Table:
    """A head, rows of text cells, and notes that belong under it; `record` is the same for machines."""

    title: str
    head: list[str]
    rows: list[list[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    record: list[dict[str, Any]] = field(default_factory=list)
    keys: int = 2  # leading columns that say which row it is
    anchor: str = ""  # in the page
    prose: bool = False  # sentences rather than numbers: lines may break

    def markdown(self) -> str:
        """A padded Markdown table with its notes."""
        notes = "".join(f"- {note}\n" for note in self.notes)
        return f"## {self.title}\n\n{padded([self.head, *self.rows])}" + (f"\n{notes}" if notes else "")

    def csv(self) -> str:
        """`record` with a head line; empty = not measured."""
        out = io.StringIO()
        writer = csv.DictWriter(out, list(self.record[0]) if self.record else [], lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.record)
        return out.getvalue()


def padded(lines: Sequence[Sequence[str]]) -> str:
    """Markdown rows of cells, the first being the head."""
    widths = [max(map(len, column)) for column in zip(*lines)]
    text = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |" for row in lines]
    return "\n".join([text[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *text[1:]]) + "\n"


def fitted(markdown: str, width: int, keys: int) -> str:
    """The same text for a terminal `width` wide: a table that is wider continues below, its first `keys` columns repeated."""
    lines = markdown.splitlines()
    rows = [[cell.strip() for cell in line[1:-1].split("|")] for line in lines if line.startswith("|")]
    rows = [row for row in rows if set("".join(row)) != {"-"}]
    if not rows or max(map(len, lines[2:2 + len(rows)])) <= width:
        return markdown
    sizes = [max(map(len, column)) + 3 for column in zip(*rows)]
    blocks, room = [list(range(keys))], width - 1 - sum(sizes[:keys])
    for j in range(keys, len(sizes)):
        if len(blocks[-1]) > keys and sum(sizes[i] for i in blocks[-1][keys:]) + sizes[j] > room:
            blocks.append(list(range(keys)))
        blocks[-1].append(j)
    head, notes = lines[0], [line for line in lines[1:] if line and not line.startswith("|")]
    filled = [[row for row in rows if block is blocks[0] or {row[j] for j in block[keys:]} != {DASH}] for block in blocks]
    tables = [padded([[row[j] for j in block] for row in some]) for block, some in zip(blocks, filled)]
    return f"{head}\n\n" + "\n".join(tables) + "\n" + "\n".join(notes) + "\n"


def decimals(value: float) -> int:
    """How many of them make three significant digits."""
    return min(6, max(0, 2 - math.floor(math.log10(abs(value) or 1))))


def number(value: float | None, like: float | None = None) -> str:
    """Three significant digits (as many decimals as `like` has with three); a dash for what was not measured."""
    if value is None or not math.isfinite(value):
        return DASH
    return f"{value:.{decimals(value if like is None else like)}f}"


def interval(cell: Mapping[str, Any] | None) -> str:
    """`value [low, high]`."""
    if cell is None or cell["value"] is None:
        return DASH
    if cell["low"] is None:
        return number(cell["value"])
    value = cell["value"]
    return f"{number(value)} [{number(cell['low'], value)}, {number(cell['high'], value)}]"


def number_of(count: float) -> str:
    """A count that may be a mean."""
    return f"{count:.0f}" if count == round(count) else f"{count:.1f}"
