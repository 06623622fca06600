"""X2Face learning: both stages, the learning rate on a plateau, and runs that go on."""

import math

import pytest
import torch
import torch.nn.functional as F
from made_x2face import STAGE2, episode, make, pictures
from small import X2FACE as SETTINGS
from torch import nn

from model.api import DataInfo, Episode
from model.methods import x2face
from model.methods.x2face import Config, Plateau, Watch, X2Face
from model.training import loop
from pipeline.core.errors import InputError


def heads(person: int, seed: int, n: int) -> torch.Tensor:
    """n frames of a bright disc of the person's colours, left and right, at n places before a dark ground of the person's."""
    colours = torch.rand(3, 3, 1, 1, generator=torch.Generator().manual_seed(1000 + person))
    places = 4 + 8 * torch.rand(n, 2, 1, 1, 1, generator=torch.Generator().manual_seed(seed))
    rows, columns = (axis - places[:, k] for k, axis in enumerate(torch.meshgrid(*[torch.arange(16.)] * 2, indexing="ij")))
    disc = (4.5 - (rows**2 + columns**2).sqrt()).clamp(0, 1)
    face = torch.where(columns < 0, 0.6 + 0.4 * colours[0], 0.6 + 0.4 * colours[1])
    return disc * face + (1 - disc) * 0.4 * colours[2]


def test_what_was_learnt_beats_copying_the_source_on_people_it_never_saw():
    one = X2Face(Config.model_validate({**SETTINGS, "steps": 120, "combine": "mean", "ngf": 8,
                                        "optimiser": {**SETTINGS["optimiser"], "lr": 3e-3}}), DataInfo(16, 1))
    for step in range(120):
        frames = torch.stack([heads(person, 50 * step + n, 2) for n, person in
                              enumerate(torch.randint(0, 60, (16,), generator=torch.Generator().manual_seed(step)).tolist())])
        one.learn(Episode(frames[:, 0], frames[:, 0], frames[:, 1:], frames[:, 1:], torch.arange(16)))
    ours, copied = 0.0, 0.0
    for person in range(100, 110):
        x = heads(person, person, 9)
        ours += F.l1_loss(one.adapt(x[:1], x[:1])(x[1:]), x[1:]).item()
        copied += F.l1_loss(x[:1].expand(8, -1, -1, -1), x[1:]).item()
    assert ours < 0.7 * copied


def test_batch_statistics_are_used_and_kept_while_learning_and_only_then():
    one = make()
    before = one.embedding.up_norm[0].running_mean.clone()
    one.learn(episode(0))
    after = one.embedding.up_norm[0].running_mean.clone()
    assert not torch.equal(before, after) and not any(module.training for net in one.nets.values() for module in net.modules())
    one.adapt(pictures(3), pictures(3))(pictures(3))
    assert torch.equal(one.embedding.up_norm[0].running_mean, after)


def test_every_learnt_weight_moves_in_one_update_of_either_optimiser():
    for optimiser in (SETTINGS["optimiser"], {"kind": "sgd", "lr": 1e-1, "momentum": 0.9}):
        one = make(optimiser=optimiser)
        before = {name: value.clone() for name, value in one.weights().items()}
        assert set(one.learn(episode(0))) == {"l_pix"}
        at_rest = {f"{net}.{key}" for net, module in one.nets.items() for key, value in module.named_parameters()
                   if torch.equal(value, before[f"{net}.{key}"])}
        assert not at_rest


def test_an_episode_of_another_size_or_with_what_is_not_finite_is_refused_before_any_weight_moves():
    one, x = make(), pictures(2, size=32)
    with pytest.raises(InputError, match=r"\b16 px"):
        one.learn(Episode(x, x, x[:, None], x[:, None], torch.tensor([0, 1])))
    bad = episode(0, (3, 1, 5))
    bad.x_t[0, 0, 0, 0] = math.nan
    before = one.driving.up[0].weight.clone()
    with pytest.raises(InputError, match=r"step 0: l_pix is nan .*3, 1, 5"):
        one.learn(bad)
    assert torch.equal(one.driving.up[0].weight, before) and not one.driving.training


@pytest.mark.parametrize("changes", [
    {}, {"optimiser": {"kind": "sgd", "lr": 1e-5, "momentum": 0.9}, "plateau": {"every": 2, "patience": 0, "factor": 0.5}},
    {"stage2": {**STAGE2, "start": 4}}, {"stage2": {**STAGE2, "start": 6}}])
def test_a_run_killed_and_resumed_ends_with_the_bits_of_an_uninterrupted_one(changes, tmp_path, eyes):
    def run(name, dies_at=99):
        one, rows = make(**changes), []
        (tmp_path / name).mkdir(exist_ok=True)

        def read(step):
            if step == dies_at:
                raise KeyboardInterrupt
            return episode(step)

        loop.train(one, read, 12, work=tmp_path / name, log=lambda *row: rows.append(row), log_every=3, save_every=5)
        return one, rows

    straight, rows = run("a")
    with pytest.raises(KeyboardInterrupt):
        run("b", 7)
    resumed, again = run("b")
    torch.testing.assert_close(resumed.state(), straight.state(), rtol=0, atol=0)
    assert again == rows and (straight.watch.share < 1) == ("plateau" in changes)
    assert ("l_same" in rows[-1][1]) == ("stage2" in changes)


def test_the_learning_rate_falls_on_a_plateau_as_torchs_scheduler_lets_it():
    watch, plateau = Watch(), Plateau(every=1, patience=2, factor=0.1)
    theirs = torch.optim.SGD([nn.Parameter(torch.zeros(1))], 1.0)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(theirs, patience=2, factor=0.1)
    rates = []
    for loss in [1.0, 0.9, 0.9, 0.95, 0.89999, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8, 0.7, 0.9, 0.9, 0.9, 0.9]:
        watch.observe(loss, plateau), scheduler.step(loss)
        rates.append(theirs.param_groups[0]["lr"])
        assert watch.share == pytest.approx(rates[-1])
    assert len({round(rate, 12) for rate in rates}) == 4


def test_a_plateau_is_seen_in_means_over_so_many_steps_and_lowers_the_learning_rate():
    one = make(plateau={"every": 2, "patience": 0, "factor": 0.1})
    for loss in (1.0, 3.0, 1.5, 2.5):  # means 2, 2
        one.watch.observe(loss, one.config.plateau)
    one.learn(episode(0))
    assert one.optimiser.param_groups[0]["lr"] == pytest.approx(1e-4)


def test_in_bf16_it_learns_and_its_places_stay_well_within_a_pixel_of_those_of_full_precision():
    full, half, x = make(size=64), make(size=64, precision="bf16"), pictures(4, size=64)
    with torch.no_grad():
        assert half.embed(x)[0].dtype == half.offset(x).dtype == torch.float32
        apart = (half.offset(x) - full.offset(x)).abs().max() * 63 / 2  # pixels
    assert 0 < apart < 0.5
    batch = Episode(x, x, x[:, None], x[:, None], torch.arange(4))
    assert half.learn(batch)["l_pix"] == pytest.approx(full.learn(batch)["l_pix"], rel=0.05)
    assert all(parameter.dtype == torch.float32 for net in half.nets.values() for parameter in net.parameters())


def test_stage_two_comes_in_at_its_step_with_its_learning_rate_and_both_content_terms(eyes):
    one = make(stage2=STAGE2, plateau={"every": 1, "patience": 0, "factor": 0.5})
    one.watch.share = 0.25
    assert set(one.learn(episode(0))) == {"l_pix"} and one.optimiser.param_groups[0]["lr"] == 0.25e-3
    assert one.label == "X2Face (ours, stage I and II)"
    before = {name: value.clone() for name, value in one.weights().items()}
    assert set(one.learn(episode(1))) == {"l_pix", "l_same", "l_other"} and one.optimiser.param_groups[0]["lr"] == 1e-4
    moved = {name for name, value in one.weights().items() if not torch.equal(value, before[name])}
    assert moved == set(before) and all(parameter.grad is None for parameter in one.face_network.parameters())
    assert set(one.learn(episode(2, (4, 4, 4)))) == {"l_pix", "l_same"}  # no other video in the batch


def test_each_layer_of_a_content_term_weighs_its_share_of_the_photometric_loss_and_teaches_the_drawn_frame_only(eyes):
    one = make(stage2=STAGE2)
    x, x_hat, l_pix = pictures(2).requires_grad_(), pictures(2, seed=3).requires_grad_(), torch.tensor(0.3, requires_grad=True)
    scaled, raw = one._content(x, x_hat, l_pix, 0.1)
    assert scaled.item() == pytest.approx(2 * 0.1 * 0.3, rel=1e-5)
    layers = [F.l1_loss(a, b) for a, b in zip(one.face_network.taps(x_hat), one.face_network.taps(x))]
    assert raw.item() == pytest.approx(sum(layers).item(), rel=1e-5)
    grad = torch.autograd.grad(scaled, (x, x_hat, l_pix), allow_unused=True)
    assert grad[0] is None and grad[2] is None
    expected = torch.autograd.grad(sum(0.03 / layer.item() * layer for layer in layers), x_hat)[0]
    torch.testing.assert_close(grad[1], expected)


def test_the_other_driver_is_the_next_frame_of_another_video_and_its_content_is_the_sources(eyes):
    assert x2face._other_video(torch.tensor([0, 0, 1, 2, 0])).tolist() == [2, 2, 3, 4, 2]
    assert x2face._other_video(torch.tensor([7, 7])).tolist() == [-1, -1]
    one, batch = make(stage2={**STAGE2, "start": 0}), episode(0)
    one._losses(batch)
    target, _, source, drawn = one.face_network.seen
    assert torch.equal(target, batch.x_t) and torch.equal(source, batch.x_s[:, 0])
    with torch.no_grad():
        torch.testing.assert_close(drawn, one.forward(batch.x_s, batch.x_t[[1, 2, 0]]), atol=1e-4, rtol=0)


def test_stage_two_without_another_video_is_refused():
    with pytest.raises(InputError, match=r"x2face\.stage2: .*batch of 1 .*batch to 2.*null"):
        make(stage2=STAGE2, batch=1)
