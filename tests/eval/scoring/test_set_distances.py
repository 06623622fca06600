"""Distances between sets of features: Fréchet and kernel."""

import importlib.util

import numpy as np
import pytest

from eval.metrics import kd
from eval.scoring import metric
from eval.scoring.metric import OfSets
from eval.statistics import intervals


@pytest.mark.parametrize("n, d", [(5, 40), (40, 5)])
def test_frechet_agrees_with_the_matrix_square_root_for_few_and_for_many_frames(n, d):
    from scipy.linalg import sqrtm

    rng = np.random.default_rng(n)
    r, f = rng.normal(size=(n, d)), 0.7 * rng.normal(size=(n, d)) + 0.3
    root = sqrtm(np.cov(r, rowvar=False) @ np.cov(f, rowvar=False)).real
    due = ((r.mean(0) - f.mean(0)) ** 2).sum() + np.trace(np.cov(r, rowvar=False) + np.cov(f, rowvar=False) - 2 * root)
    assert metric.load("fd_efflite0").value(r, f, np.arange(n)) == pytest.approx(due, rel=1e-5)


def drawn(seed=5, d=6):
    draw = np.random.default_rng(seed)
    return draw.random((40, d)), draw.random((30, d)) ** 2


def torchmetrics_frechet(real, fake):
    import torch

    from model.backbones import registry

    registry.torchvision_ops()
    from torchmetrics.image.fid import FrechetInceptionDistance

    class Pixels(torch.nn.Module):
        num_features = 6

        def forward(self, images):
            return images.flatten(1)[:, :6].double()

    theirs = FrechetInceptionDistance(Pixels(), normalize=True, input_img_size=(3, 1, 2)).set_dtype(torch.float64)
    theirs.update(torch.from_numpy(real).view(-1, 3, 1, 2), real=True)
    theirs.update(torch.from_numpy(fake).view(-1, 3, 1, 2), real=False)
    return float(theirs.compute())


def torchmetrics_kernel(real, fake):
    import torch

    from model.backbones import registry

    registry.torchvision_ops()
    from torchmetrics.image.kid import poly_mmd

    return float(poly_mmd(torch.from_numpy(real), torch.from_numpy(fake)))


def fidelity_frechet(real, fake):
    from model.backbones import registry

    registry.torchvision_ops()
    import torch
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    sides = [fid_features_to_statistics(torch.from_numpy(x)) for x in (real, fake)]
    return fid_statistics_to_metric(*sides, False)["frechet_inception_distance"]


def fidelity_kernel(real, fake, estimate="unbiased"):
    from model.backbones import registry

    registry.torchvision_ops()
    from torch_fidelity.metric_kid import kernel_poly, mmd2

    cubic = {"kid_kernel_poly_degree": 3, "kid_kernel_poly_gamma": None, "kid_kernel_poly_coef0": 1}
    xx, xy, yy = (kernel_poly(a, b, **cubic) for a, b in ((real, real), (real, fake), (fake, fake)))
    return float(mmd2(xx, xy, yy, mmd_est=estimate))


# torch-fidelity is an extra; torchmetrics is always there, so that the fact is tested everywhere.
FIDELITY = importlib.util.find_spec("torch_fidelity") is not None


@pytest.mark.parametrize("theirs", [torchmetrics_frechet, *[fidelity_frechet] * FIDELITY])
def test_frechet_agrees_with_another_implementation_on_the_same_features(theirs):
    real, fake = drawn()
    assert metric.load("fd_efflite0").value(real, fake, np.arange(40)) == pytest.approx(theirs(real, fake), rel=1e-6)


@pytest.mark.parametrize("theirs", [torchmetrics_kernel, *[fidelity_kernel] * FIDELITY])
def test_the_kernel_distance_agrees_with_another_implementation_when_every_frame_is_somebody_elses(theirs):
    real, fake = drawn()
    real = real[:30]
    assert kd.mmd2(real, fake, np.arange(30), 30 + np.arange(30)) == pytest.approx(theirs(real, fake), rel=1e-6)


@pytest.mark.parametrize("theirs", [fidelity_kernel] * FIDELITY + [None])
def test_with_one_frame_a_person_the_kernel_distance_is_the_u_statistic_of_pairs(theirs):
    real, fake = drawn()
    real, ours = real[:30], kd.mmd2(real[:30], fake, np.arange(30), np.arange(30))
    cubic = [(a @ b.T / 6 + 1) ** 3 for a, b in ((real, real), (fake, fake), (real, fake), (fake, real))]
    h = cubic[0] + cubic[1] - cubic[2] - cubic[3]  # Gretton et al. 2012, equation 4
    due = theirs(real, fake, "u-statistic") if theirs else (h.sum() - np.trace(h)) / (30 * 29)
    assert ours == pytest.approx(due, rel=1e-6)


@pytest.mark.parametrize("name", ["fd_efflite0", "kd_efflite0"])
def test_a_resampled_distance_equals_the_value_over_repeated_frames(name):
    rng = np.random.default_rng(0)
    real, fake = rng.normal(size=(12, 30)), rng.normal(size=(12, 30)) + 0.2
    counts, whose = rng.integers(0, 3, (4, 12)), np.arange(12) // 3
    found = metric.load(name)
    due = OfSets.resampled(found, real, fake, whose, counts)
    assert found.resampled(real, fake, whose, counts) == pytest.approx(due, rel=1e-9)


def people(rng, count, frames=4, d=8, shift=0.0):
    """Real and generated features of people who differ more from each other than their frames do, and whose they are."""
    whose = np.repeat(np.arange(count), frames)
    who = rng.normal(size=(count, d))[whose]
    return who + 0.3 * rng.normal(size=who.shape), who + shift + 0.3 * rng.normal(size=who.shape), whose


def test_frames_drawn_like_the_real_ones_have_a_kernel_distance_of_zero_in_the_mean_and_textbook_kid_would_not():
    rng, ours, textbook = np.random.default_rng(0), [], []
    for _ in range(300):
        real, fake, whose = people(rng, 4)
        ours.append(kd.mmd2(real, fake, whose, whose))
        textbook.append(kd.mmd2(real, fake, np.arange(16), 16 + np.arange(16)))
    error = np.std([ours, textbook], axis=1) / np.sqrt(300)
    assert abs(np.mean(ours)) < 3 * error[0]
    assert abs(np.mean(textbook)) > 3 * error[1]


def test_the_interval_of_a_kernel_distance_covers_it():
    found, rng, hits = metric.load("kd_efflite0"), np.random.default_rng(0), []
    truth = np.mean([found.value(*people(rng, 1500, frames=1, shift=0.4)) for _ in range(12)])
    for _ in range(100):
        real, fake, whose = people(rng, 10, shift=0.4)
        resampled = found.resampled(real, fake, whose, intervals.counts(whose, resamples=60, seed=0))
        one = intervals.of_unbiased(found.value(real, fake, whose), resampled, whose, level=0.95)
        hits.append(one.low <= truth <= one.high)
    assert np.mean(hits) >= 0.87


def test_one_person_has_no_kernel_distance_and_under_three_no_interval():
    real, fake, whose = people(np.random.default_rng(0), 2)
    found = metric.load("kd_efflite0")
    assert np.isnan(found.value(real[:4], fake[:4], whose[:4]))
    resampled = found.resampled(real, fake, whose, intervals.counts(whose, resamples=20, seed=0))
    both = intervals.of_unbiased(found.value(real, fake, whose), resampled, whose, level=0.95)
    assert np.isfinite(both.value) and np.isnan([both.low, both.high]).all()


def test_the_interval_of_a_kernel_distance_may_reach_below_zero_and_holds_the_value():
    real, fake, whose = people(np.random.default_rng(1), 10)
    found = metric.load("kd_efflite0")
    resampled = found.resampled(real, fake, whose, intervals.counts(whose, resamples=100, seed=0))
    both = intervals.of_unbiased(found.value(real, fake, whose), resampled, whose, level=0.95)
    assert both.low < 0 < both.high and both.low < both.value < both.high
