"""A built study, its answers and its pages."""

import made_study as made
import pytest
from made_raters import call, planted

from eval.study import web_app
from eval.study.answers_db import Answers
from eval.study.trials import Study


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """A study that tests only read: (root, inputs, study)."""
    root = tmp_path_factory.mktemp("study")
    inputs = made.data(root)
    return root, inputs, made.study(root, inputs)


@pytest.fixture
def answers(world, tmp_path):
    found = Answers(tmp_path / "answers.sqlite", world[2].design, simulated=False)
    yield found
    found.close()


@pytest.fixture
def pages(world, answers, tmp_path):
    """A client of the pages, without a server."""
    return web_app.create(world[2], answers, made.config(), (tmp_path / "takedown.txt",)).test_client()


@pytest.fixture
def answered(tmp_path, monkeypatch):
    """A built study with answers by people and by scripts in one file."""
    made.data(tmp_path)
    made.params(tmp_path)
    call(tmp_path, monkeypatch, "build")
    study = Study(tmp_path / "study" / "made" / "trials")

    def store_rows(simulated, seed):
        base = Answers(tmp_path / "study" / "made" / "answers.sqlite", study.design, simulated=simulated)
        rows, due = planted(study, seed)
        tokens = {}
        for row in rows:
            if row.rater not in tokens:
                tokens[row.rater] = base.rater(base.start())
            rater = tokens[row.rater]
            base.turn(rater, lambda mine, shown, row=row: row.trial, lambda name: True)
            assert base.answer(rater, row.n, row.choice, row.ms)
        base.close()
        return due

    return tmp_path, store_rows
