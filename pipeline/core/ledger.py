"""The ledger of a data stage: one row per item, with a status from a closed list and a reason. No item is dropped silently."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core import takedown

if TYPE_CHECKING:
    import pandas as pd

STATUSES = {
    "ok": "used",
    "gone": "removed by the site, or never existed",
    "private": "made private by its owner",
    "age": "restricted to signed-in adults",
    "geo": "not available in this country",
    "members": "restricted to paying members",
    "throttled": "the server asked for fewer requests",
    "bot-check": "the server asked for proof of a human",
    "network": "the server was unreachable, broke off or refused",
    "no-format": "not available in a readable format",
    "no-stream": "no video stream in the file",
    "no-face": "no face found",
    "multi-face": "a second face of comparable size",
    "face-leaves": "the face leaves the crop in too many frames",
    "too-short": "too few frames",
    "too-small": "the face or the frame has too few pixels",
    "corrupt": "cannot be read",
    "empty": "zero bytes",
    "timeout": "reading took too long",
    "too-large": "more pixels, frames or bytes than allowed",
    "takedown": "on the take-down list",
    "bad-name": "no usable id in its path or name",
}
CHUNK = 50_000  # rows
AGAIN = frozenset({"throttled", "bot-check", "network"})  # requested again by the next run; every other status is final


class RejectedItem(Exception):
    """One item that cannot be used. It becomes a ledger row; the stage goes on."""

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


def plain(text: str) -> str:
    """A name as one printable line: unprintable characters escaped; above 200 characters cut and hashed."""
    shown = "".join(c if c.isprintable() and c != "\\" else c.encode("unicode_escape").decode() for c in text)
    return shown if len(shown) <= 200 else f"{shown[:180]}…{hashlib.sha256(shown.encode()).hexdigest()[:8]}"


def write(path: Path, rows: Iterable[Mapping[str, Any]], columns: Mapping[str, str]) -> pd.DataFrame:
    """Writes rows as parquet with exactly these columns (name -> dtype; "" where a row lacks one), sorted by the first.

    Returns the table. Equal rows give equal bytes. Works in chunks, so that a million rows never exist as Python objects.
    """
    import pandas as pd

    rows, parts = iter(rows), list[pd.DataFrame]()
    while len(part := list(islice(rows, CHUNK))) or not parts:
        given = [[row.get(name, "") for name in columns] for row in part]
        parts.append(pd.DataFrame(given, columns=list(columns)).astype(dict(columns)))
    table = pd.concat(parts, ignore_index=True)
    for status in set(table["status"].unique()) - set(STATUSES) if "status" in columns else ():
        raise ValueError(f"{path}: status {status!r} is not in pipeline/core/ledger.py")
    table = table.sort_values(next(iter(columns)), kind="stable", ignore_index=True)
    table.to_parquet(path, index=False)
    return table


def summary(table: pd.DataFrame) -> dict[str, int]:
    """Number of rows by status, for manifests and logs."""
    counts = table["status"].value_counts()
    return {status: int(counts[status]) for status in STATUSES if status in counts}


def digest(table: pd.DataFrame) -> str:
    """sha256 of all ids with their status, in the order of the ids: equal digests mean results on the same list."""
    lines = sorted(f"{name}\t{status}\n" for name, status in zip(table["id"], table["status"]))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def complete(path: Path, made: pd.DataFrame, before: pd.DataFrame) -> pd.DataFrame:
    """The ledger of a stage with every id ever listed: rows rejected by the stage `before` are added unchanged."""
    lost = before.loc[before["status"] != "ok", ["id", "status", "reason"]]
    if len(lost):
        import pandas as pd

        rest = lost.reindex(columns=made.columns, fill_value=0).astype(made.dtypes)
        made = pd.concat([made, rest]).sort_values("id", kind="stable", ignore_index=True)
        made.to_parquet(path, index=False)
    return made


def used(table: pd.DataFrame, listed: Collection[str] = ()) -> dict[str, Any]:
    """What a results table states about its data: utterances used, out of how many, and the digest.

    `listed`: ids on the take-down list; they count as taken down.
    """
    import numpy as np

    down = np.array([takedown.covers(listed, *name.partition("/")[::2]) for name in table["id"]], bool)
    judged = table.assign(status=np.where(down, "takedown", table["status"]))
    return {"used": int((judged["status"] == "ok").sum()), "of": len(judged), "sha256": digest(judged)}


def counts(table: pd.DataFrame) -> str:
    """A printable table: number of rows and meaning of each status, and the hash of the list."""
    rows = [(str(count), status, STATUSES[status]) for status, count in summary(table).items()]
    wide = max((len(count) for count, _, _ in rows), default=1)
    lines = [f"{count:>{wide}}  {status:12} {meaning}" for count, status, meaning in rows]
    used = int((table["status"] == "ok").sum())
    return "\n".join([*lines, f"{used} of {len(table)} ok; list sha256 {digest(table)}"])


def report(table: pd.DataFrame, shown: int = 20) -> None:
    """Prints the counts by status and the first rows that have a reason."""
    print(", ".join(f"{count} {status}" for status, count in summary(table).items()))
    odd = table[table["reason"] != ""]
    for row in odd.head(shown).to_dict("records"):
        print(f"  {row['id']}: {row['status']}: {row['reason']}")
    if len(odd) > shown:
        print(f"  … and {len(odd) - shown} more rows in ledger.parquet")
