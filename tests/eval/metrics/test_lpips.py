"""LPIPS from the files that a user brings; its numbers are held against torchmetrics' in test_known_answers.py."""

import dataclasses

import pytest
import torch
from made_metrics import lpips_net, lpips_trunk, smooth

from eval.scoring import metric
from model.backbones import lpips_networks, registry
from pipeline.core.errors import InputError


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """A weights folder with a random AlexNet under the published name."""
    monkeypatch.setenv("TALKING_HEADS_WEIGHTS", str(tmp_path))
    entry = registry.REGISTRY["alexnet"]
    monkeypatch.setitem(registry.REGISTRY, "alexnet", dataclasses.replace(entry, sha256="", bytes=None))
    torch.save(lpips_trunk("alex") | {"classifier.1.weight": torch.zeros(1)}, tmp_path / entry.file)
    return tmp_path / entry.file


def test_the_network_is_built_from_the_trunk_of_the_user_and_the_heads_of_the_package(weights):
    found = metric.load("lpips_alex")
    assert found.missing() is None and sorted(found.backbones) == ["alexnet-owt-7be5be79.pth", "lpips-v0.1-alex.pth"]
    x, y = (torch.from_numpy(smooth(seed, n=2)) for seed in (1, 2))
    assert torch.equal(lpips_networks.build("alex")(x, y), lpips_net("alex")(x, y))


def test_another_networks_file_is_refused_naming_the_tensor(weights):
    torch.save(lpips_trunk("vgg"), weights)
    with pytest.raises(InputError, match=r"features\.0\.weight"):
        lpips_networks.build("alex")


def test_without_its_trunk_the_column_is_missing_with_a_sentence_and_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setenv("TALKING_HEADS_WEIGHTS", str(tmp_path))
    for name, file in (("lpips_alex", "alexnet-owt-7be5be79.pth"), ("lpips_vgg", "vgg16-397923af.pth")):
        why = metric.load(name).missing()
        assert file in why and "--fetch" in why and "lpips-v0.1" not in why


@pytest.mark.parametrize("net, size", [("alex", 31), ("vgg", 15)])
def test_frames_too_small_for_the_trunk_are_refused_and_the_least_size_is_not(net, size):
    x = torch.rand(1, 3, size, size)
    with pytest.raises(InputError, match=f"{size}x{size}"):
        lpips_net(net)(x, x)
    x = torch.rand(1, 3, size + 1, size + 1)
    assert lpips_net(net)(x, x).tolist() == [0]
