import pytest
import torch
from pydantic import ValidationError
from small import SIZE, VIDEOS, Eyes, method, person, settings

from model.api import DataInfo, Episode, load
from pipeline.core import config
from pipeline.core.errors import InputError

NAMES = ["mean", "copy", "ff", "ft", "x2face", "pix2pixhd"]
FLOOR = {"size": SIZE, "steps": 0, "batch": 1, "K": 1}
DRIVEN_BY_FRAMES = {"x2face"}


@pytest.fixture(autouse=True)
def eyes(monkeypatch):
    """Frozen features without weights files."""
    backbones = pytest.importorskip("model.backbones.perceptual")
    monkeypatch.setattr(backbones, "efflite0", Eyes)


def make(name):
    if name not in ("mean", "copy"):
        return method(name)
    kind = load(name)
    return kind(kind.Config.model_validate(FLOOR), DataInfo(SIZE, VIDEOS))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("T", [1, 8, 32])
def test_every_method_adapts_to_any_number_of_frames_and_draws_any_number(name, T):
    one, (x, y) = make(name), person(T)
    given = x.clone(), y.clone()
    head = one.adapt(x, y)
    for n in (1, 3):
        drawn = head(torch.rand(n, 3, SIZE, SIZE))
        assert drawn.shape == (n, 3, SIZE, SIZE) and drawn.dtype == torch.float32 and not drawn.requires_grad
    assert torch.equal(x, given[0]) and torch.equal(y, given[1])
    assert one.driven_by == ("frames" if name in DRIVEN_BY_FRAMES else "landmarks") and one.name == name


@pytest.mark.parametrize("key", ["batch", "K", "threads", "log_every", "save_every", "micro_batch"])
def test_a_setting_that_counts_from_one_is_refused_at_zero(key):
    for name in ("ff", "pix2pixhd"):
        with pytest.raises(InputError, match=f"learn\\.{key}: found 0"):
            config.parse(load(name).Config, {**settings(name), key: 0}, "learn")


@pytest.mark.parametrize("name", NAMES)
def test_frames_do_not_depend_on_which_others_are_drawn_with_them(name):
    head, y = make(name).adapt(*person(8)), torch.rand(20, 3, SIZE, SIZE)
    torch.testing.assert_close(head(y)[7:8], head(y[7:8]), atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["mean", "copy", "ff", "x2face"])
def test_the_order_of_the_few_frames_does_not_matter_without_fine_tuning(name):
    one, (x, y), order = make(name), person(8), torch.randperm(8)
    torch.testing.assert_close(one.adapt(x, y)(y), one.adapt(x[order], y[order])(y), atol=1e-4, rtol=0)


def test_mean_draws_the_mean_of_the_frames_whatever_the_pose():
    x, y = person(8)
    drawn = make("mean").adapt(x, y)(torch.rand(2, 3, SIZE, SIZE))
    torch.testing.assert_close(drawn, x.mean(0).expand(2, -1, -1, -1))


def test_copy_draws_the_source_frame_of_the_same_landmarks_and_of_nearly_the_same():
    y = torch.zeros(3, 3, 64, 64)
    for n, column in enumerate((8, 30, 50)):
        y[n, 0, 10:50, column] = 1
    kind = load("copy")
    frames = torch.rand(3, 3, 64, 64)
    head = kind(kind.Config.model_validate({**FLOOR, "size": 64}), DataInfo(64, 1)).adapt(frames, y)
    assert torch.equal(head(y), frames)
    assert torch.equal(head(y.roll(2, 3)), frames)  # 2 of 64 pixels off: still the nearest


@pytest.mark.parametrize("name", NAMES)
def test_unknown_missing_or_mistyped_settings_are_refused(name):
    good = FLOOR if name in ("mean", "copy") else settings(name)
    kind = load(name).Config
    assert kind.model_validate(good)
    for bad in ({**good, "stepz": 1}, {**good, "steps": "12"}, {key: value for key, value in good.items() if key != "K"}):
        with pytest.raises(ValidationError):
            kind.model_validate(bad)


def test_an_unknown_method_is_refused_with_the_nearest_name():
    with pytest.raises(InputError, match=r"'ftt'.*'f[ft]'"):
        load("ftt")


def test_an_episode_of_another_size_or_data_set_is_refused():
    x = torch.rand(1, 3, 32, 32)
    with pytest.raises(InputError, match=rf"\b{SIZE} px"):
        method("ff").learn(Episode(x, x, x[None], x[None], torch.tensor([0])))
    y = torch.rand(1, 3, SIZE, SIZE)
    with pytest.raises(InputError, match=rf"\b{VIDEOS}\b"):
        method("ff").learn(Episode(y, y, y[None], y[None], torch.tensor([VIDEOS])))


def test_a_method_with_nothing_to_learn_has_no_weights_and_learns_nothing():
    assert make("mean").weights() == {} and make("copy").learn(None) == {}
