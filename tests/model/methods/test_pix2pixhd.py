import copy
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from small import PIX2PIXHD, SIZE, VIDEOS, episode, method, person
from torch import nn

from model.api import DataInfo, Episode
from model.backbones import perceptual, registry
from model.backbones.perceptual import VGG
from model.methods import pix2pixhd as p
from model.published import parity_pix2pixhd as compare
from model.published.importer import import_weights
from pipeline.core.errors import InputError

KEYS = Path(__file__).parents[2] / "data" / "pix2pixhd_keys.txt"
AUTHORS = {"ngf": 64, "downsamplings": 4, "blocks": 9, "padding": "zero", "ndf": 64, "scales": 2}


def sizes(**changes):
    return p.Networks.model_validate({**AUTHORS, **changes})


def small(**changes):
    return sizes(**{"ngf": 4, "ndf": 4, "downsamplings": 2, "blocks": 2, **changes})


def count(net):
    return sum(value.numel() for value in net.parameters())


def made(**changes):
    return method("pix2pixhd", **changes)


def named(one, kind, seed=0):
    """A checkpoint of that kind as the authors' code writes it: published names, random values."""
    draw, weights = torch.Generator().manual_seed(seed), one.weights()
    return {theirs: torch.randn(weights[ours].shape, generator=draw) * 0.1 for theirs, ours in one.published(kind).items()}


def unit(images):
    return images * 2 - 1


# ---- networks ----------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("ngf", "downsamplings", "parameters"), [
    (64, 4, 182_443_267), (64, 3, 45_593_347), (32, 4, 45_620_867), (32, 3, 11_405_699), (16, 3, 2_855_107)])
def test_the_generator_has_the_published_number_of_parameters_at_every_size(ngf, downsamplings, parameters):
    with torch.device("meta"):
        assert count(p.Generator(sizes(ngf=ngf, downsamplings=downsamplings))) == parameters


def test_the_discriminator_has_the_published_number_of_parameters():
    with torch.device("meta"):
        assert [count(p.Discriminator(sizes(scales=scales))) for scales in (2, 3)] == [5_535_618, 8_303_427]


def test_names_and_shapes_at_the_authors_sizes_are_those_of_their_checkpoints(monkeypatch):
    monkeypatch.setattr(p, "device", lambda: torch.device("meta"))
    with torch.device("meta"):
        one = p.METHOD(p.Config.model_validate({**PIX2PIXHD, "networks": AUTHORS}), DataInfo(256, 1))
        weights = one.weights()
        ours = [f"{kind} {theirs} {tuple(weights[name].shape)}" for kind in one.kinds
                for theirs, name in one.published(kind).items()]
    assert ours == KEYS.read_text().splitlines()
    assert [len(one.published(kind)) for kind in one.kinds] == [56, 20]
    assert one.parameters() == 182_443_267 + 5_535_618


def drawn_by(state, y, downsamplings, blocks):
    """The published generator, straight from its tensors."""
    def conv(h, name, **how):
        return F.conv2d(h, state[f"{name}.weight"], state[f"{name}.bias"], **how)

    h = F.instance_norm(conv(F.pad(y, (3,) * 4, "reflect"), "model.1")).relu()
    at = 4
    for _ in range(downsamplings):
        h, at = F.instance_norm(conv(h, f"model.{at}", stride=2, padding=1)).relu(), at + 3
    for _ in range(blocks):
        r = F.instance_norm(conv(F.pad(h, (1,) * 4, "reflect"), f"model.{at}.conv_block.1")).relu()
        h, at = h + F.instance_norm(conv(F.pad(r, (1,) * 4, "reflect"), f"model.{at}.conv_block.5")), at + 1
    for _ in range(downsamplings):
        weight, bias = state[f"model.{at}.weight"], state[f"model.{at}.bias"]
        h = F.instance_norm(F.conv_transpose2d(h, weight, bias, stride=2, padding=1, output_padding=1)).relu()
        at += 3
    return conv(F.pad(h, (3,) * 4, "reflect"), f"model.{at + 1}").tanh()


def judged_by(state, h, scales):
    """The published discriminators, straight from their tensors; the finest picture first."""
    found = []
    for scale in range(scales)[::-1]:
        maps = [h]
        for layer, stride in enumerate((2, 2, 2, 1, 1)):
            name = f"scale{scale}_layer{layer}.0"
            m = F.conv2d(maps[-1], state[f"{name}.weight"], state[f"{name}.bias"], stride=stride, padding=2)
            m = F.instance_norm(m) if layer in (1, 2, 3) else m
            maps.append(m if layer == 4 else torch.where(m > 0, m, 0.2 * m))
        found.append(maps[1:])
        h = F.avg_pool2d(h, 3, 2, 1, count_include_pad=False)
    return found


def test_from_a_published_checkpoint_our_networks_give_what_its_tensors_say():
    one = made(networks={**PIX2PIXHD["networks"], "blocks": 3})
    checkpoint = {kind: named(one, kind) for kind in ("G", "D")}
    one.load_weights({one.published(kind)[name]: value for kind in checkpoint for name, value in checkpoint[kind].items()})
    x, y = torch.rand(2, 3, 3, SIZE, SIZE) * 2 - 1
    with torch.no_grad():
        torch.testing.assert_close(one.G(y), drawn_by(checkpoint["G"], y, 2, 3), rtol=1e-5, atol=1e-5)
        due = judged_by(checkpoint["D"], torch.cat([y, x], 1), 2)
        torch.testing.assert_close(one.D(y, x), due, rtol=1e-5, atol=1e-5)


def test_the_maps_of_d_have_the_published_sizes_at_256_pixels():
    image = torch.zeros(1, 3, 256, 256)
    with torch.no_grad():
        maps = p.Discriminator(small())(image, image)
    assert [[m.shape[-1] for m in scale] for scale in maps] == [[129, 65, 33, 34, 35], [65, 33, 17, 18, 19]]


def test_g_draws_the_same_in_training_and_in_evaluation():
    G, y = p.Generator(small()), torch.rand(2, 3, 32, 32)
    assert torch.equal(G.train()(y), G.eval()(y))


def test_weights_start_as_published_and_from_the_seed():
    one = made(networks={**PIX2PIXHD["networks"], "ngf": 16})
    stds = [value.std().item() for name, value in one.weights().items() if name.endswith("weight") and value.numel() > 2000]
    assert len(stds) > 5 and all(0.018 < std < 0.022 for std in stds)
    same = p.METHOD(one.config, one.facts, one.seed).weights()
    assert all(torch.equal(value, same[name]) for name, value in one.weights().items())


@pytest.mark.parametrize("size", [16, 32])
def test_reflected_borders_keep_the_size_and_differ_from_zeros_at_borders_only(size):
    zero = p.Generator(small(blocks=0))
    reflect = p.Generator(small(blocks=0, padding="reflect"))
    reflect.load_state_dict(zero.state_dict())
    assert reflect(torch.rand(1, 3, size, size)).shape == (1, 3, size, size)
    h = torch.rand(1, 16, 8, 8)
    up = [net.doubled(net.up[0], h) for net in (zero, reflect)]
    down = [net.halved(net.down[0], h[:, :4]) for net in (zero, reflect)]
    assert up[0].shape == up[1].shape == (1, 8, 16, 16) and down[0].shape == down[1].shape == (1, 8, 4, 4)
    torch.testing.assert_close(up[0][..., :-1, :-1], up[1][..., :-1, :-1])  # an output pixel of the last row sees the border,
    torch.testing.assert_close(down[0][..., 1:, 1:], down[1][..., 1:, 1:])  # here one of the first
    assert not torch.allclose(up[0][..., -1], up[1][..., -1], atol=1e-3)
    assert not torch.allclose(down[0][..., 0], down[1][..., 0], atol=1e-3)


def test_on_a_flat_picture_zeros_around_the_maps_make_a_pattern_that_reflected_borders_do_not():
    def spread(padding, seed):
        torch.manual_seed(seed)
        G = p.Generator(sizes(ngf=16, downsamplings=3, padding=padding)).apply(p.initialised)
        with torch.no_grad():
            return G(torch.full((1, 3, 64, 64), -1.0)).std((2, 3))

    for seed in range(2):
        assert spread("zero", seed).min() > 0.25 and spread("reflect", seed).max() < 0.06


@pytest.mark.parametrize("size", [4, 18])
def test_a_size_that_cannot_be_halved_is_refused(size):
    with pytest.raises(InputError, match=f"{size} px cannot be halved 2 times"):
        p.METHOD(p.Config.model_validate(PIX2PIXHD), DataInfo(size, 1))


# ---- losses ------------------------------------------------------------------------------------------------------------------

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


# ---- learning ----------------------------------------------------------------------------------------------------------------

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
    with pytest.raises(InputError, match=f"{SIZE} px: make both from the same data"):
        made().learn(Episode(x, x, x[None], x[None], torch.tensor([0])))


def test_a_term_that_is_not_finite_stops_the_run_naming_the_videos_before_any_weight_moves():
    one, bad = made(), episode(0, [3, 1, 5])
    bad.x_t[0, 0, 0, 0] = float("nan")
    before = {name: value.clone() for name, value in one.weights().items()}
    with pytest.raises(InputError, match=r"step 0: l_\w+ is nan on videos 3, 1, 5"):
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


# ---- one person --------------------------------------------------------------------------------------------------------------

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


# ---- published files ---------------------------------------------------------------------------------------------------------

@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder of weights."""
    monkeypatch.setenv("TALKING_HEADS_WEIGHTS", str(tmp_path / "weights"))
    return tmp_path / "weights"


def kept(state, path):
    torch.save(state, path)
    return path


def given(file, **changes):
    return made(pretrained={"file": file.name, "sha256": registry.sha256(file)}, **changes)


def test_g_and_d_are_imported_and_drawn_with_unchanged(folder, tmp_path):
    one = made()
    states = {kind: named(one, kind, seed) for seed, kind in enumerate(("G", "D"))}
    old = states["G"] | {"model.2.running_mean": torch.zeros(4), "model.2.running_var": torch.ones(4),
                         "model.2.num_batches_tracked": torch.tensor(3)}
    files = [kept({f"module.{name}": value for name, value in old.items()}, tmp_path / "latest_net_G.pth"),
             kept(states["D"], tmp_path / "latest_net_D.pth")]
    out = import_weights(one, files, "VoxCeleb1", trust=False)
    other = given(out, steps=0)
    assert other.prepare() == "VoxCeleb1" and other.label == "Pix2pixHD (imported weights)"
    for kind in ("G", "D"):
        assert all(torch.equal(states[kind][theirs], other.weights()[ours]) for theirs, ours in one.published(kind).items())
    assert list(folder.iterdir()) == [out]


def test_g_alone_may_be_imported_and_d_then_starts_afresh(folder, tmp_path):
    one = made()
    state = named(one, "G")
    other = given(import_weights(one, [kept(state, tmp_path / "G.pth")], "faces", trust=False))
    other.prepare()
    assert other.label == "Pix2pixHD (ours)" and made().label == "Pix2pixHD (ours)"
    assert torch.equal(other.G.head.weight, state["model.1.weight"])
    assert all(torch.equal(a, b) for a, b in zip(other.D.parameters(), made().D.parameters()))


def without(state, name):
    return {key: value for key, value in state.items() if key != name}


WRONG = {
    "a shape": (lambda g, d: g | {"model.1.weight": torch.zeros(8, 3, 7, 7)}, r"'model\.1\.weight' .*\(8, 3, 7, 7\)"),
    "renamed": (lambda g, d: without(g, "model.1.bias") | {"model.1.b": g["model.1.bias"]}, r"has no 'model\.1\.bias'"),
    "one more": (lambda g, d: g | {"model.99.weight": torch.zeros(1)}, r"'model\.99\.weight' is unknown to this network"),
    "x2face": (lambda g, d: {"state_dict": {"pix2pixUnwrapped.netG.model.down.0.weight": torch.zeros(64, 3, 4, 4)}},
               r"has no 'model\.1\.weight' \(1 tensors"),
    "d as g": (lambda g, d: d, r"has no 'model\.1\.weight' \(20 tensors"),
    "not finite": (lambda g, d: g | {"model.1.bias": g["model.1.bias"] * float("nan")}, r"'model\.1\.bias' does not hold"),
    "a list": (lambda g, d: list(g.values()), "no dictionary of tensors")}


@pytest.mark.parametrize("what", WRONG)
def test_a_file_that_differs_is_refused_naming_the_first_difference_and_nothing_is_written(folder, tmp_path, what):
    one, (change, sentence) = made(), WRONG[what]
    file = kept(change(named(one, "G"), named(one, "D")), tmp_path / "latest_net_G.pth")
    with pytest.raises(InputError, match=sentence) as refused:
        import_weights(one, [file], "faces", trust=False)
    assert str(file) in str(refused.value) and "\n" not in str(refused.value) and not folder.exists()


def test_a_file_broken_off_is_refused(folder, tmp_path):
    one, file = made(), tmp_path / "G.pth"
    whole = kept(named(one, "G"), file).read_bytes()
    for part in (whole[:len(whole) // 2], whole[:10], b""):
        file.write_bytes(part)
        with pytest.raises(InputError, match=r"cannot be read as a torch file|no checkpoint"):
            import_weights(one, [file], "faces", trust=False)
    assert not folder.exists()


class Hostile:
    """Makes a folder when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_code_in_a_file_does_not_run(folder, tmp_path):
    one, mark = made(), tmp_path / "ran"
    file = kept(named(one, "G") | {"model.1.weight": Hostile(str(mark))}, tmp_path / "G.pth")
    with pytest.raises(InputError, match=r"more than tensors \(\w+\.mkdir\), and opening it could run code"):
        import_weights(one, [file], "faces", trust=False)
    assert not mark.exists() and not folder.exists()
    torch.load(file, weights_only=False)
    assert mark.exists()  # it would have


def test_a_third_file_is_refused(tmp_path):
    one = made()
    file = kept(named(one, "G"), tmp_path / "G.pth")
    with pytest.raises(InputError, match="a checkpoint consists of G and D; 3 files were given"):
        import_weights(one, [file] * 3, "faces", trust=False)


# ---- the comparison with the published code ----------------------------------------------------------------------------------

STAND_IN = """
from torchvision import models
import torch
from model.methods import pix2pixhd as p
def get_norm_layer(kind):
    return kind
class Theirs(torch.nn.Module):
    def load_state_dict(self, state, strict):
        names = p.published_names(self.kind, self.sizes)
        self.net.load_state_dict({{names[name]: value for name, value in state.items()}})
class GlobalGenerator(Theirs):
    def __init__(self, c_in, c_out, ngf, downsamplings, blocks, norm):
        super().__init__()
        self.kind = "G"
        self.sizes = p.Networks(ngf=ngf, downsamplings=downsamplings, blocks=blocks, padding="zero", ndf=1, scales=2)
        self.net = p.Generator(self.sizes)
    def forward(self, y):
        return self.net(y)
class MultiscaleDiscriminator(Theirs):
    def __init__(self, c_in, ndf, layers, norm, sigmoid, scales, features):
        super().__init__()
        self.kind = "D"
        self.sizes = p.Networks(ngf=1, downsamplings=1, blocks=1, padding="zero", ndf=ndf, scales=scales)
        self.net = p.Discriminator(self.sizes)
    def forward(self, h):
        maps = self.net(*h.chunk(2, 1))
        maps[1][2] = maps[1][2] * {factor}
        return maps
"""


def published(tmp_path, factor):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "networks.py").write_text(STAND_IN.format(factor=factor))
    return tmp_path


@pytest.mark.parametrize(("factor", "status"), [(1.0, 0), (1.0001, 1)])
def test_the_comparison_tells_equal_networks_from_others(tmp_path, monkeypatch, capsys, factor, status):
    before = sys.modules.get("torchvision")
    monkeypatch.setattr(compare, "SIZES", {"the authors'": (32, small())})
    files = [str(kept(named(made(networks=small().model_dump()), kind), tmp_path / kind)) for kind in ("G", "D")]
    monkeypatch.setattr(sys, "argv", ["compare", str(published(tmp_path, factor)), *files])
    assert compare.main() == status
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 12 and lines[-1].endswith("NOT EQUAL" if status else "equal")
    differ = [line for line in lines[:-1] if not line.endswith(": 0")]
    assert len(differ) == status and all("scale 1 (0 the finest) map 2" in line for line in differ)
    assert sys.modules.get("torchvision") is before


def test_the_comparison_refuses_a_folder_without_the_published_networks(tmp_path):
    done = subprocess.run([sys.executable, "-m", "model.published.parity_pix2pixhd", str(tmp_path)], capture_output=True,
                          text=True,
                          cwd=Path(__file__).resolve().parents[3])
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "networks.py: there is no such file" in done.stderr


def test_no_part_of_the_networks_keeps_statistics():
    one = made()
    assert not any(list(net.buffers()) for net in one.nets.values())
    assert {type(part) for net in one.nets.values() for part in net.modules() if not list(part.children())} \
        == {nn.Conv2d, nn.ConvTranspose2d}
