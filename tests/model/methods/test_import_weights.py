"""From a published file to a row of its own: import, train for no step, adapt."""

import sys

import made_faces
import made_params
import pytest
import torch
from small import SIZE, X2FACE, method, settings

from eval import generation
from model.backbones import registry
from pipeline.core import stage as core_stage
from pipeline.core.manifest import read_manifest
from stages import adapt, import_weights, train


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setattr(core_stage, "ROOT", tmp_path)
    monkeypatch.setattr(core_stage, "die_with_parent", lambda _: None)
    monkeypatch.setenv("TALKING_HEADS_WEIGHTS", str(tmp_path / "weights"))
    made_faces.write(tmp_path / "data", people=4)
    write(tmp_path, X2FACE)
    yield tmp_path
    generation.opened.cache_clear()


def write(root, section):
    made_params.write(root, {"methods": ["x2face"], "shots": [1], "train": {"readers": 2}, "cross": {"frames": 2}},
                      made={"learn": {"x2face": section, "mean": {"size": SIZE, "steps": 0, "batch": 1, "K": 1}}})


def call(stage, root, *words, out=""):
    if out:
        words += ("--method", "x2face", "--out", str(root / out))
        words += tuple(word for name in ("frames", "landmarks", "split") for word in (f"--{name}", str(root / "data" / name)))
    sys.argv = ["stage", *words, "--dataset", "made", "--params", str(root / "params.yaml")]
    stage.main()


def published(root):
    """A file as the authors wrote theirs: their names, under `state_dict`."""
    one = method("x2face")
    one.seed = 1
    names = {theirs: one.weights()[ours] for theirs, ours in one.published("").items()}
    torch.save({"state_dict": names, "epoch": 3}, root / "x2face_model.pth")
    return one, root / "x2face_model.pth"


def test_an_imported_file_is_used_as_it_is_and_every_output_says_whose_it_is(root, capsys):
    one, file = published(root)
    call(import_weights, root, "x2face", str(file), "--trained-on", "VoxCeleb1 (the authors)")
    (kept,) = (root / "weights").glob("*.safetensors")
    printed = capsys.readouterr().out
    assert f"pretrained: {{file: {kept.name}, sha256: {registry.sha256(kept)}}}" in printed
    assert "params/made.yaml: learn.x2face" in printed

    write(root, {**X2FACE, "steps": 0, "pretrained": {"file": kept.name, "sha256": registry.sha256(kept)}})
    call(train, root, out="model")
    manifest = read_manifest(root / "model", "model")
    assert (manifest["label"], manifest["trained_on"]) == ("X2Face (authors' weights)", "VoxCeleb1 (the authors)")
    assert manifest["backbones"] == {kept.name: registry.sha256(kept)} and manifest["parameters"] == one.parameters()

    from safetensors.torch import load_file
    assert all(torch.equal(value, one.weights()[name]) for name, value in load_file(root / "model/weights.safetensors").items())
    call(adapt, root, "--shots", "1", "--model", str(root / "model"), out="images")
    images = read_manifest(root / "images", "images")
    assert [images[key] for key in ("label", "driven_by", "trained_on")] == [
        "X2Face (authors' weights)", "frames", "VoxCeleb1 (the authors)"]


def test_what_is_trained_here_says_so(root):
    write(root, {**settings("x2face"), "steps": 2, "augment": {"flip": False, "gain": 0.0, "hue": 0.0, "stretch": 0.0}})
    call(train, root, out="model")
    manifest = read_manifest(root / "model", "model")
    assert (manifest["label"], manifest["trained_on"]) == ("X2Face (ours, stage I)", "made: 6 videos, 6 targets")


def test_a_changed_import_is_not_used(root):
    _, file = published(root)
    call(import_weights, root, "x2face", str(file), "--trained-on", "VoxCeleb1")
    (kept,) = (root / "weights").glob("*.safetensors")
    write(root, {**X2FACE, "steps": 0, "pretrained": {"file": kept.name, "sha256": "0" * 64}})
    with pytest.raises(ValueError, match=rf"{registry.sha256(kept)}.*pretrained\.sha256 .*0{{64}}"):
        call(train, root, out="model")
    assert not (root / "model").exists()


@pytest.mark.parametrize(("which", "said"), [("mean", "mean"), ("x2fac", "'x2face'")])
def test_a_method_without_published_weights_is_refused(which, said, root):
    _, file = published(root)
    with pytest.raises(ValueError, match=said):
        call(import_weights, root, which, str(file), "--trained-on", "VoxCeleb1")
