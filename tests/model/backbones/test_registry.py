"""Weights files: whole, the right ones, never run as code."""

import json
import os
import pickle
import sys
from pathlib import Path

import pytest
import torch
from made_vgg import vgg_weights

from model.backbones import perceptual, registry
from pipeline.core.errors import InputError

ROOT = Path(__file__).resolve().parents[3]
SHIPPED = [name for name, entry in registry.REGISTRY.items() if entry.package]


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
                 registry.REGISTRY["mtcnn_pnet"].sha256, "facenet-pytorch"):
        assert part in str(refused.value)


def test_a_file_cut_short_is_refused_with_its_size(weights):
    (weights / "pnet.pt").write_bytes(registry.require("mtcnn_pnet").read_bytes()[:-1])
    with pytest.raises(InputError, match=r"28569 .*pnet\.pt .*28570"):
        registry.find("mtcnn_pnet")


def test_a_file_changed_after_it_was_verified_is_looked_at_again(weights):
    path = weights / "pnet.pt"
    path.write_bytes(registry.require("mtcnn_pnet").read_bytes())
    registry.find("mtcnn_pnet")
    path.write_bytes(bytes(28570))
    os.utime(path, ns=(1, 1))
    with pytest.raises(InputError, match=r"pnet\.pt"):
        registry.find("mtcnn_pnet")


def test_where_only_the_start_of_a_hash_is_known_that_start_is_held_to(weights):
    (weights / "vgg19-dcbb9e9d.pth").write_bytes(b"no weights")
    with pytest.raises(InputError, match=r"vgg19-dcbb9e9d\.pth.* dcbb9e9d"):
        perceptual.vgg19("torchvision")


@pytest.mark.parametrize("build, file", [(perceptual.vggface, "vgg_face_dag.pth"), (perceptual.vgg19, "vgg19-d01eb7cb")])
def test_a_missing_network_is_refused_with_where_to_get_it(build, file, weights):
    with pytest.raises(InputError, match=f"{file}.*--fetch .*https://"):
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
        with pytest.raises(InputError, match=r"vgg_face_dag\.pth"):
            perceptual.vggface()
        assert not (weights / "ran").exists()
    assert not (weights / registry.TRUSTED).exists()


def test_a_file_without_a_known_hash_is_held_to_from_its_first_use_on(vggface_file, weights, capsys):
    perceptual.vggface()
    first = registry.sha256(vggface_file)
    assert json.loads((weights / registry.TRUSTED).read_text()) == {"vgg_face_dag.pth": first}
    assert first in capsys.readouterr().err
    perceptual.vggface()
    assert capsys.readouterr().err == ""
    torch.save(vgg_weights("vggface", numbered=False, seed=1), vggface_file)
    with pytest.raises(InputError, match=rf"vgg_face_dag\.pth.*{first}"):
        perceptual.vggface()


def test_a_damaged_record_of_trusted_files_is_refused(vggface_file, weights):
    (weights / registry.TRUSTED).write_text("{")
    with pytest.raises(InputError, match=r"trusted\.json"):
        perceptual.vggface()


def test_every_weights_file_is_in_the_notice_and_the_folders_readme():
    texts = (ROOT / "NOTICE").read_text(), (ROOT / "weights" / "README.md").read_text()
    for entry in registry.REGISTRY.values():
        for text in texts:
            assert entry.file in text, entry.file
        assert entry.sha256 in texts[1], entry.file
