"""Maps the messages of a site or of yt-dlp to a status of the ledger. The table is responses.yaml."""

from __future__ import annotations

import html
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

from pipeline.core.ledger import STATUSES

TABLE = Path(__file__).with_name("responses.yaml")


class Row(NamedTuple):
    """One line of the table."""

    status: str
    words: re.Pattern[str]
    says: str
    installed: list[str]
    quoted: dict[str, str]


@cache
def table() -> list[Row]:
    """Reads all rows, in order."""
    from ruamel.yaml import YAML

    rows = [Row(row["status"], re.compile(row["words"], re.IGNORECASE | re.DOTALL), row["says"], row.get("installed", []),
                row.get("quoted", {})) for row in YAML(typ="safe").load(TABLE.read_text(encoding="utf-8"))]
    assert {row.status for row in rows} <= set(STATUSES)
    return rows


def judge(error: str, page: str) -> tuple[str, str]:
    """Status and reason for an error of yt-dlp and, where it found no video, for the text of the page.

    Neither text is repeated: both are untrusted and may contain addresses or credentials. A text that matches no row is
    `network`, which is requested again.
    """
    seen = html.unescape(re.sub(r"(?s)<(script|style)\b.*?</\1>|<[^>]*>", " ", page))
    for text in filter(None, (" ".join(seen.split()), error)):
        for row in table():
            if row.words.search(text):
                return row.status, row.says
    kind = error.partition(":")[0]
    shown = kind if re.fullmatch(r"[A-Za-z]{1,40}", kind) else "unknown"
    return "network", f"the response matches no row of {TABLE.name} ({shown}); a newer yt-dlp may know it"
