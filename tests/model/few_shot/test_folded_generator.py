import copy

import pytest
import torch
from made_params import DATASETS, published
from small import SIZE, N, method, networks, person
from torch import Tensor, nn

from model.few_shot.attention import ROWS, Attention
from model.few_shot.blocks import _NormReLU
from model.few_shot.folded_generator import NormReLU, SelfAttention, folded
from model.few_shot.networks import Generator, Networks
from pipeline.core.errors import InputError

BF16 = 0.1  # of bf16's frames against float32's, at most; in the mean a tenth of that


def made(config: Networks, size: int) -> tuple[Generator, Tensor]:
    """A generator whose attention attends and whose vectors of spectral norm are not yet settled, and somebody's psi_hat."""
    torch.manual_seed(0)
    G = Generator(config, size)
    with torch.no_grad():
        for name, parameter in G.named_parameters():
            if name.endswith("gamma"):
                parameter.fill_(0.7)
            elif name.endswith("bias") and not name.startswith("P."):
                parameter.normal_(0, 0.2)
            elif name.startswith(("down", "res", "up", "head")) and parameter.ndim == 4:
                parameter.mul_(1 + 0.1 * torch.rand_like(parameter))
        psi_hat = G.P(torch.randn(1, config.embedder[-1])) + 0.1 * torch.randn(1, G.adaptive)
    return G.eval().requires_grad_(False), psi_hat


def small(**changes: object) -> tuple[Generator, Tensor]:
    return made(networks(**changes), SIZE)


def configured() -> list[object]:
    """Each way in which params/ sets the networks up, once."""
    ways = {}
    for data in DATASETS:
        methods = published(data)["learn"]
        for name in ("ff", "ft"):
            ways.setdefault(str(methods[name]["networks"]), pytest.param(methods[name], id=f"{data}-{name}"))
    return [*ways.values()]


@pytest.mark.parametrize("settings", configured())
def test_the_folded_generator_of_every_configuration_draws_what_g_draws(settings):
    config, size = Networks.model_validate(settings["networks"]), settings["size"]
    G, psi_hat = made(config, size)
    y = torch.rand(1, 3, size, size)
    torch.testing.assert_close(folded(G, psi_hat)(y), G(y, psi_hat), rtol=0, atol=1e-5)


@pytest.mark.parametrize("settings", configured())
def test_in_double_precision_the_two_are_the_same_but_for_the_last_bits(settings):
    config, size = Networks.model_validate(settings["networks"]), settings["size"]
    narrow = config.model_copy(update={"generator": [max(width // 4, 8) for width in config.generator]})
    G, psi_hat = made(narrow, size)
    G, psi_hat, y = G.double(), psi_hat.double(), torch.rand(1, 3, size, size, dtype=torch.float64)
    found = folded(G, psi_hat, torch.float64)(y).float()  # G's frames are float32 in any case
    torch.testing.assert_close(found, G(y, psi_hat), rtol=0, atol=3e-7)


@pytest.mark.parametrize("output", ["tanh", "sigmoid"])
@pytest.mark.parametrize("spectral", ["all", "inner"])
@pytest.mark.parametrize("attention", [[], [8]])
@pytest.mark.parametrize("res_blocks", [0, 2])
def test_it_draws_what_g_draws_whatever_the_parts(output, spectral, attention, res_blocks):
    at = {"attention_down": attention, "attention_up": attention}
    G, psi_hat = small(output=output, spectral=spectral, res_blocks=res_blocks, **at)
    y = torch.rand(3, 3, SIZE, SIZE)
    drawn = folded(G, psi_hat)(y)
    assert drawn.dtype == torch.float32 and drawn.std() > 0.01
    torch.testing.assert_close(drawn, G(y, psi_hat), rtol=0, atol=1e-5)


def test_in_bf16_it_is_as_near_to_full_precision_as_g_is():
    config = Networks.model_validate(published("sample")["learn"]["ff"]["networks"])
    G, psi_hat = made(config, 64)
    y = torch.rand(4, 3, 64, 64)
    exact = G(y, psi_hat)
    with torch.autocast("cpu", torch.bfloat16):
        unfolded = (G(y, psi_hat) - exact).abs()
    error = (folded(G, psi_hat, torch.bfloat16)(y) - exact).abs()
    assert error.max() < BF16 and error.mean() < BF16 / 10
    assert error.mean() < 1.5 * unfolded.mean()


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 1e-5), (torch.float64, 1e-12), (torch.bfloat16, 0.05)])
@pytest.mark.parametrize("side", [5, 40])
def test_its_norm_is_gs_norm_on_small_and_on_wide_maps(dtype, atol, side):
    x = (torch.randn(2, 6, side, side, dtype=dtype) * 3 + 1).contiguous(memory_format=torch.channels_last)
    weight, bias = torch.randn(2, 6, dtype=torch.promote_types(dtype, torch.float32))
    before, want = x.clone(), _NormReLU.apply(x, weight.expand(2, -1), bias.expand(2, -1))
    found = NormReLU(weight, bias, dtype)(x)
    torch.testing.assert_close(found, want, rtol=0, atol=atol)
    assert torch.equal(x, before) and found.is_contiguous(memory_format=torch.channels_last)


def test_attention_by_parts_of_the_map_is_attention_over_all_of_it():
    attention, x = Attention(16), torch.randn(2, 16, 32, 32)
    attention.gamma.data.fill_(0.5)
    assert x.shape[2] * x.shape[3] > ROWS
    with torch.no_grad():
        torch.testing.assert_close(SelfAttention(attention, torch.float32)(x), attention(x))


def test_where_there_is_no_cpu_cache_to_mind_all_positions_attend_at_once():
    x = torch.empty(2, 16, 32, 32, device="meta")
    assert SelfAttention(Attention(16), torch.float32).to("meta")(x).shape == x.shape


def test_a_frame_does_not_depend_on_the_batch_it_is_drawn_in():
    G, psi_hat = small()
    one, y = folded(G, psi_hat), torch.rand(5, 3, SIZE, SIZE)
    for part in (y[2:3], y[1:4], y.flip(0)[2:3]):
        torch.testing.assert_close(one(part)[len(part) // 2], one(y)[2], rtol=0, atol=1e-5)


def test_it_keeps_drawing_the_same_person_whatever_becomes_of_g_and_psi_hat():
    G, psi_hat = small()
    one, y = folded(G, psi_hat), torch.rand(1, 3, SIZE, SIZE)
    before = one(y)
    theirs = {tensor.untyped_storage().data_ptr() for tensor in (*G.parameters(), *G.buffers(), psi_hat)}
    assert not theirs & {tensor.untyped_storage().data_ptr() for tensor in (*one.parameters(), *one.buffers())}
    psi_hat.add_(1)
    for tensor in (*G.parameters(), *G.buffers()):
        tensor.add_(1)
    assert torch.equal(one(y), before)


def test_folding_changes_nothing_of_g_and_takes_one_person_at_a_time():
    G, psi_hat = small()
    G.train().requires_grad_(True)
    before = copy.deepcopy(G.state_dict())
    folded(G, psi_hat)
    torch.testing.assert_close(G.state_dict(), before, rtol=0, atol=0)
    assert G.training and all(parameter.requires_grad and parameter.grad is None for parameter in G.parameters())
    with pytest.raises(InputError, match=r"psi_hat .*\b2\b"):
        folded(G, psi_hat.expand(2, -1))


def test_it_has_no_gradient_no_spectral_norm_and_no_p():
    G, psi_hat = small()
    one = folded(G, psi_hat.requires_grad_())
    assert not any(parameter.requires_grad for parameter in one.parameters()) and not one.training
    assert not one(torch.rand(1, 3, SIZE, SIZE)).requires_grad
    layers = [layer for layer in one.modules() if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear))]
    assert layers and {type(layer) for layer in layers} == {nn.Conv2d, nn.ConvTranspose2d}


def test_folding_costs_no_multiplication():
    from torch.utils.flop_counter import FlopCounterMode
    G, psi_hat = small(attention_down=[], attention_up=[])
    one, y = folded(G, psi_hat), torch.rand(1, 3, SIZE, SIZE)
    counts = []
    for draw in (lambda: G(y, psi_hat), lambda: one(y)):
        with FlopCounterMode(display=False) as counter:
            draw()
        counts.append(counter.get_total_flops() // 2)
    assert counts[0] == counts[1] > 0


@pytest.mark.filterwarnings("ignore:No complete tensor")  # as torch calls weights in channels-last memory
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_comes_back_from_a_file_of_torch_export_and_draws_the_same_in_any_batch(tmp_path, dtype):
    G, psi_hat = made(networks(embedder=[4, 4, N], generator=[4, 8], attention_down=[16], attention_up=[32]), 32)
    one, y = folded(G, psi_hat, dtype), torch.rand(3, 3, 32, 32)
    frames = torch.export.Dim("frames", min=1, max=64)
    torch.export.save(torch.export.export(one, (y,), dynamic_shapes=({0: frames},)), tmp_path / "person.pt2")
    read = torch.export.load(tmp_path / "person.pt2").module()
    for batch in (y, y[:1], torch.rand(7, 3, 32, 32)):
        torch.testing.assert_close(read(batch), one(batch), rtol=0, atol=1e-5 if dtype == torch.float32 else 0.02)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_head_draws_with_it_in_the_precision_of_the_method(precision):
    ff, (x, y) = method("ff", precision=precision), person(8)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    with torch.no_grad():
        psi_hat = ff.G_mean.P(ff.embed(x, y))
    torch.testing.assert_close(ff.adapt(x, y)(y), folded(ff.G_mean, psi_hat, dtype)(y))
