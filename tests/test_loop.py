import hashlib
import re

import pytest
import torch
from small import Eyes, episode, method

from model import loop
from model.api import Method


@pytest.fixture(autouse=True)
def eyes(monkeypatch):
    """Frozen features without weights files."""
    backbones = pytest.importorskip("model.backbones")
    monkeypatch.setattr(backbones, "efflite0", Eyes)


def fingerprint(one):
    digest = hashlib.sha256()
    for name, value in sorted(one.weights().items()):
        digest.update(name.encode() + value.numpy().tobytes())
    return digest.hexdigest()


def run(one, work, read=episode, steps=12):
    rows = []
    work.mkdir(exist_ok=True)
    loop.train(one, read, steps, work=work, log=lambda step, scalars: rows.append((step, scalars)), log_every=3, save_every=5)
    return rows


def dies_at(step):
    def read(n):
        if n == step:
            raise KeyboardInterrupt
        return episode(n)

    return read


@pytest.mark.parametrize("name", ["ff", "ft"])
def test_a_run_killed_and_resumed_ends_with_the_bytes_and_the_log_of_an_uninterrupted_one(name, tmp_path):
    straight = method(name)
    rows = run(straight, tmp_path / "a")
    with pytest.raises(KeyboardInterrupt):
        run(method(name), tmp_path / "b", dies_at(7))
    resumed, seen = method(name), []
    again = run(resumed, tmp_path / "b", lambda step: seen.append(step) or episode(step))
    assert seen == list(range(5, 12))  # from the checkpoint after step 5
    assert fingerprint(resumed) == fingerprint(straight) and again == rows
    torch.testing.assert_close(resumed.state(), straight.state(), rtol=0, atol=0)
    assert [step for step, _ in rows] == [3, 6, 9, 12]


def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path, capsys):
    straight = method("ff")
    run(straight, tmp_path / "a", steps=17)
    with pytest.raises(KeyboardInterrupt):
        run(method("ff"), tmp_path / "b", dies_at(13), steps=17)
    tensors = tmp_path / "b/checkpoint-00000010/tensors.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:1000])
    resumed = method("ff")
    run(resumed, tmp_path / "b", steps=17)
    assert "trying the one before" in capsys.readouterr().err and fingerprint(resumed) == fingerprint(straight)


def test_the_log_holds_the_mean_of_each_scalar_since_the_last_line(tmp_path):
    class Counts(Method):
        name, n = "counts", 0

        def adapt(self, *_):
            """Draws nothing."""

        def learn(self, _):
            self.n += 1
            return {"all": float(self.n)} | ({"late": 10.0 * self.n} if self.n > 2 else {})

    rows = run(Counts(None, None), tmp_path / "a", steps=4)
    assert rows == [(3, {"all": 2.0, "late": 30.0}), (4, {"all": 4.0, "late": 40.0})]


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(tmp_path):
    from small import FT_ONLY, SETTINGS, SIZE, VIDEOS

    from model.api import Facts, load
    kind = load("ft")
    prints = []
    for n, seed in enumerate((0, 0, 1)):
        one = kind(kind.Config.model_validate({**SETTINGS, **FT_ONLY}), Facts(SIZE, VIDEOS), seed)
        run(one, tmp_path / str(n), steps=2)
        prints.append(fingerprint(one))
    assert prints[0] == prints[1] != prints[2]


def test_progress_says_pace_and_what_is_left(tmp_path, capsys):
    run(method("ff"), tmp_path / "a", steps=3)
    line, last = capsys.readouterr().err.splitlines()[-2:]
    assert "step 3/3, " in line and "s a step" in line and "images/s" in line and "ETA 0:00:00" in line and "l_cnt" in line
    assert last.startswith("ff: steps 1 to 3 in 0:00:0")
    assert re.search(r"[\d.]+% of the time waiting for data, peak memory \d+ MiB", last)
