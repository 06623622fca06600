"""X2Face's published files: imported whole, refused at the first difference, never run."""

import math
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from made_x2face import STAGE2, in_their_names, make, pictures, stored
from small import X2FACE as SETTINGS

from model.api import DataInfo
from model.backbones import registry
from model.methods.x2face import Config, X2Face
from model.published import importer
from pipeline.core.errors import InputError

KEYS = {name: tuple(int(n) for n in shape.strip("()").split(",") if n.strip()) for name, _, shape in
        (line.partition(" ") for line in (Path(__file__).parents[2] / "data" / "x2face_keys.txt").read_text().splitlines())}


def test_names_and_shapes_are_those_of_the_published_file():
    one = X2Face(Config.model_validate({**SETTINGS, "size": 256, "ngf": 64}), DataInfo(256, 1))
    ours = {name: tuple(value.shape) for name, value in in_their_names(one).items()}
    assert ours == {name: shape for name, shape in KEYS.items() if not name.endswith("num_batches_tracked")}
    assert len(ours) == 136 and one.parameters() == 64_771_840
    left = set(one.weights()) - set(one.published("").values())
    assert len(left) == 26 and all(name.endswith("num_batches_tracked") for name in left)


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    monkeypatch.setenv("TALKING_HEADS_WEIGHTS", str(tmp_path / "weights"))
    return tmp_path / "weights"


def deep() -> X2Face:
    """All 136 names in few numbers."""
    return make(size=256, ngf=1)


def imported(one: X2Face, path: Path, trust=False) -> X2Face:
    """A method that is used as the file says."""
    file = importer.import_weights(one, [path], "VoxCeleb1", trust)
    given = {"file": file.name, "sha256": registry.sha256(file)}
    settings = {**SETTINGS, "size": 256, "ngf": 1, "steps": 0, "pretrained": given}
    other = X2Face(Config.model_validate(settings), DataInfo(256, 1), 5)
    assert other.prepare() == "VoxCeleb1" and other.label == "X2Face (authors' weights)"
    assert other.backbones() == {file.name: given["sha256"]}
    return other


@pytest.mark.parametrize("kind", ["torch 0.2", "today", "bare", "parallel", "counted"])
def test_a_published_file_of_any_age_is_imported_and_draws_as_the_network_it_was_saved_from(kind, shelf, tmp_path):
    one, x = deep(), pictures(1, size=256)
    theirs = in_their_names(one)
    assert len(theirs) == 136
    if kind == "counted":
        theirs |= {name: torch.tensor(7) for name in KEYS if name.endswith("num_batches_tracked")}
        assert len(theirs) == 162
    content = {"parallel": {f"module.{name}": value for name, value in theirs.items()}, "bare": theirs}.get(
        kind, {"epoch": 3, "state_dict": theirs})
    options = {"_use_new_zipfile_serialization": False, "pickle_protocol": 2} if kind == "torch 0.2" else {}
    other = imported(one, stored(content, tmp_path / "x2face_model.pth", **options))
    torch.testing.assert_close(other.adapt(x, x)(x), one.adapt(x, x)(x), atol=0, rtol=0)
    assert sorted(path.name for path in shelf.iterdir()) == [other.config.pretrained.file]


def test_arrays_beside_the_weights_are_opened_only_on_trust(shelf, tmp_path):
    one, x = deep(), pictures(1, size=256)
    path = stored({"state_dict": in_their_names(one), "stats": np.zeros(3)}, tmp_path / "x2face_model.pth")
    with pytest.raises(InputError, match=r"x2face_model\.pth.*numpy.*--trust"):
        importer.import_weights(one, [path], "VoxCeleb1", False)
    assert not shelf.exists()
    torch.testing.assert_close(imported(one, path, True).adapt(x, x)(x), one.adapt(x, x)(x), atol=0, rtol=0)


def changed(kind: str, theirs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    first = "pix2pixUnwrapped.netG.model.up.2.weight"
    deepest = "pix2pixSampler.netG.model" + 7 * ".submodule" + ".down.1.weight"
    if kind == "renamed":
        return {name.replace("pix2pixSampler.netG.model.up.2", "pix2pixSampler.netG.model.up.9"): value
                for name, value in theirs.items()}
    return {"missing": {name: value for name, value in theirs.items() if name != deepest},
            "added": theirs | {"pix2pixSampler.netG.model.bias": torch.zeros(2)},
            "wide": theirs | {deepest: torch.zeros(512, 8, 4, 4)},
            "nan": theirs | {first: torch.full_like(theirs[first], math.nan)},
            "whole numbers": theirs | {first: theirs[first].long()},
            "sparse": theirs | {first: theirs[first].to_sparse()},
            "meta": theirs | {first: theirs[first].to("meta")},
            "pix2pixHD": {"model.1.weight": torch.zeros(64, 3, 7, 7), "model.1.bias": torch.zeros(64)}}[kind]


@pytest.mark.parametrize(("kind", "sentence"), [
    ("renamed", r"'pix2pixSampler\.netG\.model\.up\.2\.weight' \(136 tensors, .*136"),
    ("missing", r"'pix2pixSampler\.netG\.model(\.submodule){7}\.down\.1\.weight' \(135 tensors, .*136"),
    ("added", r"'pix2pixSampler\.netG\.model\.bias'"),
    ("wide", r"down\.1\.weight' .*\(512, 8, 4, 4\).*\(128, 8, 4, 4\)"),
    ("nan", r"'pix2pixUnwrapped\.netG\.model\.up\.2\.weight'"),
    ("whole numbers", r"up\.2\.weight'"),
    ("sparse", r"up\.2\.weight'"),
    ("meta", r"up\.2\.weight'"),
    ("pix2pixHD", r"'pix2pixUnwrapped\.netG\.model\.up\.2\.weight' \(2 tensors, .*136")])
def test_a_file_that_differs_is_refused_at_the_first_difference_and_nothing_is_written(kind, sentence, shelf, tmp_path):
    one = deep()
    path = stored({"state_dict": changed(kind, in_their_names(one))}, tmp_path / "x2face_model.pth")
    for trust in (False, True):
        with pytest.raises(InputError, match=sentence):
            importer.import_weights(one, [path], "VoxCeleb1", trust)
    assert not shelf.exists()


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("damage", ["cut", "empty", "text", "end"])
def test_a_broken_off_file_is_refused_with_a_sentence(zipped, damage, shelf, tmp_path):
    one = deep()
    path = stored({"state_dict": in_their_names(one)}, tmp_path / "x2face_model.pth", _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    path.write_bytes({"cut": whole[:len(whole) // 2], "empty": b"", "text": b"<html>404</html>", "end": whole[-22:]}[damage])
    with pytest.raises(InputError, match=r"x2face_model\.pth"):
        importer.import_weights(one, [path], "VoxCeleb1", False)
    assert not shelf.exists()


class Hostile:
    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self):
        return os.mkdir, (str(self.canary),)


@pytest.mark.parametrize("where", ["state_dict", "beside", "alone", "plain pickle"])
def test_code_in_a_file_does_not_run_and_the_file_is_refused_naming_it(where, shelf, tmp_path):
    one, canary, path = deep(), tmp_path / "ran", tmp_path / "x2face_model.pth"
    weights = in_their_names(one)
    hostile = Hostile(canary)
    if where == "plain pickle":
        path.write_bytes(pickle.dumps(hostile))
    else:
        stored({"state_dict": {"state_dict": weights | {"more": hostile}}, "beside": {"state_dict": weights, "more": hostile},
                "alone": hostile}[where], path)
    with pytest.raises(InputError, match=r"x2face_model\.pth"):
        importer.import_weights(one, [path], "VoxCeleb1", False)
    assert not canary.exists() and not shelf.exists()
    if where == "beside":  # the canary is one
        importer.opened(path, True)
        assert canary.exists()


def test_labels_say_whose_weights_draw_and_what_they_learnt_here():
    given = {"file": "x2face.safetensors", "sha256": "0"}
    for changes, label in (({}, "ours, stage I"), ({"steps": 0, "pretrained": given}, "authors' weights"),
                           ({"pretrained": given}, "ours, stage I"), ({"stage2": STAGE2}, "ours, stage I and II"),
                           ({"stage2": {**STAGE2, "start": 12}}, "ours, stage I")):
        assert make(**changes).label == f"X2Face ({label})"
