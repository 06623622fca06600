import pytest
import torch
import torch.nn.functional as F
from small import NETWORKS, SIZE, VIDEOS, N, networks
from torch import nn

from model.few_shot.attention import ROWS, Attention, attend
from model.few_shot.blocks import AdaIN, InstanceNorm, ResBlock, _NormReLU, norm_relu
from model.few_shot.networks import Discriminator, Embedder, Generator, Networks
from model.few_shot.spectral_norm import Conv, Linear
from pipeline.core.errors import InputError

PAPER = {"embedder": [64, 128, 256, 512, 512, 512], "generator": [64, 128, 256, 512], "res_blocks": 4,
         "pooling": "relu-sum", "output": "tanh", "spectral": "all"}


def paper(attention: bool) -> tuple[Embedder, Generator, Discriminator]:
    at = {"attention_down": [32] * attention, "attention_up": [64] * attention}
    config = Networks.model_validate(PAPER | at)
    with torch.device("meta"):
        return Embedder(config, 256), Generator(config, 256), Discriminator(config, 256, 10)


def count(*nets: nn.Module) -> int:
    return sum(parameter.numel() for net in nets for parameter in net.parameters())


def test_an_averaged_map_takes_16_products_a_pixel_instead_of_36():
    from torch.utils.flop_counter import FlopCounterMode
    layer, x = Conv(5, 7, 3), torch.randn(2, 5, 12, 8)
    made = []
    for act in (lambda: torch.nn.functional.avg_pool2d(layer.eval()(x), 2), lambda: layer.eval().averaged(x)):
        with FlopCounterMode(display=False) as counter:
            made.append(act())
        made.append(counter.get_total_flops())
    assert torch.allclose(made[0], made[2], atol=1e-5) and made[2].shape == (2, 7, 6, 4)
    assert made[3] * 36 == made[1] * 16
    slopes = [torch.autograd.grad(y.square().sum(), layer.weight)[0] for y in (made[0], made[2])]
    assert torch.allclose(*slopes, atol=1e-4)


def test_the_parameters_of_the_papers_size_are_those_of_the_co_authors_layout_to_the_unit():
    E, G, D = paper(attention=False)
    assert (count(E), count(G), count(D.V, D.last)) == (14_825_024, 37_909_443, 19_544_640)
    assert G.adaptive == 13_056 and count(G.P) == 6_697_728


def test_attention_adds_one_block_of_256_channels_to_each_down_path_and_one_to_the_up_path():
    E, G, D = paper(attention=True)
    assert (count(E), count(G), count(D.V, D.last)) == (14_907_265, 38_073_925, 19_626_881)
    for net in (E.trunk, D.V, G.down):
        assert [*net.attention] == ["2"]  # after the block that ends at 32 px
    assert [*G.attention] == ["1"]  # after the block that ends at 64 px


def test_every_convolution_and_fully_connected_layer_of_all_networks_is_under_spectral_norm():
    for net in paper(attention=True):
        layers = [module for module in net.modules() if isinstance(module, (nn.modules.conv._ConvNd, nn.Linear))]
        assert layers and all(isinstance(layer, (Conv, Linear)) for layer in layers)


@pytest.mark.parametrize("layer", [Conv(3, 5, 3), Conv(4, 4, 1), Linear(6, 9)], ids=str)
def test_a_layer_under_spectral_norm_has_a_largest_singular_value_of_1(layer):
    layer.settle(50)
    assert torch.linalg.matrix_norm(layer.normalised().flatten(1), 2).item() == pytest.approx(1, abs=1e-3)


def test_spectral_norm_moves_its_vectors_only_while_its_weight_is_learnt():
    layer, x = Conv(3, 5, 3), torch.rand(1, 3, 8, 8)
    layer.weight.data.mul_(torch.rand_like(layer.weight))

    def moved() -> bool:
        before = layer.u.clone()
        layer(x)
        return not torch.equal(before, layer.u)

    with torch.no_grad():
        assert not moved()
    layer.eval()
    assert not moved()
    layer.train().weight.requires_grad_(False)
    assert not moved()
    layer.weight.requires_grad_(True)
    assert moved()


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_adain_is_instance_norm_then_the_given_affine_map_then_relu(memory):
    draw = torch.Generator().manual_seed(0)
    x = (torch.randn(2, 5, 7, 6, generator=draw, dtype=torch.float64) * 3 + 1).to(memory_format=memory).requires_grad_()
    weight, bias = (torch.randn(2, 5, generator=draw, dtype=torch.float64).requires_grad_() for _ in range(2))
    want = F.relu(F.instance_norm(x, eps=1e-4) * weight[..., None, None] + bias[..., None, None])
    found = AdaIN(5)(x, iter((weight, bias)))
    torch.testing.assert_close(found, want)
    seed = torch.randn(want.shape, generator=draw, dtype=torch.float64)
    for a, b in zip(torch.autograd.grad(found, (x, weight, bias), seed), torch.autograd.grad(want, (x, weight, bias), seed)):
        torch.testing.assert_close(a, b)


def test_the_norm_of_a_map_far_from_0_keeps_its_digits():
    x = torch.randn(1, 4, 32, 32, generator=torch.Generator().manual_seed(0)) + 300
    want = F.relu(F.instance_norm(x.double(), eps=1e-4)).float()
    torch.testing.assert_close(norm_relu(x, torch.ones(4), torch.zeros(4))[0], want, rtol=0, atol=1e-4)


def test_the_written_out_gradient_of_the_norm_is_the_numerical_one():
    inputs = [torch.randn(2, 3, 4, 4, dtype=torch.float64, requires_grad=True),
              *(torch.randn(2, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))]
    assert torch.autograd.gradcheck(_NormReLU.apply, inputs)


def test_the_skip_path_sees_the_negative_part_of_the_input():
    block, x = ResBlock(4, 4, "none"), -torch.rand(1, 4, 4, 4)
    for conv in (block.conv1, block.conv2):
        conv.weight.data.zero_(), conv.bias.data.zero_()
    before = x.clone()
    assert torch.equal(block(x), x) and torch.equal(x, before)


def test_the_short_way_over_doubled_pixels_is_nearest_upsampling_then_the_convolution():
    conv, x = Conv(3, 5, 3).double().eval(), torch.rand(2, 3, 6, 4, dtype=torch.float64)
    torch.testing.assert_close(conv.doubled(x), conv(F.interpolate(x, scale_factor=2, mode="nearest")))


def test_norms_stand_where_the_paper_puts_them():
    E, G, D = Embedder(networks(), SIZE), Generator(networks(), SIZE), Discriminator(networks(), SIZE, VIDEOS)
    norms = (AdaIN, InstanceNorm)
    assert not [m for net in (E, D) for m in net.modules() if isinstance(m, norms)]
    assert {type(m) for m in G.down.modules() if isinstance(m, norms)} == {InstanceNorm}
    assert {type(m) for part in (G.res, G.up, G.head_norm) for m in part.modules() if isinstance(m, norms)} == {AdaIN}


def test_attention_starts_as_the_identity_and_then_looks_everywhere():
    attention, x = Attention(8), torch.randn(2, 8, 4, 4)
    assert attention.gamma.item() == 0 and torch.equal(attention(x), x)
    attention.gamma.data.fill_(1)
    x.requires_grad_()
    attention(x)[0, :, 0, 0].sum().backward()
    assert (x.grad[0].abs().sum(0) > 0).all() and not x.grad[1].any()


@pytest.mark.parametrize("side", [4, 32])
def test_attention_and_its_gradients_are_those_of_the_plain_formula(side):
    draw = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, c, side, side, generator=draw, dtype=torch.float64, requires_grad=True) for c in (3, 3, 5))
    scores = torch.einsum("bdi,bdj->bij", q.flatten(2), k.flatten(2))
    want = torch.einsum("bij,bcj->bci", scores.softmax(2), v.flatten(2)).unflatten(2, (side, side))
    found = attend(q, k, v)
    assert side * side == 16 or side * side > ROWS
    torch.testing.assert_close(found, want)
    seed = torch.randn(want.shape, generator=draw, dtype=torch.float64)
    for a, b in zip(torch.autograd.grad(found, (q, k, v), seed), torch.autograd.grad(want, (q, k, v), seed)):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("way", ["", "up", "down"])
def test_the_gradient_of_a_normalised_kernel_is_that_of_the_division_by_sigma(way):
    layer = Conv(3, 5, 3).double().eval()
    u, v, weight = layer.u, layer.v, layer.weight
    plain = weight / torch.dot(u, weight.permute(0, 2, 3, 1).reshape(5, -1).mv(v))
    if way:
        turned = plain.flip(2, 3).transpose(0, 1) if way == "up" else plain / 4
        plain = sum(F.pad(turned, (left, 1 - left, top, 1 - top)) for left in (0, 1) for top in (0, 1))
    seed = torch.randn_like(plain)
    torch.testing.assert_close(layer.kernel(way), plain)
    torch.testing.assert_close(*(torch.autograd.grad(k, weight, seed)[0] for k in (layer.kernel(way), plain)))


def test_pooling_is_a_sum_over_space_with_the_relu_before_or_after():
    maps = torch.tensor([[[[1.0, -3.0], [1.0, 0.0]]]])
    from model.few_shot.networks import _pool
    assert _pool(maps, "relu-sum").item() == 2 and _pool(maps, "sum-relu").item() == 0
    E = Embedder(networks(), SIZE)
    x, y = torch.rand(2, 3, SIZE, SIZE), torch.rand(2, 3, SIZE, SIZE)
    last = E.eval().trunk(torch.cat([y, x], 1) * 2 - 1)[-1]
    assert last.shape[-2:] == (4, 4)
    torch.testing.assert_close(E(x, y), last.relu().sum((2, 3)))


def test_e_hat_is_the_mean_over_the_frames_in_any_order_and_batch():
    E = Embedder(networks(), SIZE).eval()
    x, y = torch.rand(2, 5, 3, SIZE, SIZE), torch.rand(2, 5, 3, SIZE, SIZE)
    e_hat, order = E.average(x, y), torch.randperm(5)
    assert e_hat.shape == (2, N)
    torch.testing.assert_close(e_hat, E.average(x[:, order], y[:, order]))
    torch.testing.assert_close(e_hat[1:], E.average(x[1:], y[1:]))
    torch.testing.assert_close(e_hat[0], torch.stack([E(x[0, k:k + 1], y[0, k:k + 1])[0] for k in range(5)]).mean(0))


@pytest.mark.parametrize("output", ["tanh", "sigmoid"])
def test_g_draws_rgb_in_0_1_and_at_first_scales_by_about_1(output):
    G = Generator(networks(output=output), SIZE)
    psi_hat = G.P(torch.zeros(2, N))
    parts = psi_hat.split(G._split, 1)
    assert all((part == 1).all() for part in parts[::2]) and not any(part.any() for part in parts[1::2])
    x_hat = G(torch.rand(2, 3, SIZE, SIZE), psi_hat)
    assert x_hat.shape == (2, 3, SIZE, SIZE) and 0 <= x_hat.min() < x_hat.max() <= 1


def test_every_row_of_p_steers_the_picture():
    G = Generator(networks(), SIZE)
    picture = G(torch.rand(4, 3, SIZE, SIZE), G.P(torch.rand(4, N)))
    (picture * torch.randn_like(picture)).sum().backward()
    rows = G.P.weight.grad.abs().sum(1)
    assert rows.shape == (G.adaptive,) and (rows > 0).float().mean() > 0.9  # a channel that the ReLU shuts is at rest
    assert all((part > 0).any() for part in rows.split(G._split))


def test_what_a_person_is_enters_as_an_argument_one_for_all_or_one_each():
    G = Generator(networks(), SIZE).eval()
    y, psi_hat = torch.rand(3, 3, SIZE, SIZE), G.P(torch.rand(3, N))
    torch.testing.assert_close(G(y, psi_hat[:1]), G(y, psi_hat[:1].expand(3, -1)))
    assert not torch.allclose(G(y[:1], psi_hat[:1]), G(y[:1], psi_hat[1:2]))


def test_the_score_is_v_times_w_plus_b_and_there_is_a_feature_map_a_block():
    D = Discriminator(networks(), SIZE, VIDEOS).eval()
    x, y, i = torch.rand(2, 3, SIZE, SIZE), torch.rand(2, 3, SIZE, SIZE), torch.tensor([4, 0])
    r, features = D(x, y, w=D.W(i) + D.w_0)
    v = features[-1].relu().sum((2, 3))
    torch.testing.assert_close(r, (v * (torch.from_numpy(D.W.read(i.tolist())["W"]) + D.w_0)).sum(1) + D.b)
    assert [f.shape[-1] for f in features] == [8, 4, 4] and len(features) == len(NETWORKS["embedder"]) + 1
    assert D.W(i).shape == (2, N) and D.W.num_videos == VIDEOS


def test_sizes_that_do_not_fit_the_frames_are_refused_with_the_number_of_widths():
    with pytest.raises(InputError, match=r"networks\.embedder: 2 .*16 px .*64.*\b4\b"):
        Embedder(networks(), 64)
    with pytest.raises(InputError, match=r"networks\.generator"):
        Generator(networks(generator=[4, 4, 4]), SIZE)
