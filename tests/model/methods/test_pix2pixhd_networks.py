"""Pix2pixHD's networks: the published sizes, names and arithmetic."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from made_pix2pixhd import AUTHORS, made, named, sizes, small
from small import PIX2PIXHD, SIZE
from torch import nn

from model.api import DataInfo
from model.methods import pix2pixhd as p
from pipeline.core.errors import InputError

KEYS = Path(__file__).parents[2] / "data" / "pix2pixhd_keys.txt"


def count(net):
    return sum(value.numel() for value in net.parameters())


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
    with pytest.raises(InputError, match=rf"\b{size} px .*\b2\b"):
        p.METHOD(p.Config.model_validate(PIX2PIXHD), DataInfo(size, 1))


def test_no_part_of_the_networks_keeps_statistics():
    one = made()
    assert not any(list(net.buffers()) for net in one.nets.values())
    assert {type(part) for net in one.nets.values() for part in net.modules() if not list(part.children())} \
        == {nn.Conv2d, nn.ConvTranspose2d}
