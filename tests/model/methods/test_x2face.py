import copy
import math
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small import X2FACE as SETTINGS
from small import Eyes
from torch import nn

from model.api import DataInfo, Episode
from model.backbones import perceptual, registry
from model.methods import x2face
from model.methods.x2face import BOTTLENECK, Config, Driving, Embedding, Plateau, Watch, X2Face, warp
from model.published import importer
from model.published import parity_x2face as compare
from model.training import loop
from pipeline.core.errors import InputError

STAGE2 = {"start": 1, "lr": 1e-4, "same": 1.0, "other": 0.1}
KEYS = {name: tuple(int(n) for n in shape.strip("()").split(",") if n.strip()) for name, _, shape in
        (line.partition(" ") for line in (Path(__file__).parents[2] / "data" / "x2face_keys.txt").read_text().splitlines())}


def make(**changes) -> X2Face:
    """Small; its running statistics are those of nothing in particular, so that they matter."""
    one = X2Face(Config.model_validate({**SETTINGS, **changes}), DataInfo(changes.get("size", 16), 6))
    compare.take(one, compare.weights(one, None, False))
    return one


def double(one: X2Face) -> X2Face:
    """In float64 what is compared is the arithmetic and not its rounding."""
    one.place = torch.device("cpu")
    one.embedding.double(), one.driving.double()
    return one


def pictures(*shape: int, seed: int = 0, size: int = 16) -> torch.Tensor:
    return torch.rand(*shape, 3, size, size, generator=torch.Generator().manual_seed(seed))


def episode(step: int, videos: tuple[int, ...] = (0, 1, 2), K: int = 2) -> Episode:
    n, i = len(videos), torch.tensor(videos)
    return Episode(pictures(n, seed=2 * step), pictures(n), pictures(n, K, seed=2 * step + 1), pictures(n, K), i)


def in_their_names(one: X2Face) -> dict[str, torch.Tensor]:
    weights = one.weights()
    return {theirs: weights[ours].clone() for theirs, ours in one.published("").items()}


# The forward pass a second time, from a published state dict and the definition of each operation.

def doubled(x):
    """Bilinear, corners on corners: row i of 2n looks at place i (n - 1) / (2n - 1)."""
    n = x.shape[-1]
    place = torch.arange(2 * n, dtype=x.dtype) * (n - 1) / (2 * n - 1)
    matrix = (1 - (place[:, None] - torch.arange(n, dtype=x.dtype)).abs()).clamp_min(0)  # (2n, n)
    return matrix @ x @ matrix.T


def looked_up(x, offset):
    """Bilinear at pixel (column, row) + offset (size - 1) / 2, black outside."""
    size = x.shape[-1]
    at = torch.arange(size, dtype=x.dtype)
    columns, rows = at + offset[:, 0] * (size - 1) / 2, at[:, None] + offset[:, 1] * (size - 1) / 2
    total = torch.zeros_like(x)
    for down in (0, 1):
        for right in (0, 1):
            row, column = rows.floor() + down, columns.floor() + right
            share = (1 - (rows - row).abs()) * (1 - (columns - column).abs())
            inside = (row >= 0) & (row < size) & (column >= 0) & (column < size)
            flat = (row.clamp(0, size - 1) * size + column.clamp(0, size - 1)).long().flatten(1)
            found = x.flatten(2).gather(2, flat[:, None].expand(-1, 3, -1)).view_as(x)
            total += found * (share * inside)[:, None]
    return total


def normed(w, name, x):
    return F.batch_norm(x, w[f"{name}.running_mean"], w[f"{name}.running_var"], w[f"{name}.weight"], w[f"{name}.bias"])


def level(w, name, x, skips, outermost=True):
    innermost = f"{name}.submodule.up.2.weight" not in w
    h = F.conv2d(x if outermost else F.leaky_relu(x, 0.2), w[f"{name}.down.{0 if outermost else 1}.weight"], None, 2, 1)
    if not (outermost or innermost):
        h = normed(w, f"{name}.down.2", h)
    if not innermost:
        h = level(w, f"{name}.submodule", h, skips, False)
    h = F.conv2d(doubled(F.relu(h)), w[f"{name}.up.2.weight"], None, 1, 1)
    if outermost:
        return h
    h = normed(w, f"{name}.up.3", h)
    return torch.cat([h, x], 1) if skips else h


def written_out(w, sources, driver):
    """-> output of the embedding net for each source, of the driving net, and the drawn frame."""
    o = [level(w, "pix2pixUnwrapped.netG.model", x, True) for x in sources]
    flow = torch.tanh(level(w, "pix2pixSampler.netG.model", driver, False))
    faces = [looked_up(x, torch.tanh(one[:, :2])) for x, one in zip(sources, o)]
    c = [torch.exp(one[:, 2:]) + 0.1 for one in o]
    face = sum(a * b for a, b in zip(faces, c)) / sum(c)
    return o, flow, looked_up(face, torch.tanh(flow))


def assert_equals(a, b):
    assert b.std() > 1e-3 and (a - b).abs().max() <= 1e-5 * b.abs().max()


@pytest.mark.parametrize("K", [1, 3])
@pytest.mark.parametrize("size", [16, 64])
def test_both_networks_and_the_whole_equal_the_forward_pass_written_out_from_a_published_state_dict(K, size):
    one = double(make(size=size))
    driver, *sources = pictures(1 + K, 2, size=size).double()
    with torch.no_grad():
        o, flow, x_hat = written_out({name: value.double() for name, value in in_their_names(one).items()}, sources, driver)
        assert_equals(one.embedding(sources[0]), o[0])
        assert_equals(one.driving(driver), flow)
        assert_equals(one.forward(torch.stack(sources, 1), driver), x_hat)
        assert_equals(one.offset(driver), torch.tanh(flow))


@pytest.mark.parametrize(("size", "ngf", "embedding", "total"), [
    (256, 64, 39_157_760, 64_771_840), (128, 32, 7_564_288, 12_741_504), (64, 32, 5_335_040, 8_872_832),
    (64, 16, 1_335_296, 2_425_792), (32, 16, 777_728, 1_458_112)])
def test_the_networks_have_as_many_parameters_as_published_and_128_numbers_between_driver_and_flow_at_every_size(
        size, ngf, embedding, total):
    with torch.device("meta"):
        E, D = Embedding(size, ngf), Driving(size, ngf)
    counts = [sum(parameter.numel() for parameter in net.parameters()) for net in (E, D)]
    assert counts == [embedding, total - embedding] and D.down[-1].out_channels == BOTTLENECK == 128


def test_names_and_shapes_are_those_of_the_published_file():
    one = X2Face(Config.model_validate({**SETTINGS, "size": 256, "ngf": 64}), DataInfo(256, 1))
    ours = {name: tuple(value.shape) for name, value in in_their_names(one).items()}
    assert ours == {name: shape for name, shape in KEYS.items() if not name.endswith("num_batches_tracked")}
    assert len(ours) == 136 and one.parameters() == 64_771_840
    left = set(one.weights()) - set(one.published("").values())
    assert len(left) == 26 and all(name.endswith("num_batches_tracked") for name in left)


def test_weights_start_as_published_and_as_the_seed_says():
    a, b, c = (X2Face(Config.model_validate({**SETTINGS, "size": 64, "ngf": 16}), DataInfo(64, 1), seed) for seed in (0, 0, 1))
    conv, norm = a.embedding.down[3].weight, torch.cat([norm.weight for norm in a.embedding.up_norm])
    assert conv.std().item() == pytest.approx(math.sqrt(2 / (16 * (64 + 128))), rel=0.02)
    assert 0.02 <= norm.min() < 0.1 and 0.9 < norm.max() <= 1 and all((net.bias == 0).all() for net in a.embedding.up_norm)
    assert torch.equal(conv, b.embedding.down[3].weight) and not torch.equal(conv, c.embedding.down[3].weight)


@pytest.mark.parametrize("size", [16, 64, 256])
def test_no_offset_gives_the_picture_back(size):
    x = F.interpolate(pictures(2, size=size // 4), size)  # cells of 4 pixels, their borders sharp
    x = F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)  # white noise would show how float32 rounds places: 1.4e-5 at 256 px
    assert (warp(x, torch.zeros(2, 2, size, size)) - x).abs().max() < 1e-5


def test_an_offset_to_the_right_looks_up_what_lies_right_and_black_beyond_the_border():
    x = pictures(1)
    offset = torch.zeros(1, 2, 16, 16)
    offset[:, 0] = 2 / 15  # one pixel
    drawn = warp(x, offset)
    torch.testing.assert_close(drawn[..., :-1], x[..., 1:], atol=1e-5, rtol=0)
    assert drawn[..., -1].max() < 1e-5


def test_offsets_of_the_driving_path_reach_tanh_1_and_no_further():
    one = make()
    with torch.no_grad():
        one.driving.up[0].weight.mul_(1e4)
        largest = one.offset(pictures(4)).abs().max().item()
    assert 0.7 < largest <= math.tanh(1) + 1e-6


def test_with_one_source_the_confidence_does_not_matter_and_with_two_it_does():
    driver = pictures(2, seed=9)
    drawn = {}
    for T in (1, 2):
        for factor in (1.0, -3.0):
            one = make()
            with torch.no_grad():
                one.embedding.up[0].weight[2] *= factor
            drawn[T, factor] = one.adapt(pictures(T), pictures(T))(driver)
    torch.testing.assert_close(drawn[1, 1.0], drawn[1, -3.0], atol=1e-5, rtol=0)
    assert (drawn[2, 1.0] - drawn[2, -3.0]).abs().max() > 1e-2


@pytest.mark.parametrize("combine", ["mean", "weighted"])
def test_frames_are_combined_alike_in_any_chunks_one_by_one_and_in_an_episode(combine, monkeypatch):
    one, x, driver = make(combine=combine), pictures(7), pictures(2, seed=9)
    with torch.no_grad():
        parts = [one.embed(x[n:n + 1]) for n in range(7)]
        c = sum(c for _, c in parts)
        face = sum(c * face for face, c in parts) / c
        expected = warp(face.expand(2, -1, -1, -1), one.offset(driver)).clamp(0, 1)
        torch.testing.assert_close(one.forward(x.expand(2, -1, -1, -1, -1), driver).clamp(0, 1), expected, atol=1e-4, rtol=0)
    for chunk in (1, 3, 7, 32):
        monkeypatch.setattr(x2face, "CHUNK", chunk)
        torch.testing.assert_close(one.adapt(x, x)(driver), expected, atol=1e-4, rtol=0)
    assert (torch.allclose(c, torch.full_like(c, 7))) == (combine == "mean")


def test_no_network_sees_more_frames_at_once_than_a_chunk_however_many_there_are(monkeypatch):
    one, seen = make(), []
    real = x2face.Hourglass.forward
    monkeypatch.setattr(x2face.Hourglass, "forward", lambda net, x: seen.append(len(x)) or real(net, x))
    one.adapt(pictures(32), pictures(32))(pictures(20))
    assert max(seen) <= x2face.CHUNK and sum(seen) == 52


def test_adapting_leaves_the_method_bit_identical_and_its_head_keeps_drawing_while_the_method_learns_on():
    one, x = make(), pictures(8)
    one.learn(episode(0))
    before = copy.deepcopy(one.state())
    head = one.adapt(x, x)
    drawn = head(x)
    torch.testing.assert_close(one.state(), before, rtol=0, atol=0)
    assert all(parameter.requires_grad for net in one.nets.values() for parameter in net.parameters())
    one.learn(episode(1))
    assert torch.equal(head(x), drawn) and not torch.equal(one.adapt(x, x)(x), drawn)


def test_landmarks_are_not_looked_at_and_the_frames_drive():
    one, x = make(), pictures(4)
    assert one.driven_by == "frames" and not one.fine_tunes
    assert torch.equal(one.adapt(x, x)(x), one.adapt(x, torch.full_like(x, math.nan))(x))


@pytest.mark.parametrize(("size", "way_out"), [(224, "256 is the next"), (100, "128 is the next"), (4, "8 is the next")])
def test_a_size_that_halving_does_not_take_to_one_pixel_is_refused(size, way_out):
    with pytest.raises(InputError, match=rf"x2face\.size: .* {size} px do not allow; set it to a power of 2, .*{way_out}"):
        X2Face(Config.model_validate({**SETTINGS, "size": size}), DataInfo(size, 1))


def test_settings_that_are_unknown_or_of_the_other_optimiser_are_refused():
    for bad in ({"stage3": None}, {"combine": "max"}, {"optimiser": {"kind": "sgd", "lr": 1e-3, "beta1": 0.5}},
                {"optimiser": {"kind": "adagrad", "lr": 1e-3}}, {"plateau": {"every": 10, "patience": 2}}):
        with pytest.raises(ValueError, match="validation error"):
            Config.model_validate({**SETTINGS, **bad})


# Learning

def heads(person: int, seed: int, n: int) -> torch.Tensor:
    """n frames of a bright disc of the person's colours, left and right, at n places before a dark ground of the person's."""
    colours = torch.rand(3, 3, 1, 1, generator=torch.Generator().manual_seed(1000 + person))
    places = 4 + 8 * torch.rand(n, 2, 1, 1, 1, generator=torch.Generator().manual_seed(seed))
    rows, columns = (axis - places[:, k] for k, axis in enumerate(torch.meshgrid(*[torch.arange(16.)] * 2, indexing="ij")))
    disc = (4.5 - (rows**2 + columns**2).sqrt()).clamp(0, 1)
    face = torch.where(columns < 0, 0.6 + 0.4 * colours[0], 0.6 + 0.4 * colours[1])
    return disc * face + (1 - disc) * 0.4 * colours[2]


def test_what_was_learnt_beats_copying_the_source_on_people_it_never_saw():
    one = X2Face(Config.model_validate({**SETTINGS, "steps": 120, "combine": "mean", "ngf": 8,
                                        "optimiser": {**SETTINGS["optimiser"], "lr": 3e-3}}), DataInfo(16, 1))
    for step in range(120):
        frames = torch.stack([heads(person, 50 * step + n, 2) for n, person in
                              enumerate(torch.randint(0, 60, (16,), generator=torch.Generator().manual_seed(step)).tolist())])
        one.learn(Episode(frames[:, 0], frames[:, 0], frames[:, 1:], frames[:, 1:], torch.arange(16)))
    ours, copied = 0.0, 0.0
    for person in range(100, 110):
        x = heads(person, person, 9)
        ours += F.l1_loss(one.adapt(x[:1], x[:1])(x[1:]), x[1:]).item()
        copied += F.l1_loss(x[:1].expand(8, -1, -1, -1), x[1:]).item()
    assert ours < 0.7 * copied


def test_batch_statistics_are_used_and_kept_while_learning_and_only_then():
    one = make()
    before = one.embedding.up_norm[0].running_mean.clone()
    one.learn(episode(0))
    after = one.embedding.up_norm[0].running_mean.clone()
    assert not torch.equal(before, after) and not any(module.training for net in one.nets.values() for module in net.modules())
    one.adapt(pictures(3), pictures(3))(pictures(3))
    assert torch.equal(one.embedding.up_norm[0].running_mean, after)


def test_every_learnt_weight_moves_in_one_update_of_either_optimiser():
    for optimiser in (SETTINGS["optimiser"], {"kind": "sgd", "lr": 1e-1, "momentum": 0.9}):
        one = make(optimiser=optimiser)
        before = {name: value.clone() for name, value in one.weights().items()}
        assert set(one.learn(episode(0))) == {"l_pix"}
        at_rest = {f"{net}.{key}" for net, module in one.nets.items() for key, value in module.named_parameters()
                   if torch.equal(value, before[f"{net}.{key}"])}
        assert not at_rest


def test_an_episode_of_another_size_or_with_what_is_not_finite_is_refused_before_any_weight_moves():
    one, x = make(), pictures(2, size=32)
    with pytest.raises(InputError, match="make both from the same data"):
        one.learn(Episode(x, x, x[:, None], x[:, None], torch.tensor([0, 1])))
    bad = episode(0, (3, 1, 5))
    bad.x_t[0, 0, 0, 0] = math.nan
    before = one.driving.up[0].weight.clone()
    with pytest.raises(InputError, match="step 0: l_pix is nan on videos 3, 1, 5"):
        one.learn(bad)
    assert torch.equal(one.driving.up[0].weight, before) and not one.driving.training


@pytest.mark.parametrize("changes", [
    {}, {"optimiser": {"kind": "sgd", "lr": 1e-5, "momentum": 0.9}, "plateau": {"every": 2, "patience": 0, "factor": 0.5}},
    {"stage2": {**STAGE2, "start": 4}}, {"stage2": {**STAGE2, "start": 6}}])
def test_a_run_killed_and_resumed_ends_with_the_bits_of_an_uninterrupted_one(changes, tmp_path, eyes):
    def run(name, dies_at=99):
        one, rows = make(**changes), []
        (tmp_path / name).mkdir(exist_ok=True)

        def read(step):
            if step == dies_at:
                raise KeyboardInterrupt
            return episode(step)

        loop.train(one, read, 12, work=tmp_path / name, log=lambda *row: rows.append(row), log_every=3, save_every=5)
        return one, rows

    straight, rows = run("a")
    with pytest.raises(KeyboardInterrupt):
        run("b", 7)
    resumed, again = run("b")
    torch.testing.assert_close(resumed.state(), straight.state(), rtol=0, atol=0)
    assert again == rows and (straight.watch.share < 1) == ("plateau" in changes)
    assert ("l_same" in rows[-1][1]) == ("stage2" in changes)


def test_the_learning_rate_falls_on_a_plateau_as_torchs_scheduler_lets_it():
    watch, plateau = Watch(), Plateau(every=1, patience=2, factor=0.1)
    theirs = torch.optim.SGD([nn.Parameter(torch.zeros(1))], 1.0)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(theirs, patience=2, factor=0.1)
    rates = []
    for loss in [1.0, 0.9, 0.9, 0.95, 0.89999, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8, 0.7, 0.9, 0.9, 0.9, 0.9]:
        watch.observe(loss, plateau), scheduler.step(loss)
        rates.append(theirs.param_groups[0]["lr"])
        assert watch.share == pytest.approx(rates[-1])
    assert len({round(rate, 12) for rate in rates}) == 4


def test_a_plateau_is_seen_in_means_over_so_many_steps_and_lowers_the_learning_rate():
    one = make(plateau={"every": 2, "patience": 0, "factor": 0.1})
    for loss in (1.0, 3.0, 1.5, 2.5):  # means 2, 2
        one.watch.observe(loss, one.config.plateau)
    one.learn(episode(0))
    assert one.optimiser.param_groups[0]["lr"] == pytest.approx(1e-4)


def test_in_bf16_it_learns_and_its_places_stay_well_within_a_pixel_of_those_of_full_precision():
    full, half, x = make(size=64), make(size=64, precision="bf16"), pictures(4, size=64)
    with torch.no_grad():
        assert half.embed(x)[0].dtype == half.offset(x).dtype == torch.float32
        apart = (half.offset(x) - full.offset(x)).abs().max() * 63 / 2  # pixels
    assert 0 < apart < 0.5
    batch = Episode(x, x, x[:, None], x[:, None], torch.arange(4))
    assert half.learn(batch)["l_pix"] == pytest.approx(full.learn(batch)["l_pix"], rel=0.05)
    assert all(parameter.dtype == torch.float32 for net in half.nets.values() for parameter in net.parameters())


# Stage II

@pytest.fixture
def eyes(monkeypatch):
    monkeypatch.setattr(perceptual, "vggface", Eyes)


def test_stage_two_comes_in_at_its_step_with_its_learning_rate_and_both_content_terms(eyes):
    one = make(stage2=STAGE2, plateau={"every": 1, "patience": 0, "factor": 0.5})
    one.watch.share = 0.25
    assert set(one.learn(episode(0))) == {"l_pix"} and one.optimiser.param_groups[0]["lr"] == 0.25e-3
    assert one.label == "X2Face (ours, stage I and II)"
    before = {name: value.clone() for name, value in one.weights().items()}
    assert set(one.learn(episode(1))) == {"l_pix", "l_same", "l_other"} and one.optimiser.param_groups[0]["lr"] == 1e-4
    moved = {name for name, value in one.weights().items() if not torch.equal(value, before[name])}
    assert moved == set(before) and all(parameter.grad is None for parameter in one.face_network.parameters())
    assert set(one.learn(episode(2, (4, 4, 4)))) == {"l_pix", "l_same"}  # no other video in the batch


def test_each_layer_of_a_content_term_weighs_its_share_of_the_photometric_loss_and_teaches_the_drawn_frame_only(eyes):
    one = make(stage2=STAGE2)
    x, x_hat, l_pix = pictures(2).requires_grad_(), pictures(2, seed=3).requires_grad_(), torch.tensor(0.3, requires_grad=True)
    scaled, raw = one._content(x, x_hat, l_pix, 0.1)
    assert scaled.item() == pytest.approx(2 * 0.1 * 0.3, rel=1e-5)
    layers = [F.l1_loss(a, b) for a, b in zip(one.face_network.taps(x_hat), one.face_network.taps(x))]
    assert raw.item() == pytest.approx(sum(layers).item(), rel=1e-5)
    grad = torch.autograd.grad(scaled, (x, x_hat, l_pix), allow_unused=True)
    assert grad[0] is None and grad[2] is None
    expected = torch.autograd.grad(sum(0.03 / layer.item() * layer for layer in layers), x_hat)[0]
    torch.testing.assert_close(grad[1], expected)


def test_the_other_driver_is_the_next_frame_of_another_video_and_its_content_is_the_sources(eyes):
    assert x2face._other_video(torch.tensor([0, 0, 1, 2, 0])).tolist() == [2, 2, 3, 4, 2]
    assert x2face._other_video(torch.tensor([7, 7])).tolist() == [-1, -1]
    one, batch = make(stage2={**STAGE2, "start": 0}), episode(0)
    one._losses(batch)
    target, _, source, drawn = one.face_network.seen
    assert torch.equal(target, batch.x_t) and torch.equal(source, batch.x_s[:, 0])
    with torch.no_grad():
        torch.testing.assert_close(drawn, one.forward(batch.x_s, batch.x_t[[1, 2, 0]]), atol=1e-4, rtol=0)


def test_stage_two_without_another_video_is_refused():
    with pytest.raises(InputError,
                       match=r"x2face\.stage2: .* a batch of 1 has none; set batch to 2 or more, or stage2 to null"):
        make(stage2=STAGE2, batch=1)


# Published files

@pytest.fixture
def shelf(tmp_path, monkeypatch):
    monkeypatch.setenv("TALKING_HEADS_WEIGHTS", str(tmp_path / "weights"))
    return tmp_path / "weights"


def deep() -> X2Face:
    """All 136 names in few numbers."""
    return make(size=256, ngf=1)


def stored(content, path: Path, **options) -> Path:
    torch.save(content, path, **options)
    return path


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
    with pytest.raises(InputError, match=r"more than tensors \(numpy.*pass --trust only if you know who made the file"):
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
    ("renamed", r"has no 'pix2pixSampler\.netG\.model\.up\.2\.weight' \(136 tensors, .*136\)"),
    ("missing", r"has no 'pix2pixSampler\.netG\.model(\.submodule){7}\.down\.1\.weight' \(135 tensors, .*136\)"),
    ("added", r"'pix2pixSampler\.netG\.model\.bias' is unknown to this network"),
    ("wide", r"down\.1\.weight' .*\(512, 8, 4, 4\).* \(128, 8, 4, 4\)"),
    ("nan", r"'pix2pixUnwrapped\.netG\.model\.up\.2\.weight' does not hold finite floating-point numbers"),
    ("whole numbers", r"up\.2\.weight' does not hold finite floating-point numbers"),
    ("sparse", r"up\.2\.weight' does not hold finite floating-point numbers"),
    ("meta", r"up\.2\.weight' does not hold finite floating-point numbers"),
    ("pix2pixHD", r"has no 'pix2pixUnwrapped\.netG\.model\.up\.2\.weight' \(2 tensors, .*136\)")])
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
    with pytest.raises(InputError, match=r"x2face_model\.pth: (cannot be read as a torch file|0 bytes are no checkpoint)"):
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
    with pytest.raises(InputError, match=r"mkdir|cannot be read as a torch file"):
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


# The comparison with the published code

PUBLISHED_STYLE = '''
import numpy as np
import torch
import torch.nn as nn
from torch.nn import init
from torch.autograd import Variable
from SkipNet import WIDTHS

def started(m):
\tif isinstance(m, nn.BatchNorm2d):
\t\tinit.uniform(m.weight.data, 1.0, 0.02)
\t\tinit.constant(m.bias.data, 0.0)

class Level(nn.Module):
\tdef __init__(self, n, outputs, widths, skips):
\t\tsuper(Level, self).__init__()
\t\tlast = n == len(widths) - 1
\t\tself.skips = skips and n > 0
\t\tinside = widths[n] * (1 if last or not skips else 2)
\t\tdown = ([nn.LeakyReLU(0.2, True)] if n else []) + [nn.Conv2d(widths[n - 1] if n else 3, widths[n], 4, 2, 1, bias=False)]
\t\tup = [nn.ReLU(True), nn.Upsample(scale_factor=2, mode='bilinear'), nn.Conv2d(inside, outputs, 3, 1, 1, bias=False)]
\t\tself.down = nn.Sequential(*(down + ([nn.BatchNorm2d(widths[n])] if n and not last else [])))
\t\tself.up = nn.Sequential(*(up + ([nn.BatchNorm2d(outputs)] if n else [nn.Tanh()] if not skips else [])))
                self.submodule = None if last else Level(n + 1, widths[n], widths, skips)

\tdef forward(self, x):
\t\th = self.down(x)
\t\th = self.up(self.submodule(h) if self.submodule else h)
\t\treturn torch.cat([h, x], 1) if self.skips else h

class Net(nn.Module):
\tdef __init__(self, outputs, widths, skips):
\t\tsuper(Net, self).__init__()
\t\tself.netG = nn.Module()
\t\tself.netG.model = Level(0, outputs, widths, skips)
\t\tself.netG.apply(started)

\tdef forward(self, x):
\t\treturn self.netG.model(x), None

class UnwrappedFaceWeightedAverage(nn.Module):
\tdef __init__(self, output_num_channels=2, input_num_channels=3, inner_nc=512):
\t\tsuper(UnwrappedFaceWeightedAverage, self).__init__()
\t\tself.pix2pixUnwrapped = Net(3, WIDTHS, True)
\t\tself.pix2pixSampler = Net(2, WIDTHS[:-1] + [inner_nc], False)

\tdef forward(self, driver, *sources):
\t\tgrid = np.stack(np.meshgrid(*[np.linspace(-1, 1, driver.size(2))] * 2), 2)
\t\tgrid = torch.Tensor(grid).unsqueeze(0).cuda()
\t\ttop, bottom = 0, 0
\t\tfor x in sources:
\t\t\to = self.pix2pixUnwrapped(x)[0]
\t\t\tc = o[:, 2:3].exp().add(0.1)
\t\t\ttop = top + c * nn.functional.grid_sample(x, nn.Tanh()(o[:, :2]).permute(0, 2, 3, 1) + grid)
\t\t\tbottom = bottom + c
\t\tflow = nn.Tanh()(self.pix2pixSampler(driver)[0]).permute(0, 2, 3, 1) + Variable(grid)
\t\treturn nn.functional.grid_sample(top / bottom, flow)
'''


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A small network in the manner of the published code, with what keeps that from running today."""
    monkeypatch.setitem(compare.SETTINGS, "size", 16)
    monkeypatch.setitem(compare.SETTINGS, "ngf", 4)
    folder = tmp_path / "X2Face"
    (folder / "UnwrapMosaic").mkdir(parents=True)
    for name in compare.FILES:
        (folder / "UnwrapMosaic" / f"{name}.py").write_text("WIDTHS = [4, 8, 16, 32]\n")
    (folder / "UnwrapMosaic" / "UnwrappedFace.py").write_text(PUBLISHED_STYLE)
    return folder


def test_the_comparison_finds_the_published_code_equal_to_ours_with_random_and_with_given_weights(clone, tmp_path, capsys):
    assert compare.main([str(clone)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["embedding network", "driving network", "whole, 1 source",
                                                          "whole, 3 sources"]
    assert all(float(line.split()[-1]) <= 1e-5 for line in lines)
    one = X2Face(Config.model_validate(compare.SETTINGS), DataInfo(16, 1), seed=3)
    assert compare.main([str(clone), str(stored({"state_dict": in_their_names(one)}, tmp_path / "weights.pth"))]) == 0


@pytest.mark.filterwarnings("ignore:Default grid_sample")
@pytest.mark.parametrize(("theirs", "other", "equal"), [
    (".add(0.1)", ".add(0.2)", 3), ("torch.cat([h, x], 1)", "torch.cat([x, h], 1)", 1), ("LeakyReLU(0.2", "LeakyReLU(0.1", 0),
    ("nn.functional.grid_sample(top", "nn.functional .grid_sample(top", 2)])  # the last keeps its align_corners of today
def test_the_comparison_tells_a_network_that_differs_anywhere(clone, capsys, theirs, other, equal):
    file = clone / "UnwrapMosaic" / "UnwrappedFace.py"
    file.write_text(PUBLISHED_STYLE.replace(theirs, other))
    assert compare.main([str(clone)]) == 1
    assert sum("ABOVE" not in line for line in capsys.readouterr().out.splitlines()) == equal


def test_a_folder_that_is_no_clone_or_whose_code_fails_is_refused_in_a_sentence(clone, tmp_path, capsys):
    assert compare.main([str(tmp_path)]) == 1
    assert "SkipNet.py; give a clone of github.com/oawiles/X2Face" in capsys.readouterr().err
    (clone / "UnwrapMosaic" / "SkipNet.py").write_text("import no_such_module\n")
    assert compare.main([str(clone)]) == 1
    assert "its code does not run (ModuleNotFoundError" in capsys.readouterr().err
