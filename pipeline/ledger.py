"""The ledger of a data stage: one row an item, with a status from a closed list and a sentence. Nothing disappears silently."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

STATUSES = {
    "ok": "used",
    "no-stream": "no video stream in the file",
    "no-face": "no face found",
    "two-faces": "a second face of comparable size",
    "face-leaves": "the face is out of the crop in too many frames",
    "too-short": "too few frames",
    "too-small": "the face has too few pixels",
    "corrupt": "cannot be read",
    "empty": "zero bytes",
    "timeout": "reading it took too long",
    "too-large": "more pixels, frames or bytes than allowed",
    "takedown": "on the take-down list",
    "bad-name": "its place or name gives no usable id",
    "gone": "could not be fetched",
}


class Unusable(Exception):
    """One item that cannot be used: becomes a row of the ledger and stops nothing else."""

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


def write(path: Path, rows: Iterable[Mapping[str, Any]], columns: Mapping[str, str]) -> pd.DataFrame:
    """Rows as parquet with exactly these columns (name -> dtype), sorted by the first; the same rows give the same bytes."""
    table = pd.DataFrame(list(rows), columns=list(columns)).astype(dict(columns))
    for status in set(table["status"]) - set(STATUSES) if "status" in columns else ():
        raise ValueError(f"{path}: status {status!r} is not in pipeline/ledger.py")
    table = table.sort_values(next(iter(columns)), kind="stable", ignore_index=True)
    table.to_parquet(path, index=False)
    return table


def summary(table: pd.DataFrame) -> dict[str, int]:
    """How many rows each status has, for manifests and logs."""
    counts = table["status"].value_counts()
    return {status: int(counts[status]) for status in STATUSES if status in counts}


def report(table: pd.DataFrame, shown: int = 20) -> None:
    """Prints the counts and the first rows that are not simply ok."""
    print(", ".join(f"{count} {status}" for status, count in summary(table).items()))
    odd = table[table["reason"] != ""]
    for row in odd.head(shown).to_dict("records"):
        print(f"  {row['id']}: {row['status']}: {row['reason']}")
    if len(odd) > shown:
        print(f"  … and {len(odd) - shown} more rows in ledger.parquet")
