"""The paper's Tables 1 and 2 as numbers (paper.csv), with the method of ours that each row belongs to."""

from __future__ import annotations

import csv
from pathlib import Path


def paper() -> list[dict[str, str]]:
    """The paper's tables, with the method of ours that each row belongs to."""
    with Path(__file__).with_name("paper.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
