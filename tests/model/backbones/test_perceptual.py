"""The networks that a perceptual loss and the Fréchet distance look through compute what they should."""

import numpy as np
import pytest
import skimage.data
import torch
from made_vgg import hash_unknown, vgg_weights

from model.backbones import perceptual, registry
from model.backbones.perceptual import EFFICIENTNET_STAGES, to_size
from pipeline.core.errors import InputError


@pytest.mark.parametrize("pool", ["max", "avg"])
def test_vgg19_taps_are_torchvisions_relu_layers_1_6_11_20_29(weights, monkeypatch, pool):
    hash_unknown(monkeypatch, "vgg19_torchvision")
    tensors = vgg_weights("vgg19", numbered=True)
    torch.save(tensors, weights / "vgg19-dcbb9e9d.pth")
    layers: list[torch.nn.Module] = []
    for c_out in [64, 64, "M", 128, 128, "M", *[256] * 4, "M", *[512] * 4, "M", 512]:  # torchvision's configuration E
        if c_out == "M":
            layers.append(torch.nn.MaxPool2d(2) if pool == "max" else torch.nn.AvgPool2d(2))
            continue
        conv = torch.nn.Conv2d(1, 1, 3, padding=1)
        for part in ("weight", "bias"):
            setattr(conv, part, torch.nn.Parameter(tensors[f"features.{len(layers)}.{part}"]))
        layers += [conv, torch.nn.ReLU()]
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    h = (x - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    expected = []
    for n, layer in enumerate(layers):
        h = layer(h)
        if n in (1, 6, 11, 20, 29):
            expected.append(h.detach())
    net = perceptual.vgg19("torchvision", pool)
    for tap, want in zip(net.taps(x), expected, strict=True):
        torch.testing.assert_close(tap, want, rtol=1e-4, atol=1e-4)
    assert not any(p.requires_grad for p in net.parameters())


def test_both_naming_schemes_give_the_same_vggface(weights):
    nets = []
    for numbered in (False, True):
        torch.save(vgg_weights("vggface", numbered), weights / "vgg_face_dag.pth")
        nets.append(perceptual.vggface())
        (weights / registry.TRUSTED).unlink()
    x = torch.rand(1, 3, 32, 32)
    shapes = [tuple(tap.shape) for tap in nets[0].taps(x)]
    assert shapes == [(1, 64, 32, 32), (1, 128, 16, 16), (1, 256, 8, 8), (1, 512, 4, 4), (1, 512, 2, 2)]
    assert all(torch.equal(a, b) for a, b in zip(nets[0].taps(x), nets[1].taps(x)))


def test_caffes_vgg19_sees_bgr_0_to_255_minus_the_means(weights, monkeypatch):
    hash_unknown(monkeypatch, "vgg19_caffe")
    tensors = vgg_weights("vgg19", numbered=True)
    tensors["features.0.weight"].zero_()
    tensors["features.0.bias"].zero_()
    tensors["features.0.weight"][:3, :, 1, 1] = torch.eye(3)  # its first three maps are its input
    torch.save(tensors, weights / "vgg19-d01eb7cb.pth")
    red = torch.tensor([1.0, 0.6, 0.5])[None, :, None, None].expand(1, 3, 16, 16)
    seen = perceptual.vgg19().taps(red)[0][0, :3, 8, 8]
    torch.testing.assert_close(seen, torch.tensor([127.5 - 103.939, 153 - 116.779, 255 - 123.68]))


def test_the_first_tensor_that_differs_is_named(weights, vggface_file):
    good = vgg_weights("vggface", numbered=False)
    for change, words in ((lambda t: t.pop("conv3_2.bias"), r"'conv3_2\.bias'"),
                          (lambda t: t.update({"conv4_1.weight": torch.zeros(1)}), r"'conv4_1\.weight' .*\(1,\)"),
                          (lambda t: t.update({"conv2_1_bn.weight": torch.zeros(1)}), r"'conv2_1_bn\.weight'")):
        tensors = dict(good)
        change(tensors)
        torch.save(tensors, vggface_file)
        with pytest.raises(InputError, match=words):
            perceptual.vggface()


def test_vgg16_is_not_taken_for_vgg19(weights, monkeypatch):
    hash_unknown(monkeypatch, "vgg19_caffe")
    torch.save(vgg_weights("vggface", numbered=True), weights / "vgg19-d01eb7cb.pth")
    with pytest.raises(InputError, match=r"'features\.16\.weight'"):
        perceptual.vgg19()


@pytest.fixture(scope="module")
def efflite0():
    return perceptual.efflite0()


def square(name):
    image = getattr(skimage.data, name)()
    h, w = image.shape[:2]
    side = min(h, w)
    image = image[(h - side) // 2:(h + side) // 2, (w - side) // 2:(w + side) // 2]
    return torch.from_numpy(image.copy()).permute(2, 0, 1)[None] / 255


@pytest.mark.parametrize("picture, classes", [("chelsea", {281, 282, 285}), ("coffee", {967}), ("rocket", {657})])
def test_efficientnet_knows_a_cat_an_espresso_and_a_missile(efflite0, picture, classes):
    assert int(efflite0.classify(to_size(square(picture), 224)).argmax()) in classes


def test_efficientnet_is_sure_of_the_espresso_only_in_rgb(efflite0):
    coffee = to_size(square("coffee"), 224)
    rgb, bgr = (efflite0.classify(x).softmax(1)[0, 967] for x in (coffee, coffee.flip(1)))
    assert rgb > 0.93 and bgr < 0.88


def test_its_taps_have_strides_2_4_8_16_and_the_measured_size(efflite0):
    taps = efflite0.taps(to_size(square("astronaut"), 64))
    assert [tuple(t.shape) for t in taps] == [(1, 32, 32, 32), (1, 24, 16, 16), (1, 40, 8, 8), (1, 112, 4, 4)]
    np.testing.assert_allclose([float(t.abs().mean()) for t in taps[:2]], [2.0, 8.7], rtol=0.1)


def test_odd_sizes_are_padded_as_tensorflow_does(efflite0):
    assert efflite0.taps(torch.rand(1, 3, 65, 63))[0].shape[2:] == (33, 32)


def test_the_network_is_frozen_and_the_image_gets_a_gradient(efflite0):
    x = torch.rand(1, 3, 64, 64, requires_grad=True)
    sum(t.mean() for t in efflite0.taps(x)).backward()
    assert not any(p.requires_grad for p in efflite0.parameters())
    assert float(x.grad.abs().sum()) > 0


def test_train_mode_and_neighbours_in_the_batch_change_nothing(efflite0):
    x = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    together, alone = efflite0.pool(x), efflite0.train().pool(x[:1])
    efflite0.eval()
    torch.testing.assert_close(together[:1], alone, rtol=1e-4, atol=1e-4)
    assert together.shape == (3, 1280)


def test_under_bfloat16_autocast_the_cpu_keeps_float32(efflite0):
    x = torch.rand(1, 3, 64, 64)
    with torch.autocast("cpu", torch.bfloat16):
        assert all(torch.equal(a, b) for a, b in zip(efflite0.taps(x.bfloat16()), efflite0.taps(x.bfloat16().float())))


def test_a_renamed_tensor_of_efficientnet_is_named():
    from model.backbones.perceptual import EfficientNetLite0

    tensors = registry.state("efflite0")
    tensors["_blocks.3.oops"] = tensors.pop("_blocks.3._bn1.weight")
    with pytest.raises(InputError, match=r"'_blocks\.3\._bn1\.weight' \(144,\)"):
        EfficientNetLite0(tensors)
    assert sum(stage[0] for stage in EFFICIENTNET_STAGES) == 16
