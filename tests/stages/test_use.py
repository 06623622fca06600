import shutil
import sys
from pathlib import Path

import pytest

from pipeline.core import config
from pipeline.core.errors import Refused
from stages import use

PARAMS = Path(__file__).resolve().parents[2] / "params.yaml"


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    shutil.copy(PARAMS, tmp_path / "params.yaml")
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


def test_a_folder_of_videos_is_linked_and_may_be_changed(checkout, tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        assert checkout("--folder", tmp_path / name).datasets == ["folder"]
        assert (tmp_path / "videos" / "folder").resolve() == tmp_path / name


def test_a_missing_folder_and_videos_already_there_are_refused(checkout, tmp_path):
    with pytest.raises(Refused, match="no such folder"):
        checkout("--folder", tmp_path / "nowhere")
    (tmp_path / "videos" / "folder").mkdir()
    with pytest.raises(Refused, match="holds videos already"):
        checkout("--folder", tmp_path)


@pytest.mark.parametrize(("old", "new", "sentence"), [
    ("datasets: [sample]", "datasets: [smaple]", r"data: no entry 'smaple'; did you mean 'sample'\?"),
    ("methods: [mean, copy, x2face, pix2pixhd, ff, ft]", "methods: [mean, cpoy]",
     r"methods: no entry 'cpoy'; did you mean 'copy'\?"),
])
def test_a_wrong_name_in_params_is_one_sentence(checkout, tmp_path, old, new, sentence):
    text = (tmp_path / "params.yaml").read_text()
    assert old in text
    (tmp_path / "params.yaml").write_text(text.replace(old, new))
    with pytest.raises(Refused, match=sentence):
        checkout()
