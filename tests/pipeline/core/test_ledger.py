"""The ledger: a closed list of statuses, and its summary."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.core import ledger

ROOT = Path(__file__).resolve().parents[3]


def test_the_summary_counts_every_row_by_status_and_names_the_list(tmp_path: Path) -> None:
    table = ledger.write(tmp_path / "ledger.parquet", [{"id": str(k), "status": status} for k, status in enumerate(
        ["ok"] * 11 + ["gone", "takedown"])], {"id": "str", "status": "str"})
    done = subprocess.run([sys.executable, "-m", "stages.fetch", "--summary", "--out", str(tmp_path)], cwd=ROOT,
                          capture_output=True, text=True)
    lines = done.stdout.splitlines()
    assert lines[1].split()[:2] == ["11", "ok"] and lines[2].split()[:2] == ["1", "gone"] and len(lines) == 5
    assert re.fullmatch(rf"11 of 13 .*{ledger.digest(table)}", lines[4])
    again = table.iloc[::-1].reset_index(drop=True)
    assert ledger.digest(again) == ledger.digest(table)
    assert ledger.digest(table.assign(status="ok")) != ledger.digest(table)


def test_a_status_outside_the_closed_list_is_a_defect(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'broken link'"):
        ledger.write(tmp_path / "ledger.parquet", [{"id": "a", "status": "broken link"}], {"id": "str", "status": "str"})
    wanted = ("ok gone private age geo members throttled bot-check network no-format no-face too-small multi-face corrupt "
              "takedown")
    assert set(wanted.split()) <= set(ledger.STATUSES) and set(ledger.STATUSES) >= ledger.AGAIN
