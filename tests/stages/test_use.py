import re
import shutil
import sys
from pathlib import Path

import pytest
from dvc.utils import hydra

from pipeline.core import config
from pipeline.core.errors import InputError
from stages import use

ROOT = Path(__file__).resolve().parents[2]
PARAMS = ROOT / "params.yaml"


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    shutil.copy(PARAMS, tmp_path)
    shutil.copytree(ROOT / "params", tmp_path / "params")
    (tmp_path / "videos").mkdir()
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["use", *map(str, arguments)])
        use.main()
        return config.load(tmp_path / "params.yaml")

    return call


def test_choosing_a_data_set_changes_one_line_of_params(checkout, tmp_path):
    before = PARAMS.read_text().splitlines()
    assert checkout("--dataset", "ci").datasets == ["ci"]
    after = (tmp_path / "params.yaml").read_text().splitlines()
    changed = [(a, b) for a, b in zip(before, after, strict=True) if a != b]
    assert len(changed) == 1 and changed[0][1].startswith("datasets: [ci]")


@pytest.mark.parametrize("overrides", [["datasets=[sample,ci]"], ["seed=3"]])
def test_it_works_on_what_dvc_has_written_and_keeps_the_comments(checkout, tmp_path, overrides):
    hydra.apply_overrides(tmp_path / "params.yaml", overrides)
    before = (tmp_path / "params.yaml").read_text()
    assert "datasets:\n- sample\n" in before  # a block, where a line is published
    due = config.load(tmp_path / "params.yaml").model_copy(update={"datasets": ["ci"]})
    assert checkout("--dataset", "ci") == due
    after = (tmp_path / "params.yaml").read_text()
    assert re.findall("#.*", after) == re.findall("#.*", before) == re.findall("#.*", PARAMS.read_text())
    assert after == before.replace("- sample\n- ci\n", "- ci\n").replace("- sample\n", "- ci\n")


def test_a_new_data_set_is_one_file(checkout, tmp_path):
    shutil.copy(tmp_path / "params" / "ci.yaml", tmp_path / "params" / "mine.yaml")
    assert checkout("--dataset", "mine").datasets == ["mine"]
    assert [path.name for path in (tmp_path / "videos" / "mine").iterdir()] == [".gitkeep"]  # dvc.yaml lists the folder
    with pytest.raises(InputError, match=r"params/theirs\.yaml"):
        checkout("--dataset", "theirs")
    assert checkout().datasets == ["mine"]


def test_a_folder_of_videos_is_linked_and_may_be_changed(checkout, tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        assert checkout("--folder", tmp_path / name).datasets == ["folder"]
        assert (tmp_path / "videos" / "folder").resolve() == tmp_path / name


def test_a_missing_folder_and_videos_already_there_are_refused(checkout, tmp_path):
    with pytest.raises(InputError, match="nowhere"):
        checkout("--folder", tmp_path / "nowhere")
    (tmp_path / "videos" / "folder").mkdir()
    with pytest.raises(InputError, match="videos/folder"):
        checkout("--folder", tmp_path)


@pytest.mark.parametrize(("old", "new", "sentence"), [
    ("datasets: [sample]", "datasets: [smaple]", r"params/smaple\.yaml: .*'sample'"),
    ("methods: [mean, copy, x2face, pix2pixhd, ff, ft]", "methods: [mean, cpoy]",
     r"methods: .*'cpoy'.*'copy'"),
])
def test_a_wrong_name_in_params_is_one_sentence(checkout, tmp_path, old, new, sentence):
    text = (tmp_path / "params.yaml").read_text()
    assert old in text
    (tmp_path / "params.yaml").write_text(text.replace(old, new))
    with pytest.raises(InputError, match=sentence):
        checkout()


def test_dvc_is_told_once_where_there_is_no_git_and_never_where_there_is(checkout, tmp_path, capsys):
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text("[core]\n    analytics = false\n")
    local = tmp_path / ".dvc" / "config.local"
    (tmp_path / ".git").mkdir()
    checkout()
    assert not local.exists()
    (tmp_path / ".git").rmdir()
    capsys.readouterr()
    checkout()
    assert "no_scm = true" in local.read_text().lower() and "core.no_scm" in capsys.readouterr().out
    checkout()
    assert local.read_text().count("no_scm") == 1 and not capsys.readouterr().out
