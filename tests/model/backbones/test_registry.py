"""Weights files: whole, the right ones, never run as code; and the networks built from them compute what they should."""

import dataclasses
import io
import json
import os
import pickle
import sys
import urllib.error
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch

from model.backbones import __main__, perceptual, registry
from model.backbones.perceptual import EFFICIENTNET_STAGES, to_size
from model.backbones.torchvision_shim import nms
from pipeline.core.errors import InputError

ROOT = Path(__file__).resolve().parents[3]
SHIPPED = [name for name, entry in registry.REGISTRY.items() if entry.package]


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """An empty weights folder of the user's."""
    monkeypatch.setenv("TALKING_HEADS_WEIGHTS", str(tmp_path))
    return tmp_path


def hash_unknown(monkeypatch, name):
    monkeypatch.setitem(registry.REGISTRY, name, dataclasses.replace(registry.REGISTRY[name], sha256=""))


@pytest.mark.parametrize("name", SHIPPED)
def test_the_files_of_the_installed_packages_are_those_of_the_registry(name, weights):
    entry = registry.REGISTRY[name]
    assert registry.require(name).is_file()
    assert registry.hashes(name) == {entry.file: entry.sha256}


def test_finding_a_packages_weights_runs_none_of_its_code(weights, monkeypatch):
    for name in SHIPPED:
        monkeypatch.delitem(sys.modules, registry.REGISTRY[name].package, raising=False)
        registry.require(name)
        assert registry.REGISTRY[name].package not in sys.modules


def test_the_users_folder_comes_before_the_package(weights):
    shipped = registry.require("mtcnn_pnet")
    (weights / "pnet.pt").write_bytes(shipped.read_bytes())
    assert registry.require("mtcnn_pnet") == weights / "pnet.pt" != shipped


def test_another_file_of_the_right_name_and_size_is_refused_with_both_hashes_and_the_way_out(weights):
    (weights / "pnet.pt").write_bytes(bytes(28570))
    with pytest.raises(InputError) as refused:
        registry.find("mtcnn_pnet")
    for part in (str(weights / "pnet.pt"), registry.sha256(weights / "pnet.pt"),
                 registry.REGISTRY["mtcnn_pnet"].sha256, "install the package facenet-pytorch"):
        assert part in str(refused.value)


def test_a_file_cut_short_is_refused_with_its_size(weights):
    (weights / "pnet.pt").write_bytes(registry.require("mtcnn_pnet").read_bytes()[:-1])
    with pytest.raises(InputError, match=r"28569 bytes where pnet\.pt has 28570"):
        registry.find("mtcnn_pnet")


def test_a_file_changed_after_it_was_verified_is_looked_at_again(weights):
    path = weights / "pnet.pt"
    path.write_bytes(registry.require("mtcnn_pnet").read_bytes())
    registry.find("mtcnn_pnet")
    path.write_bytes(bytes(28570))
    os.utime(path, ns=(1, 1))
    with pytest.raises(InputError, match="another file"):
        registry.find("mtcnn_pnet")


def test_where_only_the_start_of_a_hash_is_known_that_start_is_held_to(weights):
    (weights / "vgg19-dcbb9e9d.pth").write_bytes(b"no weights")
    with pytest.raises(InputError, match="has dcbb9e9d…"):
        perceptual.vgg19("torchvision")


@pytest.mark.parametrize("build, file", [(perceptual.vggface, "vgg_face_dag.pth"), (perceptual.vgg19, "vgg19-d01eb7cb")])
def test_a_missing_network_is_refused_with_where_to_get_it(build, file, weights):
    with pytest.raises(InputError, match=f"{file}.* is missing: put it into .*--fetch .*https://"):
        build()
    assert registry.find("vggface_caffe") is None


class Attack:
    def __reduce__(self):
        return os.mkdir, ("ran",)


def test_code_in_a_pickle_is_never_run(weights, monkeypatch):
    monkeypatch.chdir(weights)
    for write in (lambda path: torch.save({"conv1_1.weight": Attack()}, path),
                  lambda path: path.write_bytes(pickle.dumps(Attack(), protocol=2))):
        write(weights / "vgg_face_dag.pth")
        with pytest.raises(InputError, match=r"vgg_face_dag.pth is not a file of plain tensors"):
            perceptual.vggface()
        assert not (weights / "ran").exists()
    assert not (weights / registry.TRUSTED).exists()


# VGG


def vgg_weights(kind, numbered, seed=0):
    """Small random weights under the names of the published files, the unused layers included."""
    from model.backbones.perceptual import VGG_CHANNELS, VGG_CONVS

    generator, found, c, index = torch.Generator().manual_seed(seed), {}, 3, 0
    for block, (count, c_out) in enumerate(zip(VGG_CONVS[kind], VGG_CHANNELS), 1):
        for n in range(1, count + 1):
            name = f"features.{index}" if numbered else f"conv{block}_{n}"
            unused = block == 5 and n > 1
            found[f"{name}.weight"] = (torch.zeros(1) if unused else
                                       torch.randn(c_out, c, 3, 3, generator=generator) * (2 / (9 * c)) ** 0.5)
            found[f"{name}.bias"] = torch.randn(1 if unused else c_out, generator=generator)
            c, index = c_out, index + 2
        index += 1
    head = ("classifier.0", "classifier.3", "classifier.6") if numbered else ("fc6", "fc7", "fc8")
    return found | {f"{name}.{part}": torch.zeros(1) for name in head for part in ("weight", "bias")}


@pytest.fixture
def vggface_file(weights):
    torch.save(vgg_weights("vggface", numbered=False), weights / "vgg_face_dag.pth")
    return weights / "vgg_face_dag.pth"


def test_a_file_without_a_known_hash_is_held_to_from_its_first_use_on(vggface_file, weights, capsys):
    perceptual.vggface()
    first = registry.sha256(vggface_file)
    assert json.loads((weights / registry.TRUSTED).read_text()) == {"vgg_face_dag.pth": first}
    assert first in capsys.readouterr().err
    perceptual.vggface()
    assert capsys.readouterr().err == ""
    torch.save(vgg_weights("vggface", numbered=False, seed=1), vggface_file)
    with pytest.raises(InputError, match=f"where the file first used had {first}"):
        perceptual.vggface()


def test_a_damaged_record_of_trusted_files_is_refused(vggface_file, weights):
    (weights / registry.TRUSTED).write_text("{")
    with pytest.raises(InputError, match=r"trusted.json is not a JSON object"):
        perceptual.vggface()


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
    for change, words in ((lambda t: t.pop("conv3_2.bias"), "has no tensor 'conv3_2.bias'"),
                          (lambda t: t.update({"conv4_1.weight": torch.zeros(1)}), r"'conv4_1.weight' .*\(1,\)"),
                          (lambda t: t.update({"conv2_1_bn.weight": torch.zeros(1)}), "a tensor 'conv2_1_bn.weight'")):
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


# EfficientNet-Lite0


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
    with pytest.raises(InputError, match=r"has no tensor '_blocks.3._bn1.weight' \(144,\)"):
        EfficientNetLite0(tensors)
    assert sum(stage[0] for stage in EFFICIENTNET_STAGES) == 16


# torchvision beside a CPU torch


def brute_force_nms(boxes, scores, threshold):
    def iou(a, b):
        w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
        both = max(w, 0) * max(h, 0)
        return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)

    kept = []
    for i in sorted(range(len(scores)), key=lambda i: -scores[i]):
        if all(iou(boxes[i], boxes[j]) <= threshold for j in kept):
            kept.append(i)
    return kept


@pytest.mark.parametrize("n", [0, 1, 60])
def test_nms_keeps_what_brute_force_keeps(n):
    generator = torch.Generator().manual_seed(n)
    corner = torch.rand(n, 2, generator=generator, dtype=torch.float64)
    boxes = torch.cat([corner, corner + 0.05 + torch.rand(n, 2, generator=generator, dtype=torch.float64)], 1)
    scores = torch.rand(n, generator=generator)
    for threshold in (0.0, 0.3, 0.7):
        assert nms(boxes, scores, threshold).tolist() == brute_force_nms(boxes.tolist(), scores.tolist(), threshold)


def test_after_the_shim_torchvision_imports_and_its_nms_runs():
    registry.torchvision_ops()
    registry.torchvision_ops()  # a second call does nothing
    from torchvision.ops import nms as torchvisions

    boxes = torch.tensor([[0.0, 0, 2, 2], [0, 0, 2, 2.1], [3, 3, 4, 4]])
    assert torchvisions(boxes, torch.tensor([0.1, 0.9, 0.5]), 0.5).tolist() == [1, 2]


# Downloading


class Answer(io.BytesIO):
    def __init__(self, body, status=200, length=None):
        super().__init__(body)
        self.status, self.headers = status, {"Content-Length": str(len(body) if length is None else length)}


@pytest.fixture
def entry(weights, monkeypatch):
    """A file of 10 bytes to download."""
    import hashlib

    entry = dataclasses.replace(registry.REGISTRY["fid_inception"], name="ten", file="ten.bin", bytes=10,
                                sha256=hashlib.sha256(b"0123456789").hexdigest(), source="https://example.org/ten.bin")
    monkeypatch.setitem(registry.REGISTRY, "ten", entry)
    return entry


def test_a_download_that_breaks_off_is_gone_on_from(entry, weights, capsys):
    asked = []

    def broken(request, timeout):
        return Answer(b"0123", length=10)

    def rest(request, timeout):
        asked.append(request.get_header("Range"))
        return Answer(b"456789", status=206)

    assert __main__.fetch([entry], broken) == 1
    assert "ten.bin" in capsys.readouterr().err and not (weights / "ten.bin").exists()
    assert __main__.fetch([entry], rest) == 0
    assert asked == ["bytes=4-"] and (weights / "ten.bin").read_bytes() == b"0123456789"


def test_a_server_that_cannot_go_on_starts_anew(entry, weights):
    (weights / "ten.bin.part").write_bytes(b"0123")
    assert __main__.fetch([entry], lambda request, timeout: Answer(b"0123456789")) == 0


def test_a_wrong_download_is_not_kept(entry, weights, capsys):
    assert __main__.fetch([entry], lambda request, timeout: Answer(b"9876543210")) == 1
    assert list(weights.iterdir()) == []
    assert "nothing was kept" in capsys.readouterr().err


def test_without_a_network_each_missing_file_is_one_sentence(entry, capsys):
    def nowhere(request, timeout):
        raise urllib.error.URLError("Name or service not known")

    assert __main__.fetch([entry, registry.REGISTRY["fan"]], nowhere) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and all("by other means and put it into" in line for line in lines)


def test_only_https_is_followed():
    with pytest.raises(urllib.error.URLError, match="not https"):
        __main__._OnlyHttps().redirect_request(None, None, 302, "", {}, "http://example.org/ten.bin")
    assert all(e.source.startswith("https://") for e in registry.REGISTRY.values() if not e.package)


def test_the_listing_names_every_file_and_fails_on_a_wrong_one(weights, capsys):
    assert __main__.main([]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in registry.REGISTRY) and "WRONG" not in printed
    (weights / "pnet.pt").write_bytes(b"")
    assert __main__.main([]) == 1
    assert "WRONG   mtcnn_pnet" in capsys.readouterr().out


def test_every_weights_file_is_in_the_notice_and_the_folders_readme():
    texts = (ROOT / "NOTICE").read_text(), (ROOT / "weights" / "README.md").read_text()
    for entry in registry.REGISTRY.values():
        for text in texts:
            assert entry.file in text, entry.file
        assert entry.sha256 in texts[1], entry.file
