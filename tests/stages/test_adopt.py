"""`make adopt`: what changed is named, only a yes records it, and nothing but code can be adopted."""

import json
from pathlib import Path

import pytest
from dvc.repo import Repo

from pipeline.core import fingerprint, stage
from pipeline.core.errors import InputError
from stages import adopt

DVC = """
stages:
  toy:
    cmd: python -m stages.toy --out out
    deps: [code/toy, data]
    outs: [out]
"""


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A stage that has run, as DVC sees it; `code(**files)` makes its code what is given."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(stage, "ROOT", tmp_path)

    def code(**files: str) -> None:
        monkeypatch.setattr(fingerprint, "stages", lambda params: {"toy": fingerprint.text(files)})
        fingerprint.write(Path("code"), fingerprint.stages(None))

    Path("dvc.yaml").write_text(DVC)
    Path("data").write_text("1")
    code(a="0" * 64, b="1" * 64)
    Repo.init(no_scm=True).close()
    return code


def recorded() -> None:
    Path("out").write_text("weeks of training")
    with Repo() as repo:
        repo.commit("toy", force=True)
        assert repo.status(targets=["toy"]) == {}


def test_after_a_yes_the_output_belongs_to_the_new_code(made, capsys):
    recorded()
    made(a="0" * 64, c="2" * 64)
    with pytest.raises(InputError, match="--yes"):  # nobody can be asked
        adopt.main(["toy"])
    with Repo() as repo:
        assert repo.status(targets=["toy"]) != {}
    adopt.main(["toy", "--yes"])
    with Repo() as repo:
        assert repo.status(targets=["toy"]) == {}
    assert Path("out").read_text() == "weeks of training"
    with pytest.raises(InputError, match="toy"):  # nothing more to adopt
        adopt.main(["toy", "--yes"])


def test_only_code_can_be_adopted(made):
    recorded()
    made(a="3" * 64)
    Path("data").write_text("2")
    with pytest.raises(InputError, match="data"):
        adopt.main(["toy", "--yes"])
    with pytest.raises(InputError, match="nosuch"):
        adopt.main(["nosuch", "--yes"])


def test_work_that_was_begun_goes_on_under_the_new_code(made, tmp_path, monkeypatch, capsys):
    with pytest.raises(InputError, match="dvc repro toy"):
        adopt.main(["toy", "--yes"])
    now = {"a": "0" * 64}

    def begin():
        monkeypatch.setattr(fingerprint, "files", lambda *_, **__: dict(now))
        with pytest.raises(KeyboardInterrupt), stage.run("toy", out=Path("out"), inputs={}, config={"steps": 3}) as job:
            resumed = (job.work / "step").exists()
            (job.work / "step").write_text("2")
            job.shelf.mkdir(parents=True, exist_ok=True)
            (job.shelf / "shard").write_text("x")
            raise KeyboardInterrupt
        return resumed, job

    first = begin()[1]
    now["a"] = "4" * 64
    made(**now)
    adopt.main(["toy", "--yes"])
    assert "a" in capsys.readouterr().out.split() and not first.work.exists()
    resumed, second = begin()
    assert resumed and (second.shelf / "shard").exists()
    assert json.loads((second.work / stage.KEY).read_text())["code"] == now
