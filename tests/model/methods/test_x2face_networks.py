"""X2Face's networks: the published sizes, names and arithmetic, and how frames of one person are combined."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from made_x2face import episode, in_their_names, make, pictures
from pydantic import ValidationError
from small import X2FACE as SETTINGS

from model.api import DataInfo
from model.methods import x2face
from model.methods.x2face import BOTTLENECK, Config, Driving, Embedding, X2Face, warp
from pipeline.core.errors import InputError


def double(one: X2Face) -> X2Face:
    """In float64 what is compared is the arithmetic and not its rounding."""
    one.place = torch.device("cpu")
    one.embedding.double(), one.driving.double()
    return one


def doubled(x):
    """Bilinear, corners on corners: row i of 2n looks at place i (n - 1) / (2n - 1)."""
    n = x.shape[-1]
    place = torch.arange(2 * n, dtype=x.dtype) * (n - 1) / (2 * n - 1)
    matrix = (1 - (place[:, None] - torch.arange(n, dtype=x.dtype)).abs()).clamp_min(0)  # (2n, n)
    return matrix @ x @ matrix.T


def looked_up(x, offset):
    """Bilinear at pixel (column, row) + offset (size - 1) / 2, black outside."""
    size = x.shape[-1]
    at = torch.arange(size, dtype=x.dtype)
    columns, rows = at + offset[:, 0] * (size - 1) / 2, at[:, None] + offset[:, 1] * (size - 1) / 2
    total = torch.zeros_like(x)
    for down in (0, 1):
        for right in (0, 1):
            row, column = rows.floor() + down, columns.floor() + right
            share = (1 - (rows - row).abs()) * (1 - (columns - column).abs())
            inside = (row >= 0) & (row < size) & (column >= 0) & (column < size)
            flat = (row.clamp(0, size - 1) * size + column.clamp(0, size - 1)).long().flatten(1)
            found = x.flatten(2).gather(2, flat[:, None].expand(-1, 3, -1)).view_as(x)
            total += found * (share * inside)[:, None]
    return total


def normed(w, name, x):
    return F.batch_norm(x, w[f"{name}.running_mean"], w[f"{name}.running_var"], w[f"{name}.weight"], w[f"{name}.bias"])


def level(w, name, x, skips, outermost=True):
    innermost = f"{name}.submodule.up.2.weight" not in w
    h = F.conv2d(x if outermost else F.leaky_relu(x, 0.2), w[f"{name}.down.{0 if outermost else 1}.weight"], None, 2, 1)
    if not (outermost or innermost):
        h = normed(w, f"{name}.down.2", h)
    if not innermost:
        h = level(w, f"{name}.submodule", h, skips, False)
    h = F.conv2d(doubled(F.relu(h)), w[f"{name}.up.2.weight"], None, 1, 1)
    if outermost:
        return h
    h = normed(w, f"{name}.up.3", h)
    return torch.cat([h, x], 1) if skips else h


def written_out(w, sources, driver):
    """-> output of the embedding net for each source, of the driving net, and the drawn frame."""
    o = [level(w, "pix2pixUnwrapped.netG.model", x, True) for x in sources]
    flow = torch.tanh(level(w, "pix2pixSampler.netG.model", driver, False))
    faces = [looked_up(x, torch.tanh(one[:, :2])) for x, one in zip(sources, o)]
    c = [torch.exp(one[:, 2:]) + 0.1 for one in o]
    face = sum(a * b for a, b in zip(faces, c)) / sum(c)
    return o, flow, looked_up(face, torch.tanh(flow))


def assert_equals(a, b):
    assert b.std() > 1e-3 and (a - b).abs().max() <= 1e-5 * b.abs().max()


@pytest.mark.parametrize("K", [1, 3])
@pytest.mark.parametrize("size", [16, 64])
def test_both_networks_and_the_whole_equal_the_forward_pass_written_out_from_a_published_state_dict(K, size):
    one = double(make(size=size))
    driver, *sources = pictures(1 + K, 2, size=size).double()
    with torch.no_grad():
        o, flow, x_hat = written_out({name: value.double() for name, value in in_their_names(one).items()}, sources, driver)
        assert_equals(one.embedding(sources[0]), o[0])
        assert_equals(one.driving(driver), flow)
        assert_equals(one.forward(torch.stack(sources, 1), driver), x_hat)
        assert_equals(one.offset(driver), torch.tanh(flow))


@pytest.mark.parametrize(("size", "ngf", "embedding", "total"), [
    (256, 64, 39_157_760, 64_771_840), (128, 32, 7_564_288, 12_741_504), (64, 32, 5_335_040, 8_872_832),
    (64, 16, 1_335_296, 2_425_792), (32, 16, 777_728, 1_458_112)])
def test_the_networks_have_as_many_parameters_as_published_and_128_numbers_between_driver_and_flow_at_every_size(
        size, ngf, embedding, total):
    with torch.device("meta"):
        E, D = Embedding(size, ngf), Driving(size, ngf)
    counts = [sum(parameter.numel() for parameter in net.parameters()) for net in (E, D)]
    assert counts == [embedding, total - embedding] and D.down[-1].out_channels == BOTTLENECK == 128


def test_weights_start_as_published_and_as_the_seed_says():
    a, b, c = (X2Face(Config.model_validate({**SETTINGS, "size": 64, "ngf": 16}), DataInfo(64, 1), seed) for seed in (0, 0, 1))
    conv, norm = a.embedding.down[3].weight, torch.cat([norm.weight for norm in a.embedding.up_norm])
    assert conv.std().item() == pytest.approx(math.sqrt(2 / (16 * (64 + 128))), rel=0.02)
    assert 0.02 <= norm.min() < 0.1 and 0.9 < norm.max() <= 1 and all((net.bias == 0).all() for net in a.embedding.up_norm)
    assert torch.equal(conv, b.embedding.down[3].weight) and not torch.equal(conv, c.embedding.down[3].weight)


@pytest.mark.parametrize("size", [16, 64, 256])
def test_no_offset_gives_the_picture_back(size):
    x = F.interpolate(pictures(2, size=size // 4), size)  # cells of 4 pixels, their borders sharp
    x = F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)  # white noise would show how float32 rounds places: 1.4e-5 at 256 px
    assert (warp(x, torch.zeros(2, 2, size, size)) - x).abs().max() < 1e-5


def test_an_offset_to_the_right_looks_up_what_lies_right_and_black_beyond_the_border():
    x = pictures(1)
    offset = torch.zeros(1, 2, 16, 16)
    offset[:, 0] = 2 / 15  # one pixel
    drawn = warp(x, offset)
    torch.testing.assert_close(drawn[..., :-1], x[..., 1:], atol=1e-5, rtol=0)
    assert drawn[..., -1].max() < 1e-5


def test_offsets_of_the_driving_path_reach_tanh_1_and_no_further():
    one = make()
    with torch.no_grad():
        one.driving.up[0].weight.mul_(1e4)
        largest = one.offset(pictures(4)).abs().max().item()
    assert 0.7 < largest <= math.tanh(1) + 1e-6


def test_with_one_source_the_confidence_does_not_matter_and_with_two_it_does():
    driver = pictures(2, seed=9)
    drawn = {}
    for T in (1, 2):
        for factor in (1.0, -3.0):
            one = make()
            with torch.no_grad():
                one.embedding.up[0].weight[2] *= factor
            drawn[T, factor] = one.adapt(pictures(T), pictures(T))(driver)
    torch.testing.assert_close(drawn[1, 1.0], drawn[1, -3.0], atol=1e-5, rtol=0)
    assert (drawn[2, 1.0] - drawn[2, -3.0]).abs().max() > 1e-2


@pytest.mark.parametrize("combine", ["mean", "weighted"])
def test_frames_are_combined_alike_in_any_chunks_one_by_one_and_in_an_episode(combine, monkeypatch):
    one, x, driver = make(combine=combine), pictures(7), pictures(2, seed=9)
    with torch.no_grad():
        parts = [one.embed(x[n:n + 1]) for n in range(7)]
        c = sum(c for _, c in parts)
        face = sum(c * face for face, c in parts) / c
        expected = warp(face.expand(2, -1, -1, -1), one.offset(driver)).clamp(0, 1)
        torch.testing.assert_close(one.forward(x.expand(2, -1, -1, -1, -1), driver).clamp(0, 1), expected, atol=1e-4, rtol=0)
    for chunk in (1, 3, 7, 32):
        monkeypatch.setattr(x2face, "CHUNK", chunk)
        torch.testing.assert_close(one.adapt(x, x)(driver), expected, atol=1e-4, rtol=0)
    assert (torch.allclose(c, torch.full_like(c, 7))) == (combine == "mean")


def test_no_network_sees_more_frames_at_once_than_a_chunk_however_many_there_are(monkeypatch):
    one, seen = make(), []
    real = x2face.Hourglass.forward
    monkeypatch.setattr(x2face.Hourglass, "forward", lambda net, x: seen.append(len(x)) or real(net, x))
    one.adapt(pictures(32), pictures(32))(pictures(20))
    assert max(seen) <= x2face.CHUNK and sum(seen) == 52


def test_adapting_leaves_the_method_bit_identical_and_its_head_keeps_drawing_while_the_method_learns_on():
    one, x = make(), pictures(8)
    one.learn(episode(0))
    before = copy.deepcopy(one.state())
    head = one.adapt(x, x)
    drawn = head(x)
    torch.testing.assert_close(one.state(), before, rtol=0, atol=0)
    assert all(parameter.requires_grad for net in one.nets.values() for parameter in net.parameters())
    one.learn(episode(1))
    assert torch.equal(head(x), drawn) and not torch.equal(one.adapt(x, x)(x), drawn)


def test_landmarks_are_not_looked_at_and_the_frames_drive():
    one, x = make(), pictures(4)
    assert one.driven_by == "frames" and not one.fine_tunes
    assert torch.equal(one.adapt(x, x)(x), one.adapt(x, torch.full_like(x, math.nan))(x))


@pytest.mark.parametrize(("size", "larger"), [(224, 256), (100, 128), (4, 8)])
def test_a_size_that_halving_does_not_take_to_one_pixel_is_refused(size, larger):
    with pytest.raises(InputError, match=rf"x2face\.size: .* {size} px .*\b{larger}\b"):
        X2Face(Config.model_validate({**SETTINGS, "size": size}), DataInfo(size, 1))


def test_settings_that_are_unknown_or_of_the_other_optimiser_are_refused():
    for bad in ({"stage3": None}, {"combine": "max"}, {"optimiser": {"kind": "sgd", "lr": 1e-3, "beta1": 0.5}},
                {"optimiser": {"kind": "adagrad", "lr": 1e-3}}, {"plateau": {"every": 10, "patience": 2}}):
        with pytest.raises(ValidationError):
            Config.model_validate({**SETTINGS, **bad})
