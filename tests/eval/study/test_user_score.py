"""The score of a study: who counts, what the answers come to, and where they go."""

import json
import socket
import sys

import made_study as made
import pandas as pd
import pytest
from made_raters import call, planted

from eval.report import markdown_table, table1_quality
from eval.scoring import user_study
from eval.scoring.results import Results
from eval.study import user_score
from eval.study.answers_db import Row
from eval.study.trials import CHECK
from pipeline.core.errors import InputError


def test_the_score_is_the_planted_count_without_raters_who_missed_checks(world):
    rows, due = planted(world[2])
    body = user_score.score(world[2], rows, (), 0.95)
    cells = {(m, int(t)): cell for m, some in body["cells"].items() for t, cell in some.items()}
    assert {cell: [c["correct"], c["n"]] for cell, c in cells.items()} == due
    assert all(abs(c["value"] - c["correct"] / c["n"]) < 1e-6 and c["low"] < c["value"] < c["high"] for c in cells.values())
    assert (body["raters"], body["excluded"], body["answers"]) == (8, 1, sum(n for _, n in due.values()))
    assert abs(body["chance"] - 1 / 3) < 1e-6 and body["median_seconds"] == 1.5


def test_answers_to_pictures_that_are_there_no_longer_are_left_out_and_counted(world):
    rows, _ = planted(world[2])
    body = user_score.score(world[2], [*rows, Row(1, False, 99, "0" * 16, 0, None)], (), 0.95)
    assert body == {**user_score.score(world[2], rows, (), 0.95), "gone": 1}
    assert len(user_score.lines(body)) == len(user_score.lines({**body, "gone": 0})) + 1


def test_a_rater_without_a_found_check_does_not_count(world):
    rows = [row for row in planted(world[2])[0] if world[2].trials[row.trial].method != CHECK]
    with pytest.raises(InputError, match="check"):
        user_score.score(world[2], rows, (), 0.95)


def test_answers_of_scripts_never_reach_the_table(answered, monkeypatch, capsys):
    root, store_rows = answered
    with pytest.raises(InputError, match=r"answers\.sqlite.*stages\.study serve"):
        call(root, monkeypatch, "score")
    scripted = store_rows(True, 1)
    out = root / "results" / "made" / "study" / "user.json"
    with pytest.raises(InputError, match=r"\b9 simulated"):
        call(root, monkeypatch, "score")
    call(root, monkeypatch, "score", "--simulated")
    apart = json.loads((root / "study" / "made" / "simulated.json").read_text())
    assert apart["cells"]["ff"]["1"]["n"] == scripted["ff", 1][1] and not out.exists()
    out.parent.mkdir(parents=True)
    out.write_text(json.dumps(apart))
    with pytest.raises(InputError, match=r"user\.json"):
        user_study.user(root / "results", "made")
    due = store_rows(False, 0)
    call(root, monkeypatch, "score")
    assert "9 simulated" in capsys.readouterr().out
    found = user_study.user(root / "results", "made")
    assert {cell: [c["correct"], c["n"]] for cell, c in found.items()} == due


def test_the_score_fills_the_table_s_column_and_says_what_it_is(answered, monkeypatch):
    root, store_rows = answered
    results = Results(root / "data", root / "models", root / "results", ["made"], ["ff", "ft"], [1, 8])
    table = table1_quality.quality(results)
    column = table.head.index("USER ↓")
    assert {row[column] for row in table.rows} == {"–"} and any("USER" in note for note in table.notes)
    store_rows(False, 0)
    call(root, monkeypatch, "score")
    table = table1_quality.quality(results)
    cell = user_study.user(root / "results", "made")["ft", 8]
    shown = {(row[1], row[2]): row[column] for row in table.rows}
    assert shown["ft", "8"] == markdown_table.interval(cell) and len(set(shown.values())) == 4
    line = next(line for line in table.record if (line["method"], line["shots"]) == ("ft", 8))
    assert (line["user"], line["user_low"], line["user_high"]) == (cell["value"], cell["low"], cell["high"])
    assert any("8 raters" in note and "chance: 0.33" in note for note in table.notes)


def test_the_export_is_one_line_an_answer_and_follows_the_take_down_list(answered, monkeypatch):
    root, store_rows = answered
    store_rows(False, 0)
    call(root, monkeypatch, "export")
    folder = root / "study" / "made"
    table = pd.read_csv(folder / "answers.csv")
    pd.testing.assert_frame_equal(table, pd.read_parquet(folder / "answers.parquet"), check_dtype=False)
    assert list(table) == user_score.COLUMNS and len(table) == 9 * 15
    assert (table["correct"] == (table["choice"] == table["fake"])).all()
    (folder / "takedown.txt").write_text("p1\n")
    call(root, monkeypatch, "export")
    assert not (pd.read_csv(folder / "answers.csv")["person"] == "p1").any()
    call(root, monkeypatch, "score")
    assert all(c["people"] <= 3 for c in user_study.user(root / "results", "made").values())


def test_answers_belong_to_the_rules_they_were_given_under(answered, monkeypatch):
    root, store_rows = answered
    store_rows(False, 0)
    made.params(root, misses=2)
    call(root, monkeypatch, "score")  # the rule that the study was built by, not today's
    assert user_study.read(root / "results", "made")["misses"] == 0
    call(root, monkeypatch, "build")
    with pytest.raises(InputError, match=r"answers\.sqlite"):
        call(root, monkeypatch, "score")


def test_what_is_missing_or_taken_is_one_sentence(answered, tmp_path_factory, monkeypatch):
    root, _ = answered
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        made.params(root, port=taken.getsockname()[1])
        with pytest.raises(InputError, match=r"study\.port: 127\.0\.0\.1:\d+"):
            call(root, monkeypatch, "serve")
    monkeypatch.setitem(sys.modules, "waitress", None)
    with pytest.raises(InputError, match=r"waitress.*make study"):
        call(root, monkeypatch, "serve")
    other = tmp_path_factory.mktemp("other")
    made.params(other)
    with pytest.raises(InputError, match=r"stages\.study build"):
        call(other, monkeypatch, "score")
