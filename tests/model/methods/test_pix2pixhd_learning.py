"""Pix2pixHD's losses, its learning, and its adaptation to one person."""

import copy

import pytest
import torch
import torch.nn.functional as F
from made_pix2pixhd import made, unit
from small import SIZE, VIDEOS, episode, person

from model.api import Episode
from model.backbones import perceptual, registry
from model.backbones.perceptual import VGG
from model.methods import pix2pixhd as p
from pipeline.core.errors import InputError


def maps_of(*values):
    """One map of that value a layer."""
    return [torch.full((2, 1, n + 1, n + 1), float(value)) for n, value in enumerate(values)]


def test_least_squares_are_summed_over_scales_and_look_at_the_verdicts_alone():
    judged = [maps_of(9, 9, 9, 9, 3), maps_of(9, 9, 9, 9, 1)]
    assert p.l_gan(judged, 1.0).item() == 4 and p.l_gan(judged, 0.0).item() == 10


@pytest.mark.parametrize("layer", range(5))
@pytest.mark.parametrize("scale", range(2))
def test_feature_matching_weighs_5_a_layer_at_two_scales_and_leaves_the_verdicts_out(layer, scale):
    real, fake = ([maps_of(0, 0, 0, 0, 0) for _ in range(2)] for _ in range(2))
    fake[scale][layer] += 1
    assert 10.0 * p.l_fm(real, fake).item() == (5 if layer < 4 else 0)


@pytest.fixture
def vgg(monkeypatch):
    """A VGG19 of random weights in place of torchvision's."""
    shapes, weights, index, c = ((2, 64), (2, 128), (4, 256), (4, 512), (1, 512)), {}, 0, 3
    draw = torch.Generator().manual_seed(0)
    for convs, width in shapes:
        for _ in range(convs):
            weights[f"features.{index}.weight"] = torch.randn(width, c, 3, 3, generator=draw) * (2 / (9 * c)) ** 0.5
            weights[f"features.{index}.bias"] = torch.zeros(width)
            index, c = index + 2, width
        index += 1
    monkeypatch.setattr(perceptual, "vgg19", lambda kind: VGG(weights, f"vgg19_{kind}"))
    return weights


def test_vgg_sees_the_picture_in_minus_1_to_1_as_it_is(vgg):
    one, (x, y) = made(vgg=True), person(2)
    x, y = unit(x), unit(y)
    with torch.no_grad():
        terms, _ = one.pair.losses(x, y)
        due, a, b, index = 0.0, x, one.G(y), 0
        for weight, convs in zip((1 / 32, 1 / 16, 1 / 8, 1 / 4, 1), (2, 2, 4, 4, 1)):
            for n in range(convs):
                a, b = (F.conv2d(h, vgg[f"features.{index}.weight"], vgg[f"features.{index}.bias"], padding=1).relu()
                        for h in (a, b))
                index += 2
                due += weight * (a - b).abs().mean() if n == 0 else 0.0
            (a, b), index = (F.max_pool2d(h, 2) if len(h[0, 0]) > 1 else h for h in (a, b)), index + 1
    torch.testing.assert_close(terms["l_vgg"], due)
    assert "l_vgg" not in made().pair.losses(x, y)[0] and set(terms) == {"l_gan", "l_fm", "l_vgg"}


def test_learning_names_vggs_file_only_where_it_looks_through_it(monkeypatch):
    monkeypatch.setattr(registry, "hashes", lambda *names: dict.fromkeys(names, "0" * 64))
    assert made().backbones() == {} and set(made(vgg=True).backbones()) == {"vgg19_torchvision"}


def authors_step(G, D, x, y, lr):
    """All losses first, G's step, then D's, cleared of the gradients that G's left in D: as the published train.py does."""
    adam = {name: torch.optim.Adam(net.parameters(), lr, (0.5, 0.999)) for name, net in (("G", G), ("D", D))}
    x_hat = G(y)
    drawn, real, judged = D(y, x_hat.detach()), D(y, x), D(y, x_hat)
    loss_D = 0.5 * sum(a[-1].square().mean() + (b[-1] - 1).square().mean() for a, b in zip(drawn, real))
    loss_G = sum((a[-1] - 1).square().mean() for a in judged)
    loss_G = loss_G + sum(5 * F.l1_loss(a, b.detach()) for j, r in zip(judged, real) for a, b in zip(j[:4], r[:4]))
    loss_G.backward()
    left = [value.grad.clone() for value in D.parameters()]
    adam["G"].step()
    adam["D"].zero_grad()
    loss_D.backward()
    adam["D"].step()
    return left


def test_one_update_moves_g_and_d_as_the_published_order_of_steps_does():
    one, batch = made(lr=1e-2), episode(0)
    G, D = copy.deepcopy(one.G), copy.deepcopy(one.D)
    left = authors_step(G, D, unit(batch.x_t), unit(batch.y_t), 1e-2)
    assert any(grad.abs().max() > 1e-4 for grad in left)  # what would leak, were it not cleared
    one.learn(batch)
    for ours, due in ((one.G, G), (one.D, D)):
        for (name, a), b in zip(ours.named_parameters(), due.parameters()):
            torch.testing.assert_close(a.grad, b.grad, rtol=1e-3, atol=1e-7, msg=name)


def test_gs_half_of_an_update_leaves_no_gradient_in_d():
    one, (x, y) = made(), person(2)
    terms, l_dsc = one.pair.losses(unit(x), unit(y))
    torch.stack(list(terms.values())).sum().backward()
    assert all(value.grad is None for value in one.D.parameters())
    assert all(value.grad is not None for value in one.G.parameters())
    one.G.zero_grad()
    l_dsc.backward()
    assert all(value.grad is None for value in one.G.parameters())
    assert all(value.grad is not None for value in one.D.parameters())


def coloured():
    """Two flat frames, each of a colour of its own, and landmark images that tell them apart."""
    x = torch.tensor([[0.9, 0.2, 0.1], [0.1, 0.3, 0.8]])[:, :, None, None].expand(2, 3, SIZE, SIZE)
    return x, torch.rand(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))


def test_learning_brings_drawn_frames_nearer_to_real_ones():
    one = made(steps=60, lr=2e-3, schedule={"warm_up": 1, "decay_from": 30, "final": 0.0})
    x, y = coloured()
    batch = Episode(x, y, x[:, None], y[:, None], torch.tensor([0, 1]))

    def distance():
        with torch.no_grad():
            return F.l1_loss(one.G(unit(batch.y_t)), unit(batch.x_t)).item()

    before = distance()
    seen = [one.learn(batch) for _ in range(60)]
    assert set(seen[0]) == {"l_gan", "l_fm", "l_dsc"} and distance() < 0.5 * before


def test_the_learning_rate_stays_for_the_first_half_and_then_falls_to_nothing():
    one, rates = made(steps=8, schedule={"warm_up": 1, "decay_from": 4, "final": 0.0}), []
    one.pair.step = lambda: rates.append([o.param_groups[0]["lr"] for o in one.pair.optimisers.values()])
    for step in range(8):
        one.learn(episode(step))
    lr = one.config.lr
    torch.testing.assert_close(torch.tensor(rates), torch.tensor([[lr * f] * 2 for f in (1, 1, 1, 1, 1, .75, .5, .25)]))


def test_sources_and_videos_of_an_episode_do_not_matter():
    a, b, batch = made(), made(), episode(0)
    a.learn(batch)
    b.learn(Episode(batch.x_t, batch.y_t, batch.x_s[:, :0], batch.y_s[:, :0], batch.i + VIDEOS))
    assert all(torch.equal(value, b.weights()[name]) for name, value in a.weights().items())


def test_an_episode_of_another_size_is_refused():
    x = torch.rand(1, 3, 32, 32)
    with pytest.raises(InputError, match=rf"\b{SIZE} px"):
        made().learn(Episode(x, x, x[None], x[None], torch.tensor([0])))


def test_a_term_that_is_not_finite_stops_the_run_naming_the_videos_before_any_weight_moves():
    one, bad = made(), episode(0, [3, 1, 5])
    bad.x_t[0, 0, 0, 0] = float("nan")
    before = {name: value.clone() for name, value in one.weights().items()}
    with pytest.raises(InputError, match=r"step 0: l_\w+ is nan .*3, 1, 5"):
        one.learn(bad)
    assert all(torch.equal(value, before[name]) for name, value in one.weights().items())


def test_a_run_goes_on_from_its_state_bit_for_bit():
    whole, first, second = made(), made(), made()
    for step in range(4):
        whole.learn(episode(step))
    for step in range(2):
        first.learn(episode(step))
    second.load_state(copy.deepcopy(first.state()))
    for step in range(2, 4):
        second.learn(episode(step))
    assert all(torch.equal(value, second.weights()[name]) for name, value in whole.weights().items())
    assert second.step == 4


def test_bf16_learns_and_draws_near_full_precision():
    def run(precision):
        one = made(precision=precision)
        losses = [one.learn(episode(step))["l_dsc"] for step in range(3)]
        assert all(value.dtype == torch.float32 for value in one.G.parameters())
        return torch.tensor([*losses, one.adapt(*person(1))(person(1)[1]).mean().item()])

    torch.testing.assert_close(run("bf16"), run("fp32"), rtol=0.1, atol=0.05)


FORTY = {"epochs": 40, "max_steps": None, "batch": 8, "lr": 2e-4}


@pytest.mark.parametrize(("T", "steps", "most"), [(1, 40, None), (8, 40, None), (12, 80, None), (32, 160, None), (32, 100, 100),
                                                  (1, 40, 100)])
def test_40_epochs_in_batches_of_8_show_every_frame_40_times(monkeypatch, T, steps, most):
    shown, seen = [], []
    monkeypatch.setattr(p.Pair, "learn", lambda self, x, y, step, who: shown.append(x[:, 0, 0, 0]) or {})
    x, y = person(T)
    made(tuning={**FORTY, "max_steps": most}).adapt(x, y, report=lambda done, of: seen.append((done, of)))
    assert seen == [(n + 1, steps) for n in range(steps)]
    assert max(map(len, shown)) == min(T, 8)
    if most is None:
        every = unit(x[:, 0, 0, 0]).sort().values
        for epoch in torch.cat(shown).split(T):
            assert torch.equal(epoch.sort().values, every)


def test_adapting_leaves_the_method_as_it_was():
    one, (x, y) = made(), person(8)
    one.learn(episode(0))
    before = copy.deepcopy(one.state())
    head = one.adapt(x, y)
    drawn, after = head(y), one.state()
    for name in ("G", "D"):
        assert all(torch.equal(value, after[name][key]) for key, value in before[name].items())
    assert before["step"] == after["step"] and all(value.requires_grad for value in one.G.parameters())
    one.learn(episode(1))
    assert torch.equal(head(y), drawn)


def test_adapting_moves_g_toward_the_person_and_depends_on_the_seed_alone():
    one, (x, y) = made(tuning={**FORTY, "lr": 2e-3}), coloured()
    drawn = one.adapt(x, y, seed=1)(y)
    assert torch.equal(drawn, one.adapt(x, y, seed=1)(y))
    assert F.l1_loss(drawn, x) < 0.5 * F.l1_loss((one.G(unit(y)).detach() + 1) / 2, x)


def test_every_person_starts_with_moments_of_its_own(monkeypatch):
    one, (x, y), seen = made(), person(1), []
    monkeypatch.setattr(p.Pair, "learn", lambda self, *_: seen.append((self.G is one.G, len(self.optimisers["G"].state))) or {})
    one.adapt(x, y)
    assert seen[0] == (False, 0)
