import copy

import pytest
import torch
from small import FT_ONLY, SETTINGS, SIZE, VIDEOS, Eyes, episode, method, person
from torch import nn

from model.api import Episode
from model.few_shot import adversarial
from model.few_shot.fine_tuning import FineTuning, Tuning
from model.few_shot.networks import Discriminator
from model.training.optim import Schedule
from pipeline.core.errors import InputError

WEIGHTS = adversarial.Adversarial.model_validate(SETTINGS["adversarial"])


@pytest.fixture(autouse=True)
def eyes(monkeypatch):
    """Frozen features without weights files."""
    backbones = pytest.importorskip("model.backbones.perceptual")
    monkeypatch.setattr(backbones, "efflite0", Eyes)


def snapshot(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def changed(module: nn.Module, before: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, value in module.named_parameters() if not torch.equal(value, before[name])}


def tune(ft, tuned, x, y, tuning=None):
    tuned.learn(x, y, tuning=tuning or ft.config.tuning, content=ft.content, weights=WEIGHTS, precision="fp32", seed=0)


def terms_of(ff, playing=True):
    """The generator's terms on one episode, with x_hat and what they are made from."""
    e = episode(0)
    x_hat = ff.G(e.y_t, ff.G.P(ff.E.average(e.x_s, e.y_s)))
    x_hat.retain_grad()
    w = ff.D.W(e.i) + ff.D.w_0
    return x_hat, adversarial.generator_terms(ff.content, ff.D if playing else None, e.x_t, e.y_t, x_hat, w)


def test_the_gradient_at_the_drawn_image_holds_the_adversarial_term():
    ff = method("ff")
    x_hat, terms = terms_of(ff)
    grads = {name: torch.autograd.grad(term, x_hat, retain_graph=True)[0] for name, term in terms.items()}
    total = torch.autograd.grad(adversarial.weighted(terms, {"l_adv": 1.0, "l_fm": 10.0}), x_hat)[0]
    assert all(grad.abs().sum() > 0 for grad in grads.values())
    torch.testing.assert_close(total, grads["l_cnt"] + grads["l_adv"] + 10 * grads["l_fm"])


def test_the_generators_step_leaves_no_gradient_in_d_and_none_of_d_changes():
    ff = method("ff")
    before = snapshot(ff.D)
    ff._learn_generator(episode(0), True)
    assert all(parameter.grad is None for parameter in ff.D.parameters()) and not changed(ff.D, before)


def test_the_discriminators_step_leaves_g_and_e_alone():
    ff = method("ff")
    e, x_hat, _ = ff._learn_generator(episode(0), True)
    ff.optimisers["EG"].zero_grad()
    before = snapshot(ff.E), snapshot(ff.G)
    ff._learn_discriminator(episode(0), e, x_hat, True, 1e-2)
    assert not changed(ff.E, before[0]) and not changed(ff.G, before[1])
    assert all(parameter.grad is None for net in (ff.E, ff.G) for parameter in net.parameters())


def test_every_learnt_weight_moves_in_one_update_and_the_frozen_networks_get_no_gradient():
    ft = method("ft", schedule={"warm_up": 1, "decay_from": 6, "final": 0.1})
    for net in (ft.E, ft.G, ft.D):  # attention starts as the identity, where what lies behind gamma is at rest
        for name, parameter in net.named_parameters():
            if name.endswith("gamma"):
                parameter.data.fill_(0.5)
    ft.D.b.data.fill_(3.0)  # inside both margins the two halves of the hinge cancel in b
    before = {name: snapshot(net) for name, net in (("E", ft.E), ("G", ft.G), ("D", ft.D))}
    ft.learn(episode(0))
    for name, net in (("E", ft.E), ("G", ft.G), ("D", ft.D)):
        at_rest = {key for key, _ in net.named_parameters()} - changed(net, before[name])
        assert not {key for key in at_rest if not key.endswith("bias")}, name  # the bias of a key shifts no softmax
    assert all(parameter.grad is None for parameter in ft.content.parameters())


def test_d_learns_as_often_as_asked_and_only_from_its_start(monkeypatch):
    calls = []
    real = adversarial.discriminator_loss
    monkeypatch.setattr("model.few_shot.meta_learning.discriminator_loss", lambda *args: calls.append(1) or real(*args))
    ff = method("ff", adversarial={"realism": 1.0, "features": 10.0, "start": 1, "d_steps": 2})
    assert "l_dsc" not in ff.learn(episode(0)) and not calls
    assert {"l_cnt", "l_adv", "l_fm", "l_dsc", "e_hat", "spread"} <= ff.learn(episode(1)).keys() and len(calls) == 2


def test_g_runs_forward_once_an_update():
    ff = method("ff")
    calls = []
    ff.G.register_forward_hook(lambda *_: calls.append(1))
    ff.learn(episode(0))
    assert len(calls) == 1


@pytest.mark.parametrize("name", ["ff", "ft"])
def test_an_update_on_some_videos_leaves_the_columns_and_moments_of_the_others_bit_identical(name):
    one = method(name)
    one.learn(episode(0, [0, 2, 4]))
    before = one.D.W.read(range(VIDEOS))
    one.learn(episode(1, [1, 2, 2]))
    now = one.D.W.read(range(VIDEOS))
    assert [i for i in range(VIDEOS) if now[i].tobytes() != before[i].tobytes()] == [1, 2]


def test_each_side_of_l_mch_moves_as_much_as_its_own_weight_says():
    def moved(weight_e, weight_w):
        ft = method("ft", matching={"weight_e": weight_e, "weight_w": weight_w},
                    adversarial={"realism": 1.0, "features": 10.0, "start": 100, "d_steps": 1})
        same = method("ff", adversarial={"realism": 1.0, "features": 10.0, "start": 100, "d_steps": 1})
        ft.learn(episode(0)), same.learn(episode(0))
        return (not torch.equal(ft.E.trunk.blocks[0].conv1.weight, same.E.trunk.blocks[0].conv1.weight),
                ft.D.W.read(range(VIDEOS))["W"].tobytes() != same.D.W.read(range(VIDEOS))["W"].tobytes())

    assert moved(1.0, 0.0) == (True, False)
    assert moved(0.0, 1.0) == (False, True)


def test_a_collapsed_embedding_stops_the_run_with_a_sentence():
    ff = method("ff", guard={"after": 1, "spread": 0.02})
    ff.E.requires_grad_(False)
    for parameter in ff.E.parameters():
        parameter.data.mul_(0)
    ff.learn(episode(0))
    with pytest.raises(InputError, match=r"step 1: .*\b0 \(guard"):
        ff.learn(episode(1))


def test_a_loss_that_is_not_finite_stops_the_run_naming_step_term_and_videos_before_any_weight_moves():
    ff, bad = method("ff"), episode(0, [3, 1, 5])
    bad.x_t[0, 0, 0, 0] = float("nan")
    before = snapshot(ff.G)
    with pytest.raises(InputError, match=r"step 0: l_cnt is nan .*3, 1, 5"):
        ff.learn(bad)
    assert not changed(ff.G, before)


def test_the_drawn_colour_can_follow_a_target():
    ff = method("ff", lr=1e-2, schedule={"warm_up": 1, "decay_from": 60, "final": 1.0}, ema_decay=0.0,
                adversarial={"realism": 0.0, "features": 0.0, "start": 10**6, "d_steps": 1})
    colours = torch.tensor([[0.9, 0.2, 0.1], [0.1, 0.3, 0.8]])[:, :, None, None].expand(2, 3, SIZE, SIZE)
    y = torch.rand(2, 3, SIZE, SIZE)
    batch = Episode(colours, y, colours[:, None], y[:, None], torch.tensor([0, 1]))
    for _ in range(60):
        ff.learn(batch)
    drawn = torch.cat([ff.adapt(batch.x_s[n], batch.y_s[n])(y[n:n + 1]) for n in range(2)])
    assert (drawn.mean((2, 3)) - colours.mean((2, 3))).abs().max() < 0.08


def test_the_average_follows_the_weights_and_is_what_draws():
    ff = method("ff", ema_decay=0.5)
    start = ff.G.head.weight.clone()
    ff.learn(episode(0))
    expected = torch.lerp(start, ff.G.head.weight, 1 - 1 / 10)  # the first update forgets fast
    torch.testing.assert_close(ff.G_mean.head.weight, expected)
    x, y = person(1)
    torch.testing.assert_close(ff.adapt(x, y)(y), ff.G_mean(y, ff.G_mean.P(ff.embed(x, y))))


def test_learning_rates_rise_stay_and_fall_with_the_steps():
    schedule = Schedule(warm_up=4, decay_from=10, final=0.1)
    assert [schedule.factor(step, 20) for step in (0, 3, 9, 10)] == [0.25, 1, 1, 1]
    assert schedule.factor(15, 20) == pytest.approx(0.55) and schedule.factor(20, 20) == pytest.approx(0.1)


def test_fine_tuning_starts_as_ff_draws_with_psi_prime_p_e_and_w_prime_w_0_plus_e():
    ft, (x, y) = method("ft"), person(8)
    ft.learn(episode(0))
    tuned, e_new = ft.start(x, y), ft.embed(x, y)
    torch.testing.assert_close(tuned.w_prime, ft.D.w_0 + e_new)
    torch.testing.assert_close(tuned.psi_prime, ft.G_mean.P(e_new))
    torch.testing.assert_close(ft.head(tuned.G, tuned.psi_prime)(y), super(type(ft), ft).adapt(x, y)(y))


def test_fine_tuning_moves_psi_prime_w_prime_psi_theta_and_b_but_not_p_w_or_w_0():
    ft, (x, y) = method("ft"), person(8)
    ft.D.b.data.fill_(3.0)  # inside both margins the two halves of the hinge cancel in b
    tuned = ft.start(x, y)
    before = snapshot(tuned.G), snapshot(tuned.D), tuned.psi_prime.clone(), tuned.w_prime.clone()
    tune(ft, tuned, x, y)
    assert not torch.equal(tuned.psi_prime, before[2]) and not torch.equal(tuned.w_prime, before[3])
    moved_G, moved_D = changed(tuned.G, before[0]), changed(tuned.D, before[1])
    assert not any(name.startswith("P.") for name in moved_G) and "w_0" not in moved_D
    assert {"down.blocks.0.conv1.weight", "res.0.conv1.weight", "up.1.conv2.weight", "head.weight"} <= moved_G
    assert {"V.blocks.0.conv1.weight", "last.conv2.weight", "b"} <= moved_D


def test_fine_tuning_does_not_use_the_embedder(monkeypatch):
    ft, (x, y) = method("ft"), person(1)
    tuned = ft.start(x, y)
    monkeypatch.setattr(ft.E_mean, "forward", lambda *_: pytest.fail("E was used"))
    tune(ft, tuned, x, y)


@pytest.mark.parametrize("name", ["ff", "ft"])
def test_adaptation_leaves_the_method_bit_identical_buffers_and_gradients_included(name):
    one, (x, y) = method(name), person(8)
    one.learn(episode(0))
    before = copy.deepcopy(one.state())
    first = one.adapt(x, y)(y)
    torch.testing.assert_close(one.state(), before, rtol=0, atol=0)
    assert torch.equal(one.adapt(x, y)(y), first)  # and again the same


def test_a_head_keeps_drawing_the_same_while_the_method_learns_on():
    ff, (x, y) = method("ff"), person(1)
    head = ff.adapt(x, y)
    before = head(y)
    ff.learn(episode(0))
    assert torch.equal(head(y), before)


@pytest.mark.parametrize(("start", "updates"), [(0.0, 6), (0.5, 2), (1.0, 0)])
def test_d_comes_into_fine_tuning_after_the_given_share_of_the_steps(monkeypatch, start, updates):
    ft, (x, y), calls = method("ft"), person(8), []
    real = adversarial.discriminator_loss
    monkeypatch.setattr("model.few_shot.fine_tuning.discriminator_loss", lambda *args: calls.append(1) or real(*args))
    tuned, tuning = ft.start(x, y), Tuning.model_validate({**FT_ONLY["tuning"], "start": start})
    before = snapshot(tuned.D)
    tune(ft, tuned, x, y, tuning)
    assert len(calls) == updates and bool(changed(tuned.D, before)) == bool(updates)  # 3 steps, D twice in each


@pytest.mark.parametrize(("T", "steps"), [(1, 2), (7, 2), (8, 3), (32, 3)])
def test_the_budget_is_that_of_the_most_shots_not_above_t_and_is_reported_step_by_step(T, steps):
    ft, seen = method("ft"), []
    ft.adapt(*person(T), report=lambda done, total: seen.append((done, total)))
    assert seen == [(n + 1, steps) for n in range(steps)]


def test_an_epoch_of_fine_tuning_shows_every_frame_once():
    from model.few_shot.fine_tuning import _batches
    batches = _batches(32, 8, seed=3)
    assert sorted(torch.cat([next(batches) for _ in range(4)]).tolist()) == list(range(32))
    assert sorted(next(_batches(5, 8, seed=0)).tolist()) == list(range(5))


def test_d_is_not_copied_with_the_column_of_every_training_video():
    ft = method("ft")
    assert FineTuning(ft.G_mean, ft.D, torch.zeros(1, 8)).D.W is ft.D.W
    assert isinstance(ft.D, Discriminator)


@pytest.mark.parametrize("name", ["ff", "ft"])
def test_weights_carry_all_that_adapt_needs(name):
    one, other, (x, y) = method(name), method(name), person(8)
    one.learn(episode(0)), one.learn(episode(1))
    assert not torch.equal(other.adapt(x, y)(y), one.adapt(x, y)(y))
    other.load_weights(one.weights())
    assert torch.equal(other.adapt(x, y)(y), one.adapt(x, y)(y))
    with pytest.raises(InputError, match=r"'E\.trunk\.blocks\.0\.conv1\.weight'"):
        other.load_weights({key: value for key, value in one.weights().items() if key != "E.trunk.blocks.0.conv1.weight"})


def test_bf16_is_used_by_auto_only_where_the_processor_has_it(monkeypatch):
    for native in (False, True):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda native=native: native)
        with adversarial.autocast("auto", torch.device("cpu")):
            assert torch.is_autocast_enabled("cpu") == native


def test_meta_learning_and_fine_tuning_run_in_bf16_and_stay_near_full_precision():
    def run(precision):
        ft = method("ft", precision=precision)
        losses = [ft.learn(episode(step))["l_cnt"] for step in range(3)]
        assert all(parameter.dtype == torch.float32 for parameter in ft.G.parameters())
        return torch.tensor([*losses, ft.adapt(*person(8))(person(8)[1]).mean().item()])

    torch.testing.assert_close(run("bf16"), run("fp32"), rtol=0.05, atol=0.02)
