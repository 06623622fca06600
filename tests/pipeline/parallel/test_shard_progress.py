"""The progress of a map over shards."""

import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from made_stage import lost, total

from pipeline.core import progress
from pipeline.parallel import executor, journal, shard_progress, sharded_map


def test_progress_counts_what_is_done_by_status_while_shards_are_in_flight(tmp_path: Path) -> None:
    run_ = b"thisrun."
    statuses = ["ok", "ok", "no-face", "ok"]

    def finish(shard: sharded_map.Shard, records: Iterator[sharded_map.Record], folder: Path) -> None:
        assert watch.look() == {"ok": 3, "no-face": 1}
        total(shard, records, folder)

    work = sharded_map.Work(lambda item: {"value": np.array(0), "status": np.array(statuses[item[0]])}, lost, finish)
    watch = shard_progress.Watch(tmp_path, 2, run_)
    list(sharded_map.make(work, sharded_map.cut([(n,) for n in range(4)], 4), tmp_path, executor.local(1), "test"))
    assert watch.look() == {"ok": 3, "no-face": 1}
    with journal.Journal(journal.places(tmp_path, 1)[1], b"12345678", run_) as open_journal:
        open_journal.begin(0)
        open_journal.add(0, "gone", b"x" * 1000)
        open_journal.add(1, "network", b"", again=True)
        open_journal.begin(2)
        assert watch.look() == {"ok": 3, "no-face": 1, "gone": 1, "network": 1}
        assert shard_progress.Watch(tmp_path, 2, b"nextrun.").look() == {"ok": 3, "no-face": 1, "gone": 1}


def test_a_log_gets_a_line_from_time_to_time_and_one_at_the_end(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(progress, "EVERY", .05)
    work = sharded_map.Work(lambda item: time.sleep(.04) or {"value": np.array(0)}, lost, total)
    list(sharded_map.make(work, sharded_map.cut([(n,) for n in range(8)], 4), tmp_path, executor.local(1), "frames x"))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) > 2 and re.fullmatch(r"frames x: 8/8, [\d.]+item/s, ETA 00:00, 8 ok", lines[-1])
    assert any(re.fullmatch(r"frames x: [1-7]/8, [\d.]+item/s, ETA 00:0\d, \d ok", text) for text in lines)


def test_a_terminal_gets_a_bar_with_the_counts(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(shard_progress, "GLANCE", .02)
    work = sharded_map.Work(lambda item: time.sleep(.03) or {"value": np.array(0)}, lost, total)
    list(sharded_map.make(work, sharded_map.cut([(n,) for n in range(6)], 3), tmp_path, executor.local(1), "frames x"))
    shown = capsys.readouterr().err.split("\r")
    assert "6/6" in shown[-1] and "6 ok" in shown[-1]
