"""Facts about checkpoints: whole or not there, the one before kept, every number back as it was."""

import json
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from model.api import Method
from model.training import checkpoint
from pipeline.core.errors import InputError


class Counts(Method):
    """A weight, a table, and a step count."""
    name = "counts"

    def __init__(self):
        super().__init__(None, None)
        self.step, self.weight, self.table = 0, torch.zeros(3), b""

    def adapt(self, *_):
        """Draws nothing."""

    def state(self):
        return {"step": self.step, "weight": self.weight}

    def load_state(self, state):
        self.step, self.weight = state["step"], state["weight"]

    def save_table(self, path):
        path.write_bytes(self.table)

    def load_table(self, path):
        self.table = path.read_bytes()


def saved(work, *steps):
    work.mkdir(exist_ok=True)
    one = Counts()
    for step in steps:
        one.step, one.weight, one.table = step, torch.full((3,), float(step)), bytes([step]) * 1000
        assert checkpoint.save(one, step, {"history": [[step, {"loss": 0.1}]]}, work)
    return one


def test_nested_states_come_back_as_they_were_with_the_same_layout_in_memory():
    layout = torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last)
    shared = torch.rand(4)
    state = {"step": 7, "rate": 0.1, "best": float("inf"), "none": None, "yes": True, "name": "a",
             "state": {0: {"step": torch.tensor(3.0), "m": layout}, 1: {}}, "betas": (0.5, 0.999), "seen": [1, [2.5, ()]],
             "net": OrderedDict({"a.b": shared, "c": shared[1:3]}), "net.a": {"b": torch.rand(2).bfloat16()},
             "rows": torch.arange(3)}
    packed, tensors = checkpoint.packed(state)
    again = checkpoint.unpacked(json.loads(json.dumps(packed)), tensors)
    assert again.pop("name") == state.pop("name")  # assert_close compares no strings
    torch.testing.assert_close(again, state, rtol=0, atol=0)
    assert again["state"][0]["m"].stride() == layout.stride() and list(again["state"]) == [0, 1]
    assert again["betas"] == (0.5, 0.999) and again["seen"] == [1, [2.5, ()]] and again["net.a"]["b"].dtype == torch.bfloat16


def test_the_newest_two_are_kept_and_the_newest_is_gone_on_from(tmp_path, capsys):
    saved(tmp_path, 5, 10, 15)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["checkpoint-00000010", "checkpoint-00000015"]
    one = Counts()
    assert checkpoint.load(one, tmp_path) == {"step": 15, "history": [[15, {"loss": 0.1}]]}
    assert (one.step, one.weight.tolist(), one.table) == (15, [15.0] * 3, b"\x0f" * 1000)
    assert str(tmp_path / "checkpoint-00000015") in capsys.readouterr().err


def cut(path):
    path.write_bytes(path.read_bytes()[:-10])


def flipped(path):
    path.write_bytes(path.read_bytes()[:-1] + bytes([path.read_bytes()[-1] ^ 1]))


def digit(path):
    path.write_text(path.read_text().replace("0.1", "0.2"))


@pytest.mark.parametrize(("name", "damage"), [("state.json", digit), *[
    (name, damage) for name in ("tensors.safetensors", "table", "state.json") for damage in (cut, flipped, Path.unlink)]])
def test_a_damaged_one_gives_way_to_the_one_before_and_is_replaced_in_time(name, damage, tmp_path, capsys):
    saved(tmp_path, 5, 10)
    damage(tmp_path / "checkpoint-00000010" / name)
    one = Counts()
    assert checkpoint.load(one, tmp_path)["step"] == one.step == 5 and one.table == b"\x05" * 1000
    assert "checkpoint-00000010" in capsys.readouterr().err
    saved(tmp_path, 10)
    assert checkpoint.load(one, tmp_path)["step"] == 10 and (tmp_path / "checkpoint-00000005").exists()


def test_with_all_of_them_damaged_it_begins_anew_and_says_so(tmp_path, capsys):
    saved(tmp_path, 5)
    flipped(tmp_path / "checkpoint-00000005/tensors.safetensors")
    assert checkpoint.load(Counts(), tmp_path) is None
    assert "checkpoint-00000005" in capsys.readouterr().err


def test_what_a_kill_left_half_written_is_not_taken_and_goes(tmp_path):
    saved(tmp_path, 5)
    (tmp_path / "checkpoint-00000010.part").mkdir()
    assert checkpoint.load(Counts(), tmp_path)["step"] == 5
    saved(tmp_path, 10)
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), SafetensorError("I/O error")])
def test_a_write_that_fails_is_tried_again_and_then_done_without(error, tmp_path, monkeypatch, capsys):
    one, write, failures = saved(tmp_path, 5), checkpoint.save_file, [error, error]

    def flaky(tensors, path):
        path.write_bytes(b"half")
        if failures:
            raise failures.pop()
        write(tensors, path)

    monkeypatch.setattr(checkpoint, "PAUSES", (0.0, 0.0))
    monkeypatch.setattr(checkpoint, "save_file", flaky)
    assert checkpoint.save(one, 10, {}, tmp_path)
    assert not failures and capsys.readouterr().err.count(str(error)) == 2
    failures += [error] * 3
    assert not checkpoint.save(one, 15, {}, tmp_path)
    assert not failures and str(error) in capsys.readouterr().err
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["checkpoint-00000005", "checkpoint-00000010"]


def test_a_state_that_is_not_finite_takes_the_place_of_no_good_one(tmp_path):
    one = saved(tmp_path, 5)
    one.weight[1] = torch.nan
    with pytest.raises(InputError, match="step 10: weight "):
        checkpoint.save(one, 10, {}, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-00000005"]
