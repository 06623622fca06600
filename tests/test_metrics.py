"""The same four tests over every column of every file in eval/metrics/, and what each column promises beyond."""

import importlib

import numpy as np
import pytest

from eval import metric
from eval.cache import Cache, key
from eval.metric import OfSets, PerFrame
from pipeline.config import Refused

COLUMNS = [name for file in metric.known() for name in importlib.import_module(f"eval.metrics.{file}").COLUMNS]
SIZE = 48


def smooth(seed, n=6, size=SIZE):
    """Random pictures with structure at several scales, multiples of 1/255."""
    import cv2

    rng = np.random.default_rng(seed)
    layers = [cv2.resize(rng.random((side, side, 3 * n)).astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
              for side in (3, 8, 20)]
    mixed = (0.5 * layers[0] + 0.3 * layers[1] + 0.2 * layers[2]).reshape(size, size, n, 3).transpose(2, 3, 0, 1)
    return eight_bits(mixed)


def eight_bits(images):
    return (np.rint(np.clip(images, 0, 1) * 255) / 255).astype(np.float32)


def noisy(images, sigma, seed=7):
    return eight_bits(images + sigma * np.random.default_rng(seed).standard_normal(images.shape))


class Describer:
    """A stand-in face network: the mean colours of a 4x4 grid."""

    def __call__(self, image, points):
        size = image.shape[0] // 4
        return image[:4 * size, :4 * size].reshape(4, size, 4, size, 3).mean((1, 3)).ravel().astype(np.float32) - 128


class Pool:
    """A stand-in feature net."""

    def pool(self, x):
        import torch

        return torch.nn.functional.avg_pool2d(x, x.shape[-1] // 8).flatten(1) * 10


@pytest.fixture(params=COLUMNS)
def column(request, monkeypatch):
    """A metric with its arithmetic real and its network a small fake: weights are not what these tests are about."""
    module = importlib.import_module(f"eval.metrics.{request.param.split('_')[0]}")
    found = metric.load(request.param)
    monkeypatch.setattr(type(found), "backbones", {"net.bin": "0" * 64})
    if request.param.startswith("csim"):
        monkeypatch.setattr(module, "_network", lambda name: Describer())
        found.width = 48
    if isinstance(found, OfSets):
        import torch

        monkeypatch.setattr(type(found), "forward", lambda self, x: Pool().pool(torch.from_numpy(x)).numpy())
        found.width = 192
    return found


def face(n):
    """Landmarks of n frames, all alike: (n, 68, 2)."""
    return np.tile(np.random.default_rng(0).random((68, 2)).astype(np.float32) * SIZE, (n, 1, 1))


def value(found, real, fake):
    if isinstance(found, PerFrame):
        return found.per_frame(real, fake, face(len(real))).mean()
    return found.value(found.features(real), found.features(fake))


def known_ssim(found):
    # Two constant images: variances vanish, and what is left of the formula is (2ab + C1)/(a² + b² + C1).
    a, b = np.full((1, 3, 20, 20), 0.2, np.float32), np.full((1, 3, 20, 20), 0.6, np.float32)
    return found.per_frame(a, b, None)[0], (2 * 0.12 + 1e-4) / (0.04 + 0.36 + 1e-4), 1e-4


def known_l1(found):
    a, b = np.full((1, 3, 20, 20), 0.2, np.float32), np.full((1, 3, 20, 20), 0.6, np.float32)
    b[:, 0] = 0.2
    return found.per_frame(a, b, None)[0], 0.8 / 3, 1e-6


def known_csim(found):
    # Descriptors e and 4 e + 3 f with e, f orthonormal: the cosine is 4/5.
    real = smooth(1)
    found._describe = lambda images, points: np.concatenate([np.eye(6)[:len(images) // 2], 3 * np.roll(np.eye(6), 1, 1)
                                                             [:len(images) // 2] + 4 * np.eye(6)[:len(images) // 2]])
    return found.per_frame(real, real, face(6))[0], 0.8, 1e-12


def known_fd(found):
    # One dimension: (μ_r − μ_f)² + (σ_r − σ_f)².
    real, fake = np.array([[0.0], [2.0], [4.0]]), np.array([[10.0], [11.0], [12.0]])
    return found.value(real, fake), 81 + 1, 1e-9


KNOWN = {"ssim": known_ssim, "l1": known_l1, "csim": known_csim, "fd": known_fd, "fid": known_fd}


def test_known_answer(column):
    found, due, tolerance = KNOWN[column.name.split("_")[0]](column)
    assert found == pytest.approx(due, rel=tolerance)


def independent(found, real, fake):
    """The same number by code that shares nothing with ours."""
    kind = found.name.split("_")[0]
    if kind == "ssim":
        skimage = pytest.importorskip("skimage.metrics", reason="scikit-image (the dev extra) is not installed")
        return np.mean([skimage.structural_similarity(x, y, gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
                                                      channel_axis=0, data_range=1) for x, y in zip(real, fake)])
    if kind == "l1":
        return sum(abs(float(a) - float(b)) for a, b in zip(real.flat, fake.flat)) / real.size
    if kind == "csim":
        from scipy.spatial.distance import cosine

        images = np.rint(np.concatenate([real, fake]).transpose(0, 2, 3, 1) * 255).astype(np.uint8)
        e = [Describer()(image, None) for image in images]
        return np.mean([1 - cosine(a.astype(np.float64), b.astype(np.float64)) for a, b in zip(e, e[len(real):])])
    from scipy.linalg import sqrtm

    r, f = found.features(real).astype(np.float64), found.features(fake).astype(np.float64)
    root = sqrtm(np.cov(r, rowvar=False) @ np.cov(f, rowvar=False))
    return ((r.mean(0) - f.mean(0)) ** 2).sum() + np.trace(np.cov(r, rowvar=False) + np.cov(f, rowvar=False) - 2 * root.real)


def test_agrees_with_an_independent_implementation(column):
    real = smooth(2)
    fake = noisy(smooth(3) * 0.5 + real * 0.5, 0.05)
    assert value(column, real, fake) == pytest.approx(independent(column, real, fake), rel=1e-4)


def test_does_not_depend_on_batch_size_or_order(column):
    real, fake = smooth(4, n=9), smooth(5, n=9)
    order = np.random.default_rng(0).permutation(9)
    whole = value(column, real, fake)
    assert value(column, real[order], fake[order]) == pytest.approx(whole, rel=1e-6)
    points = face(1)
    if isinstance(column, PerFrame):
        parts = np.concatenate([column.per_frame(real[j:j + 1], fake[j:j + 1], points) for j in range(9)])
        assert parts.mean() == pytest.approx(whole, rel=1e-6)
    else:
        one = [np.concatenate([column.features(x[j:j + 1]) for j in range(9)]) for x in (real, fake)]
        assert column.value(*one) == pytest.approx(whole, rel=1e-6)


def test_gets_worse_with_noise_and_is_best_for_equal_frames(column):
    real = smooth(6, n=8)
    values = [value(column, real, noisy(real, sigma)) for sigma in (0, 0.05, 0.15, 0.4)]
    best = {"ssim": 1, "csim": 1, "l1": 0, "fd": 0, "fid": 0}[column.name.split("_")[0]]
    assert values[0] == pytest.approx(best, abs=1e-5)
    assert values == sorted(values, reverse=column.better == "higher") and values[0] != values[-1]


def test_every_column_says_what_it_compares_and_what_it_depends_on(column):
    facts = column.facts()
    assert facts["label"] and facts["compares"] and facts["better"] in ("higher", "lower") and column.range[0] < column.range[1]
    assert column.name == "fid" or "FID" not in facts["label"]


def test_ssim_sees_swapped_channels_and_a_shift_by_one_pixel():
    real = smooth(8)
    found = metric.load("ssim")
    assert value(found, real, real[:, ::-1].copy()) < 0.97
    assert value(found, real, np.roll(real, 1, axis=3)) < 0.99


def test_ssim_refuses_frames_smaller_than_its_window():
    small = np.zeros((1, 3, 8, 8), np.float32)
    with pytest.raises(Refused, match="11x11"):
        metric.load("ssim").per_frame(small, small, np.zeros((1, 68, 2)))


def test_a_frame_without_usable_landmarks_is_nan_and_not_dropped(monkeypatch):
    module = importlib.import_module("eval.metrics.csim")
    monkeypatch.setattr(module, "_network", lambda name: Describer())
    monkeypatch.setattr(module.Csim, "backbones", {})
    found, real = metric.load("csim_dlib128"), smooth(9, n=4)
    found.width = 48
    points = face(4)
    points[1], points[2] = np.nan, 5
    cosine = found.per_frame(real, real, points)
    assert np.isnan(cosine).tolist() == [False, True, True, False] and cosine[[0, 3]] == pytest.approx(1)


@pytest.mark.parametrize("n, d", [(5, 40), (40, 5)])
def test_frechet_agrees_with_the_matrix_square_root_for_few_and_for_many_frames(n, d):
    from scipy.linalg import sqrtm

    rng = np.random.default_rng(n)
    r, f = rng.normal(size=(n, d)), 0.7 * rng.normal(size=(n, d)) + 0.3
    root = sqrtm(np.cov(r, rowvar=False) @ np.cov(f, rowvar=False)).real
    due = ((r.mean(0) - f.mean(0)) ** 2).sum() + np.trace(np.cov(r, rowvar=False) + np.cov(f, rowvar=False) - 2 * root)
    assert metric.load("fd_efflite0").value(r, f) == pytest.approx(due, rel=1e-5)


def test_resampled_frechet_equals_the_value_over_repeated_frames():
    rng = np.random.default_rng(0)
    real, fake = rng.normal(size=(12, 30)), rng.normal(size=(12, 30)) + 0.2
    counts = rng.integers(0, 3, (4, 12))
    found = metric.load("fd_efflite0")
    assert found.resampled(real, fake, counts) == pytest.approx(OfSets.resampled(found, real, fake, counts), rel=1e-9)


@pytest.mark.parametrize("name, hint", [("sim", "ssim"), ("csim_dlib", "csim_dlib128"), ("lpips", "known:")])
def test_an_unknown_metric_is_refused_with_the_nearest_name(name, hint):
    with pytest.raises(Refused, match=hint):
        metric.load(name)


def test_cached_vectors_come_back_and_a_torn_record_is_computed_again(tmp_path):
    made = []

    def compute(missing):
        for j in missing:
            made.append(j)
            yield np.full(3, j, np.float32)

    keys = [key("recipe", np.array([j])) for j in (0, 1, 0)]
    first = Cache(tmp_path).vectors("net", keys, 3, compute)
    assert made == [0, 1] and first[:, 0].tolist() == [0, 1, 0]
    file = tmp_path / "net.bin"
    file.write_bytes(file.read_bytes()[:-1])
    again = Cache(tmp_path).vectors("net", keys, 3, compute)
    assert made == [0, 1, 1] and (again == first).all()
    Cache(tmp_path).vectors("net", keys, 3, compute)
    assert made == [0, 1, 1]


def test_the_cache_key_depends_on_recipe_values_and_shape():
    x = np.arange(4, dtype=np.float32)
    assert len({key("a", x), key("b", x), key("a", x + 1), key("a", x.reshape(2, 2)), key("a", x.astype(np.float64))}) == 5


def test_frechet_agrees_with_torchmetrics_on_the_same_features():
    import torch

    from model import backbones

    backbones.torchvision_ops()
    from torchmetrics.image.fid import FrechetInceptionDistance

    class Pixels(torch.nn.Module):
        num_features = 5

        def forward(self, images):
            return images.flatten(1)[:, :5].double()

    draw = np.random.default_rng(5)
    real, fake = draw.random((40, 3, 8, 8)), draw.random((30, 3, 8, 8)) ** 2
    theirs = FrechetInceptionDistance(Pixels(), normalize=True, input_img_size=(3, 8, 8)).set_dtype(torch.float64)
    theirs.update(torch.from_numpy(real), real=True)
    theirs.update(torch.from_numpy(fake), real=False)
    ours = metric.load("fd_efflite0").value(real.reshape(40, -1)[:, :5], fake.reshape(30, -1)[:, :5])
    assert float(theirs.compute()) == pytest.approx(ours, rel=1e-6)
