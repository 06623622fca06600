"""Pix2pixHD's published files: imported whole, refused at the first difference, never run."""

import os

import pytest
import torch
from made_pix2pixhd import kept, made, named

from model.backbones import registry
from model.published.importer import import_weights
from pipeline.core.errors import InputError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder of weights."""
    monkeypatch.setenv("TALKING_HEADS_WEIGHTS", str(tmp_path / "weights"))
    return tmp_path / "weights"


def given(file, **changes):
    return made(pretrained={"file": file.name, "sha256": registry.sha256(file)}, **changes)


def test_g_and_d_are_imported_and_drawn_with_unchanged(folder, tmp_path):
    one = made()
    states = {kind: named(one, kind, seed) for seed, kind in enumerate(("G", "D"))}
    old = states["G"] | {"model.2.running_mean": torch.zeros(4), "model.2.running_var": torch.ones(4),
                         "model.2.num_batches_tracked": torch.tensor(3)}
    files = [kept({f"module.{name}": value for name, value in old.items()}, tmp_path / "latest_net_G.pth"),
             kept(states["D"], tmp_path / "latest_net_D.pth")]
    out = import_weights(one, files, "VoxCeleb1", trust=False)
    other = given(out, steps=0)
    assert other.prepare() == "VoxCeleb1" and other.label == "Pix2pixHD (imported weights)"
    for kind in ("G", "D"):
        assert all(torch.equal(states[kind][theirs], other.weights()[ours]) for theirs, ours in one.published(kind).items())
    assert list(folder.iterdir()) == [out]


def test_g_alone_may_be_imported_and_d_then_starts_afresh(folder, tmp_path):
    one = made()
    state = named(one, "G")
    other = given(import_weights(one, [kept(state, tmp_path / "G.pth")], "faces", trust=False))
    other.prepare()
    assert other.label == "Pix2pixHD (ours)" and made().label == "Pix2pixHD (ours)"
    assert torch.equal(other.G.head.weight, state["model.1.weight"])
    assert all(torch.equal(a, b) for a, b in zip(other.D.parameters(), made().D.parameters()))


def without(state, name):
    return {key: value for key, value in state.items() if key != name}


WRONG = {
    "a shape": (lambda g, d: g | {"model.1.weight": torch.zeros(8, 3, 7, 7)}, r"'model\.1\.weight' .*\(8, 3, 7, 7\)"),
    "renamed": (lambda g, d: without(g, "model.1.bias") | {"model.1.b": g["model.1.bias"]}, r"'model\.1\.bias'"),
    "one more": (lambda g, d: g | {"model.99.weight": torch.zeros(1)}, r"'model\.99\.weight'"),
    "x2face": (lambda g, d: {"state_dict": {"pix2pixUnwrapped.netG.model.down.0.weight": torch.zeros(64, 3, 4, 4)}},
               r"'model\.1\.weight' \(1 tensor"),
    "d as g": (lambda g, d: d, r"'model\.1\.weight' \(20 tensors"),
    "not finite": (lambda g, d: g | {"model.1.bias": g["model.1.bias"] * float("nan")}, r"'model\.1\.bias'"),
    "a list": (lambda g, d: list(g.values()), r"latest_net_G\.pth")}


@pytest.mark.parametrize("what", WRONG)
def test_a_file_that_differs_is_refused_naming_the_first_difference_and_nothing_is_written(folder, tmp_path, what):
    one, (change, sentence) = made(), WRONG[what]
    file = kept(change(named(one, "G"), named(one, "D")), tmp_path / "latest_net_G.pth")
    with pytest.raises(InputError, match=sentence) as refused:
        import_weights(one, [file], "faces", trust=False)
    assert str(file) in str(refused.value) and "\n" not in str(refused.value) and not folder.exists()


def test_a_file_broken_off_is_refused(folder, tmp_path):
    one, file = made(), tmp_path / "G.pth"
    whole = kept(named(one, "G"), file).read_bytes()
    for part in (whole[:len(whole) // 2], whole[:10], b""):
        file.write_bytes(part)
        with pytest.raises(InputError, match=r"G\.pth"):
            import_weights(one, [file], "faces", trust=False)
    assert not folder.exists()


class Hostile:
    """Makes a folder when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_code_in_a_file_does_not_run(folder, tmp_path):
    one, mark = made(), tmp_path / "ran"
    file = kept(named(one, "G") | {"model.1.weight": Hostile(str(mark))}, tmp_path / "G.pth")
    with pytest.raises(InputError, match=r"G\.pth.*\w+\.mkdir"):
        import_weights(one, [file], "faces", trust=False)
    assert not mark.exists() and not folder.exists()
    torch.load(file, weights_only=False)
    assert mark.exists()  # it would have


def test_a_third_file_is_refused(tmp_path):
    one = made()
    file = kept(named(one, "G"), tmp_path / "G.pth")
    with pytest.raises(InputError, match=r"G and D.*\b3\b"):
        import_weights(one, [file] * 3, "faces", trust=False)
