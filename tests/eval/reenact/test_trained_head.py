"""The model that draws: its steps, and models that are not there or of other settings."""

from __future__ import annotations

import json

import made_reenact as made
import pytest

from eval.reenact import trained_head
from pipeline.core.errors import InputError


def test_steps_are_chosen_at_the_learning_rate_of_as_many_pictures_as_there_are(tmp_path):
    made.untrained(tmp_path / "ft", "ft")
    chosen, usual = (trained_head.load(tmp_path / "ft", steps, 0).method.config.tuning for steps in (3, None))
    for T in (1, 8, 32):
        assert chosen.budget(T) == usual.budget(T).model_copy(update={"steps": 3})
    with pytest.raises(InputError, match="--steps 0"):
        trained_head.load(tmp_path / "ft", 0, 0)
    with pytest.raises(InputError, match=r"--steps.*\bff\b"):
        trained_head.load(made.untrained(tmp_path / "ff"), 3, 0)


def test_a_model_that_is_not_there_or_not_its_own_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"models/sample/ft.*make repro"):
        trained_head.load(tmp_path / "models/sample/ft", None, 0)
    folder = made.untrained(tmp_path / "ff")
    data = bytearray((folder / "weights.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "weights.safetensors").write_bytes(data)
    with pytest.raises(InputError, match=r"weights\.safetensors"):
        trained_head.load(folder, None, 0)


def test_a_model_of_other_settings_is_to_be_trained_anew(tmp_path):
    folder = made.untrained(tmp_path / "ff")
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["config"]["lr"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=r"ff.*config\.lr.*make repro"):
        trained_head.load(folder, None, 0)
