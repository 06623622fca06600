import pytest
import torch
from small import SIZE, Eyes, networks
from torch import nn

from model.few_shot import losses
from model.few_shot.networks import Discriminator


@pytest.fixture
def eyes(monkeypatch):
    """Frozen features without weights files: every backbone is a small random net."""
    backbones = pytest.importorskip("model.backbones.perceptual")
    made = {}
    for name in ("efflite0", "vgg19", "vggface"):
        monkeypatch.setattr(backbones, name, lambda *args, name=name: made.setdefault(name, Eyes()))
    return made


def pyramid(**changes):
    return losses.Pyramid.model_validate({"kind": "pyramid", "weight": 2.0, "scales": 2, "gradient": 0.5, "perceptual": 1.0,
                                          "levels": [1.0, 2.0], **changes})


VGG = {"kind": "vgg", "preset": "v2", "weights": "caffe", "pool": "max", "face": True}


def images():
    draw = torch.Generator().manual_seed(0)
    return torch.rand(2, 3, SIZE, SIZE, generator=draw), torch.rand(2, 3, SIZE, SIZE, generator=draw).requires_grad_()


def test_the_presets_hold_the_weights_of_both_versions_of_the_paper():
    assert losses.PRESETS["v1"] == {"vgg19": 0.01, "vggface": 0.002, "features": 10, "matching": 80}
    assert losses.PRESETS["v2"] == {"vgg19": 0.15, "vggface": 0.025, "features": 10, "matching": 10}


def test_the_vgg_content_loss_is_the_weighted_l1_between_the_maps_of_both_networks(eyes):
    x, x_hat = images()
    loss = losses.Content(losses.Vgg.model_validate(VGG))(x, x_hat)
    distance = sum((a - b).abs().mean() for a, b in zip(Eyes().taps(x), Eyes().taps(x_hat)))
    torch.testing.assert_close(loss, 0.15 * distance + 0.025 * distance)
    alone = losses.Content(losses.Vgg.model_validate(VGG | {"face": False, "preset": "v1"}))(x, x_hat)
    torch.testing.assert_close(alone, 0.01 * distance)


@pytest.mark.parametrize("config", [losses.Vgg.model_validate(VGG), pyramid()], ids=["vgg", "pyramid"])
def test_the_content_loss_is_0_for_equal_images_and_moves_the_drawn_one_only(eyes, config):
    content, (x, x_hat) = losses.Content(config), images()
    x.requires_grad_()
    assert content(x, x).item() == 0
    content(x, x_hat).backward()
    assert x.grad is None and x_hat.grad.abs().sum() > 0
    assert list(content.parameters()) and all(p.grad is None and not p.requires_grad for p in content.parameters())


def test_the_frozen_networks_see_rgb_upright_as_it_was_given(eyes):
    x = torch.zeros(1, 3, SIZE, SIZE)
    x[0, 0, 2, 11] = 1  # red, above the middle, right of it
    content = losses.Content(pyramid())
    content(x, torch.zeros_like(x))
    assert torch.equal(eyes["efflite0"].seen[0], x)


def test_the_pyramid_compares_pixels_and_gradients_at_each_scale():
    x = torch.zeros(1, 3, 4, 4)
    flat = torch.full_like(x, 0.5)
    assert losses.l_pyramid(x, flat, 2, 1.0).item() == pytest.approx(0.5)  # no gradient anywhere
    stripes = x.clone()
    stripes[..., ::2] = 1.0  # pixels .5, d/dx 1, d/dy 0; at half size flat .5
    assert losses.l_pyramid(x, stripes, 2, 0.5).item() == pytest.approx((0.5 + 0.5 + 0.5) / 2)


@pytest.mark.parametrize(("r", "r_hat", "loss"), [(2.0, -2.0, 0.0), (0.0, 0.0, 2.0), (-1.0, 1.0, 4.0), (0.5, -3.0, 0.5)])
def test_the_hinge_rests_once_real_and_fake_are_a_margin_of_1_away(r, r_hat, loss):
    assert losses.l_dsc(torch.tensor([r]), torch.tensor([r_hat])).item() == loss


def test_feature_matching_is_a_mean_over_blocks_without_gradient_into_the_real_image():
    real, fake = ([torch.full((1, 2, 2, 2), value, requires_grad=True) for value in pair] for pair in ((1.0, 2.0), (0.0, 5.0)))
    loss = losses.l_fm(real, fake)
    assert loss.item() == 2
    loss.backward()
    assert all(f.grad is None for f in real) and all(f.grad.abs().sum() > 0 for f in fake)


def test_feature_matching_leaves_d_and_the_real_image_alone():
    from model.few_shot.adversarial import generator_terms
    D, (x, x_hat), y = Discriminator(networks(), SIZE, 2), images(), torch.rand(2, 3, SIZE, SIZE)
    x.requires_grad_()
    terms = generator_terms(nn.L1Loss(), D, x, y, x_hat, D.W(torch.tensor([0, 1])) + D.w_0)
    (terms["l_fm"] + terms["l_adv"]).backward()
    assert x.grad is None and x_hat.grad.abs().sum() > 0
    assert all(parameter.grad is None and parameter.requires_grad for parameter in D.parameters())


def test_l_mch_pulls_every_frame_and_the_column_together():
    e = torch.tensor([[[1.0, 0.0], [3.0, 0.0]]], requires_grad=True)  # B 1, K 2, N 2
    w_i = torch.tensor([[2.0, 1.0]], requires_grad=True)
    loss = losses.l_mch(e, w_i)
    assert loss.item() == 1
    loss.backward()
    assert torch.equal(e.grad.sign(), torch.tensor([[[-1.0, -1.0], [1.0, -1.0]]])) and w_i.grad[0, 1] == 0.5
