"""Facts about the user's own folder of videos: what is copied, what is refused and why."""

import os
from pathlib import Path
from types import SimpleNamespace

import made_clips as clips
import made_params
import pandas as pd
import pytest
from made_clips import LIMITS
from made_params import published

from pipeline.core import stage
from pipeline.core.errors import InputError
from pipeline.sources import folder
from pipeline.sources.folder import Config
from stages import fetch


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("mine")
    good = clips.write(root / "ann/first.mp4", [clips.picture()] * 6)
    clips.write(root / "ann/first.mkv", [clips.picture()] * 6)
    for name in ("ann/left.mp4", "gone/one.mp4", "stray.mp4", "ann/deep/er.mp4", "bad name/a.mp4"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(good.read_bytes())
    (root / "ann/notes.txt").write_text("hello")
    (root / "ann/.hidden").touch()
    (root / "ann/zero.mov").touch()
    for name, target in (("ann/link.mp4", "first.mp4"), ("ann/lost.mp4", "nowhere"), ("ann/tree.mp4", ".."), ("tree", "ann")):
        (root / name).symlink_to(target)
    os.mkfifo(root / "ann/pipe.mp4")
    for name in ("ann/two\nlines.mp4", "ann/long." + "x" * 240, "ann/odd.m\tp4"):
        (root / name).write_bytes(good.read_bytes())
    with (root / "ann/hole.mp4").open("wb") as file:
        file.write(good.read_bytes()[:1000])
        file.truncate(900_000)
    (root / "takedown.txt").write_text("# asked by mail\ngone\nann/left  # one video\n")
    return root


@pytest.fixture(scope="module")
def rows(root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, dict[str, str]], Path]:
    out = tmp_path_factory.mktemp("videos")
    config = Config(origin=str(root), ids="[A-Za-z0-9_-]+", bytes=10**6, limits=LIMITS)
    return {item: row for item in folder.items(config) for row in folder.fetch(config, item, out)}, out


@pytest.mark.parametrize("item, status, words", [
    ("ann/first.mkv", "ok", ""),
    ("ann/first.mp4", "bad-name", "the same id as ann/first.mkv"),
    ("ann/left.mp4", "takedown", "take-down list"),
    ("gone/one.mp4", "takedown", "take-down list"),
    ("stray.mp4", "bad-name", "move it to"),
    ("ann/deep/er.mp4", "bad-name", "PERSON/VIDEO.mp4"),
    ("bad name/a.mp4", "bad-name", "rename it"),
    ("ann/notes.txt", "corrupt", "not a readable video (a text file)"),
    ("ann/link.mp4", "bad-name", "a link; put the file itself there"),
    ("ann/lost.mp4", "bad-name", "a link; put the file itself there"),
    ("ann/tree.mp4", "bad-name", "a link; put the file itself there"),
    ("tree", "bad-name", "move it to"),
    ("ann/pipe.mp4", "bad-name", "neither a file nor a folder"),
    ("ann/two\nlines.mp4", "bad-name", "'two\\nlines' does not match"),
    ("ann/odd.m\tp4", "bad-name", "ann/odd.m\\tp4: its name"),
    ("ann/long." + "x" * 240, "bad-name", "its name is too long"),
    ("ann/hole.mp4", "corrupt", "not a readable video"),
    ("ann/zero.mov", "empty", "no bytes"),
])
def test_every_file_is_a_row_with_a_reason(rows, item: str, status: str, words: str) -> None:
    row = rows[0][item]
    assert row["status"] == status and words in row["reason"]
    assert (row["path"] == item) == (status == "ok")


def test_hidden_files_and_the_take_down_list_are_no_videos(rows) -> None:
    assert set(rows[0]) & {"ann/.hidden", "takedown.txt"} == set()


def test_a_hole_in_a_file_takes_no_room_in_the_copy(root: Path, tmp_path: Path) -> None:
    source, target = root / "ann/hole.mp4", tmp_path / "x/hole.mp4"
    folder._copy(source, target, 10**6)
    assert target.read_bytes() == source.read_bytes() and target.stat().st_blocks * 512 < 100_000
    folder._copy(source, target, 500)
    assert target.read_bytes() == source.read_bytes()[:500]
    assert [path.name for path in target.parent.iterdir()] == ["hole.mp4"]


def test_only_good_videos_are_copied_and_the_originals_stay_untouched(rows, root: Path) -> None:
    out = rows[1]
    files = [path for path in out.rglob("*") if path.is_file()]
    assert files == [out / "ann/first.mkv"]
    assert files[0].read_bytes() == (root / "ann/first.mkv").read_bytes()
    assert files[0].stat().st_ino != (root / "ann/first.mkv").stat().st_ino  # a link would let a change reach the original


def test_a_file_over_the_limit_is_not_copied(root: Path, tmp_path: Path) -> None:
    config = Config(origin=str(root), ids=".*", bytes=10, limits=LIMITS)
    assert folder.fetch(config, "ann/first.mkv", tmp_path)[0]["status"] == "too-large"
    assert not list(tmp_path.iterdir())


def test_a_missing_folder_and_a_broken_expression_are_refused(root: Path, tmp_path: Path) -> None:
    config = Config(origin=str(tmp_path / "none"), ids=".*", bytes=10, limits=LIMITS)
    with pytest.raises(InputError, match=r"there is no folder .*none"):
        folder.items(config)
    with pytest.raises(InputError, match=r"fetch.ids: '\[' is not a regular expression"):
        folder.items(config.model_copy(update={"origin": str(root), "ids": "["}))


def test_a_fetch_after_files_were_mended_or_renamed_sees_it_though_nobody_read_the_last(tmp_path: Path, monkeypatch) -> None:
    videos = clips.write(tmp_path / "mine/ann/first.mp4", [clips.picture()] * 6).parent
    (videos / "torn.mp4").write_bytes(b"torn")
    whole = published("folder")
    whole["data"]["engine"] = {"kind": "local", "workers": 1, "slurm": {}}
    made_params.write(tmp_path, {}, folder=whole)
    monkeypatch.setattr(stage, "ROOT", tmp_path)
    given = SimpleNamespace(dataset="folder", params=tmp_path / "params.yaml", origin=tmp_path / "mine", out=tmp_path / "out")
    seen, good = [], (videos / "first.mp4").read_bytes()
    for change in ("", "mended", "renamed"):
        if change == "mended":
            (videos / "torn.mp4").write_bytes(good)
        if change == "renamed":
            (videos / "first.mp4").rename(videos / "second.mp4")
        fetch.make(given)
        table = pd.read_parquet(tmp_path / "out/ledger.parquet").set_index("id")
        seen.append((table["status"].to_dict(), sorted(path.name for path in (tmp_path / "out/ann").iterdir())))
    assert seen == [({"ann/first": "ok", "ann/torn": "corrupt"}, ["first.mp4"]),
                    ({"ann/first": "ok", "ann/torn": "ok"}, ["first.mp4", "torn.mp4"]),
                    ({"ann/second": "ok", "ann/torn": "ok"}, ["second.mp4", "torn.mp4"])]
