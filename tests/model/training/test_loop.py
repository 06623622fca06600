import hashlib
import os
import re
import signal
import time

import pytest
import torch
from PIL import Image
from small import SIZE, Eyes, episode, method, person

from model.api import Head, Method
from model.training import checkpoint, loop, preview
from pipeline.core.errors import InputError
from pipeline.core.progress import Bar


@pytest.fixture(autouse=True)
def eyes(monkeypatch):
    """Frozen features without weights files."""
    backbones = pytest.importorskip("model.backbones.perceptual")
    monkeypatch.setattr(backbones, "efflite0", Eyes)


def fingerprint(one):
    digest = hashlib.sha256()
    for name, value in sorted(one.weights().items()):
        digest.update(name.encode() + value.numpy().tobytes())
    return digest.hexdigest()


def run(one, work, read=episode, steps=12, **more):
    rows = []
    work.mkdir(exist_ok=True)
    loop.train(one, read, steps, work=work, log=lambda step, scalars: rows.append((step, scalars)), log_every=3, save_every=5,
               **more)
    return rows


def dies_at(step):
    def read(n):
        if n == step:
            raise KeyboardInterrupt
        return episode(n)

    return read


@pytest.mark.parametrize(("name", "micro_batch"), [("ff", 8), ("ft", 8), ("ft", 1), ("pix2pixhd", 8), ("pix2pixhd", 2)])
def test_a_run_killed_and_resumed_ends_with_the_bytes_and_the_log_of_an_uninterrupted_one(name, micro_batch, tmp_path):
    straight = method(name, micro_batch=micro_batch)
    rows = run(straight, tmp_path / "a")
    with pytest.raises(KeyboardInterrupt):
        run(method(name, micro_batch=micro_batch), tmp_path / "b", dies_at(7))
    resumed, seen = method(name, micro_batch=micro_batch), []
    again = run(resumed, tmp_path / "b", lambda step: seen.append(step) or episode(step))
    assert seen == list(range(5, 12))  # from the checkpoint after step 5
    assert fingerprint(resumed) == fingerprint(straight) and again == rows
    torch.testing.assert_close(resumed.state(), straight.state(), rtol=0, atol=0)
    assert [step for step, _ in rows] == [3, 6, 9, 12]


@pytest.fixture
def lost_terminals_count():
    """Whoever started the tests may have had SIGHUP ignored."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


SIGNALS = {signal.SIGTERM: SystemExit, signal.SIGHUP: SystemExit, signal.SIGINT: KeyboardInterrupt}


@pytest.mark.usefixtures("lost_terminals_count")
@pytest.mark.parametrize(("number", "leaves"), SIGNALS.items())
def test_a_signal_lets_the_step_end_saves_and_leaves(number, leaves, tmp_path, capsys):
    straight = method("ff")
    rows = run(straight, tmp_path / "a")
    handlers = [signal.getsignal(n) for n in SIGNALS]
    with pytest.raises(leaves) as left:
        run(method("ff"), tmp_path / "b", lambda step: (step == 7 and os.kill(os.getpid(), number)) or episode(step))
    assert leaves is KeyboardInterrupt or left.value.code == 143
    assert handlers == [signal.getsignal(n) for n in SIGNALS]
    step = int(re.search(r"after step (\d+);.* step \1\b", capsys.readouterr().err)[1])
    assert step < 9 and (tmp_path / f"b/checkpoint-{step:08d}").exists()
    resumed = method("ff")
    assert run(resumed, tmp_path / "b") == rows and fingerprint(resumed) == fingerprint(straight)


def test_under_nohup_a_lost_terminal_stops_nothing(tmp_path):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        run(method("ff"), tmp_path, lambda step: (step == 7 and os.kill(os.getpid(), signal.SIGHUP)) or episode(step))
    finally:
        signal.signal(signal.SIGHUP, before)
    assert (tmp_path / "checkpoint-00000012").exists()


def test_a_loss_that_is_not_finite_stops_with_the_videos_and_leaves_the_last_checkpoint(tmp_path):
    def poisoned(step):
        return episode(step)._replace(x_t=torch.full_like(episode(step).x_t, torch.nan)) if step == 7 else episode(step)

    with pytest.raises(InputError, match=r"step 7: l_cnt is nan .*p1/v2.*step 5"):
        loop.train(method("ft"), poisoned, 12, work=tmp_path, log=lambda *_: None, log_every=3, save_every=5,
                   who=lambda step: {7: "p1/v2"}[step])
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-00000005"]


def test_on_a_full_disk_training_goes_on_to_the_same_end(tmp_path, monkeypatch, capsys):
    straight, other = method("ft"), method("ft")
    run(straight, tmp_path / "a")
    monkeypatch.setattr(checkpoint, "PAUSES", ())
    monkeypatch.setattr(checkpoint, "save_file", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    run(other, tmp_path / "b")
    assert fingerprint(other) == fingerprint(straight) and not list((tmp_path / "b").iterdir())
    assert capsys.readouterr().err.count("No space left on device") == 3  # after steps 5, 10 and 12


class Noisy(Method):
    """Learns from random numbers, and draws some to show itself."""
    name = "noisy"

    def __init__(self):
        super().__init__(None, None, seed=3)
        self.weight = torch.zeros(4)

    def learn(self, _):
        self.weight += torch.rand(4)
        return {"sum": float(self.weight.sum())}

    def adapt(self, x, y, seed=0, report=None):
        noise = torch.rand(3, 4, 4)
        return Head(lambda pose: noise.expand(len(pose), 3, 4, 4), 4)

    def state(self):
        return {"weight": self.weight}

    def load_state(self, state):
        self.weight = state["weight"]


def test_a_method_that_draws_random_numbers_resumes_as_it_would_have_gone_on_and_a_look_changes_nothing(tmp_path):
    straight = Noisy()
    rows = run(straight, tmp_path / "a")
    with pytest.raises(KeyboardInterrupt):
        run(Noisy(), tmp_path / "b", dies_at(7))
    torch.rand(5)
    resumed, person = Noisy(), preview.Person("p", *[torch.zeros(*n, 3, 4, 4) for n in ((1,), (1,), (), ())])
    look = preview.Look(resumed, [person], tmp_path / "looks", minutes=0)
    assert run(resumed, tmp_path / "b", look=look) == rows and torch.equal(resumed.weight, straight.weight)
    assert sorted(path.name for path in (tmp_path / "looks").iterdir()) == [f"{step:08d}.png" for step in range(6, 13)]


@pytest.mark.parametrize("name", ["ft", "pix2pixhd", "x2face"])
def test_a_look_fine_tunes_nothing_and_changes_no_bit(name, tmp_path, monkeypatch):
    straight, seen = method(name), method(name)
    if seen.fine_tunes:
        monkeypatch.setattr(type(seen), "adapt", lambda *_: pytest.fail("fine-tuned"))
    run(straight, tmp_path / "a", steps=6)
    x, y = person(3)
    shown = preview.Person("p", x[:2], y[:2], x[2], y[2])
    run(seen, tmp_path / "b", steps=6, look=preview.Look(seen, [shown], tmp_path / "looks", minutes=0))
    torch.testing.assert_close(seen.state(), straight.state(), rtol=0, atol=0)
    one, two = (path.read_bytes() for path in sorted((tmp_path / "looks").iterdir())[4:])
    assert one != two
    preview.write(tmp_path / "again.png", seen, [shown])
    assert (tmp_path / "again.png").read_bytes() == two


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), torch.OutOfMemoryError("CUDA out of memory")])
def test_a_look_that_the_disk_or_the_gpu_has_no_room_for_is_left_out(error, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(preview, "write", lambda *_: (_ for _ in ()).throw(error))
    run(method("ff"), tmp_path / "a", steps=2, look=preview.Look(None, [], tmp_path / "looks", minutes=0))
    assert capsys.readouterr().err.count(str(error)) == 2


def test_people_with_few_and_with_many_source_frames_are_shown_in_one_picture(tmp_path):
    x, y = person(5)
    people = [preview.Person("p", x[:n], y[:n], x[4], y[4]) for n in (4, 2)]
    preview.write(tmp_path / "look.png", method("ff"), people)
    with Image.open(tmp_path / "look.png") as picture:
        assert picture.size == (5 * SIZE, 2 * (preview.STRIP + SIZE))  # two sources, landmarks, drawn, truth


@pytest.mark.parametrize("readers", [1, 3])
def test_any_number_of_readers_gives_the_episodes_in_their_order_and_not_too_far_ahead(readers, tmp_path):
    asked, learnt = [], []

    class Listens(Noisy):
        def learn(self, batch):
            learnt.append(int(batch.i[0]))
            assert max(asked) <= learnt[-1] + readers
            return {}

    def read(step):
        time.sleep(0.02 if step % 2 else 0)
        asked.append(step)
        return episode(step)._replace(i=torch.tensor([step]))

    run(Listens(), tmp_path, read, steps=9, readers=readers)
    assert learnt == list(range(9)) == sorted(asked)


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
    from small import FT_ONLY, SETTINGS, VIDEOS

    from model.api import DataInfo, load
    kind = load("ft")
    prints = []
    for n, seed in enumerate((0, 0, 1)):
        one = kind(kind.Config.model_validate({**SETTINGS, **FT_ONLY}), DataInfo(SIZE, VIDEOS), seed)
        run(one, tmp_path / str(n), steps=2)
        prints.append(fingerprint(one))
    assert prints[0] == prints[1] != prints[2]


def test_progress_says_pace_and_what_is_left(tmp_path, capsys):
    run(method("ff"), tmp_path / "a", steps=3, bar=Bar)
    line, last = capsys.readouterr().err.splitlines()[-2:]
    assert "3/3" in line and "images/s" in line and "l_cnt" in line
    assert last.startswith("ff: ") and re.search(r"0:00:0\d.* [\d.]+%.* \d+ MiB", last)
