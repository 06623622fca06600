"""The paper's Tables 1 and 2 as numbers (paper.csv), with our name of each row's method."""

from __future__ import annotations

import csv
from pathlib import Path


def paper() -> list[dict[str, str]]:
    """The rows of the paper's tables; `ours` is our name of the method."""
    with Path(__file__).with_name("paper.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
