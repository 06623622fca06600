"""`make reenact`: consent, the take-down list, and how the command ends."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import made_clips
import made_reenact as made
import numpy as np
import pytest
from made_reenact import LIMITS

from eval.reenact.media import video_writer
from pipeline.core.errors import InputError
from stages import reenact

ROOT = Path(__file__).resolve().parents[3]


def test_without_consent_nothing_is_made(monkeypatch):
    asked = input
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    with pytest.raises(InputError, match="--i-have-consent"):
        reenact.consent(False)
    reenact.consent(True)
    for answer, fine in (("yes", True), ("no", False), ("", False)):
        monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
        monkeypatch.setattr("builtins.input", lambda _, answer=answer: answer)
        if fine:
            reenact.consent(False)
        else:
            with pytest.raises(InputError):
                reenact.consent(False)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", asked)
    with pytest.raises(InputError):
        reenact.consent(False)  # Ctrl-D


@pytest.mark.parametrize(("answer", "given"), [("yes", True), ("no", False), ("", False)])
def test_make_takes_yes_alone_for_consent(answer, given):
    command = ["make", "-n", "-o", ".venv/ready", "reenact", "SOURCE=a.jpg", "DRIVER=talk.mp4", f"CONSENT={answer}"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "stages.reenact a.jpg --driver talk.mp4" in said and ("--i-have-consent" in said) == given


@pytest.mark.parametrize(("path", "listed", "refused"), [
    ("data/sample/videos/p024/v0.mkv", "p024", True), ("data/sample/videos/p024/v0.mkv", "p024/v0", True),
    ("data/sample/videos/p024/v0.mkv", "p024/v1", False), ("videos/folder/anna/talk.mp4", "anna", True),
    ("id00017/01dfn2spqyE/00001.mp4", "id00017/01dfn2spqyE", True), ("anna.jpg", "anna", True),
    ("bob/talk.mp4", "anna", False)])
def test_who_is_on_the_take_down_list_is_not_used(tmp_path, path, listed, refused):
    if refused:
        with pytest.raises(InputError, match="take-down"):
            reenact.refuse_listed(tmp_path / path, frozenset([listed]))
    else:
        reenact.refuse_listed(tmp_path / path, frozenset([listed]))


def test_a_link_to_a_file_has_both_names_on_the_take_down_list(tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "ab12").write_bytes(b"")
    (tmp_path / "anna").mkdir()
    (tmp_path / "anna" / "talk.mp4").symlink_to(tmp_path / "cache" / "ab12")
    for listed in ("anna", "anna/talk", "cache"):
        with pytest.raises(InputError, match="take-down"):
            reenact.refuse_listed(tmp_path / "anna" / "talk.mp4", frozenset([listed]))
    reenact.refuse_listed(tmp_path / "anna" / "talk.mp4", frozenset(["bob"]))


@pytest.mark.parametrize("place", [".", "data/ci"])
def test_the_lists_of_the_checkout_and_of_its_data_sets_count(tmp_path, monkeypatch, place):
    (tmp_path / place).mkdir(parents=True, exist_ok=True)
    (tmp_path / place / "takedown.txt").write_text("anna/talk  # asked us\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr("sys.argv", ["reenact", "bob/a.jpg", "--driver", "videos/anna/talk.mp4", "--i-have-consent", "--params",
                                     str(ROOT / "params.yaml")])
    with pytest.raises(InputError, match=r"talk\.mp4: anna .*take-down"):
        reenact.main()


def test_a_film_that_cannot_be_written_is_refused_before_anything_is_learnt(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr("sys.argv", ["reenact", "a.jpg", "--driver", "talk.mp4", "--out", str(tmp_path / "no" / "a.mp4")])
    with pytest.raises(InputError, match=str(tmp_path / "no")):
        reenact.main()  # before source, driver and consent are looked at


def test_an_interrupted_film_is_said_not_to_be_there(monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr("sys.argv", ["reenact", "a.jpg", "--driver", "talk.mp4"])
    monkeypatch.setattr(reenact, "make", interrupted)
    with pytest.raises(SystemExit) as end:
        reenact.main()
    assert end.value.code == 130
    assert len(capsys.readouterr().err.split("\n")) == 3  # a new line after ^C, one sentence


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_run_that_is_ended_leaves_nothing_half_written(tmp_path, monkeypatch, number):
    def ended(*_):
        with video_writer.film(tmp_path / "a.mp4", (64, 64), None, {}, 4.0, LIMITS) as write:
            for _ in range(80):
                write(np.zeros((64, 64, 3), np.uint8))
            os.kill(os.getpid(), number)

    before = {one: signal.signal(one, signal.SIG_DFL) for one in (signal.SIGTERM, signal.SIGHUP)}
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("sys.argv", ["reenact", "a.jpg", "--driver", "talk.mp4"])
    monkeypatch.setattr(reenact, "make", ended)
    try:
        with pytest.raises(SystemExit) as end:
            reenact.main()
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
    assert end.value.code == 128 + number and list(tmp_path.iterdir()) == []


def test_the_command_makes_a_marked_film_of_a_real_photo_and_says_what_it_is(tmp_path):
    skimage = pytest.importorskip("skimage.data")
    image = np.asarray(skimage.astronaut())
    made.photo(tmp_path / "a.jpg", image, 6)
    made_clips.write(tmp_path / "talk.mp4", [np.roll(image[:360, 60:400], k, 1) for k in range(6)])
    made.untrained(tmp_path / "ff")
    command = [sys.executable, "-m", "stages.reenact", str(tmp_path / "a.jpg"), "--driver", str(tmp_path / "talk.mp4"),
               "--model", str(tmp_path / "ff"), "--view", "side", "--out", str(tmp_path / "out.mp4")]
    refused = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert refused.returncode == 1
    assert refused.stderr.startswith("error: ") and "--i-have-consent" in refused.stderr and refused.stderr.count("\n") == 1
    done = subprocess.run([*command, "--i-have-consent"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert all(due in done.stdout for due in ("6 pictures", "0.24 s", "512x256", "32 pixels"))
    assert made.pictures(tmp_path / "out.mp4").shape == (6, 256, 512, 3)
    shown = subprocess.run([sys.executable, "-m", "stages.reenact", "--inspect", str(tmp_path / "out.mp4")], cwd=ROOT,
                           capture_output=True, text=True, check=True)
    assert json.loads(shown.stdout)["method"] == "ff"
