import itertools

import numpy as np
import pytest

from eval.scoring import metric
from eval.statistics import intervals

SETTLED = {"level": 0.95, "resamples": 400, "seed": 0}


def people(n, frames, between, within, seed):
    """Values of n people x frames: a person's own mean and frames around it."""
    rng = np.random.default_rng(seed)
    values = rng.normal(0, between, (n, 1)) + rng.normal(0, within, (n, frames))
    return values.ravel(), np.repeat(np.arange(n), frames)


def frame_bootstrap(values, seed=0):
    """What must not be done: frames resampled as if they were independent."""
    means = np.random.default_rng(seed).choice(values, (400, len(values))).mean(axis=1)
    return np.quantile(means, [0.025, 0.975])


def test_the_interval_over_people_is_wider_than_one_over_frames_when_frames_of_a_person_agree():
    values, person = people(10, 32, between=1, within=0.5, seed=1)
    found = intervals.of_mean(values, person, **SETTLED)
    low, high = frame_bootstrap(values)
    assert found.high - found.low > 3 * (high - low)


@pytest.mark.parametrize("n", [4, 8, 30])
def test_the_interval_covers_the_truth_about_as_often_as_it_says_and_the_frame_bootstrap_does_not(n):
    hits, naive = [], []
    for seed in range(200):
        values, person = people(n, 8, between=1, within=0.7, seed=seed)
        found = intervals.of_mean(values, person, **SETTLED)
        hits.append(found.low <= 0 <= found.high)
        low, high = frame_bootstrap(values)
        naive.append(low <= 0 <= high)
    assert 0.89 <= np.mean(hits) <= 0.99  # 95 % ± 4 standard errors of 200 trials
    assert np.mean(naive) < 0.8


def test_the_interval_holds_its_value_counts_people_and_ignores_unscored_frames():
    values, person = people(6, 5, between=1, within=0.2, seed=3)
    values[:2] = np.nan
    found = intervals.of_mean(values, person, **SETTLED)
    assert found.low < found.value < found.high and (found.n_people, found.n_frames) == (6, 28)
    assert found.value == pytest.approx(np.mean([np.nanmean(values[person == p]) for p in range(6)]))


def test_the_same_seed_gives_the_same_interval_and_the_order_of_frames_does_not_matter():
    values, person = people(9, 4, between=1, within=1, seed=4)
    order = np.random.default_rng(0).permutation(len(values))
    first, again = (intervals.of_mean(v, p, **SETTLED) for v, p in ((values, person), (values[order], person[order])))
    assert first == pytest.approx(again, abs=1e-12)


def test_one_person_has_a_value_and_no_interval_and_nobody_has_neither():
    alone = intervals.of_mean(np.ones(5), np.zeros(5), **SETTLED)
    assert alone.value == 1 and np.isnan(alone.low) and alone.n_people == 1
    assert np.isnan(intervals.of_mean(np.full(3, np.nan), np.arange(3), **SETTLED).value)


def test_people_who_all_score_the_same_have_an_interval_of_no_width():
    found = intervals.of_mean(np.full(40, 0.5), np.repeat(np.arange(10), 4), **SETTLED)
    assert found.low == found.value == found.high == 0.5


def test_the_interval_stays_within_what_the_metric_can_be():
    values, person = np.array([0.2, 0.99, 0.99, 0.99]), np.arange(4)
    assert intervals.of_mean(values, person, bounds=(-1, 1), **SETTLED).high == 1


def test_resamples_draw_whole_people():
    person = np.repeat(["a", "b", "c"], 4)
    counts = intervals.counts(person, resamples=50, seed=0)
    assert (counts.sum(axis=1) == 12).all() and (counts.reshape(50, 3, 4).std(axis=2) == 0).all() and counts.max() > 1


def test_the_interval_of_a_set_distance_covers_its_expectation_where_percentiles_do_not():
    found = metric.load("fd_efflite0")

    def sets(seed, n=8, frames=6, d=20):
        rng = np.random.default_rng(seed)
        mean = rng.normal(size=(n, 1, d))
        real = mean + 0.5 * rng.normal(size=(n, frames, d))
        fake = 0.8 * mean + 0.3 + 0.5 * rng.normal(size=(n, 1, d)) + 0.5 * rng.normal(size=(n, frames, d))
        return real.reshape(-1, d), fake.reshape(-1, d), np.repeat(np.arange(n), frames)

    truth = np.mean([found.value(*sets(1000 + seed)) for seed in range(100)])
    hits, naive = [], []
    for seed in range(40):
        real, fake, person = sets(seed)
        resampled = found.resampled(real, fake, person, intervals.counts(person, resamples=60, seed=0))
        interval = intervals.of_set(found.value(real, fake, person), resampled, person, level=0.95)
        assert 0 < interval.low < interval.value < interval.high
        hits.append(interval.low <= truth <= interval.high)
        naive.append(np.quantile(resampled, 0.025) <= truth <= np.quantile(resampled, 0.975))
    assert np.mean(hits) >= 0.85 > np.mean(naive)


def test_the_difference_of_two_methods_is_far_surer_than_their_intervals_when_people_are_alike_for_both():
    shared, person = people(10, 8, between=1, within=0.2, seed=5)
    better, _ = people(10, 8, between=0.05, within=0.2, seed=6)
    a, b = shared + 0.3 + better, shared
    found = intervals.of_difference(a, b, person, **SETTLED)
    alone = [intervals.of_mean(x, person, **SETTLED) for x in (a, b)]
    assert alone[0].low < alone[1].high and 0 < found.low < found.value < found.high and found.p < 0.01
    assert found.value == pytest.approx(alone[0].value - alone[1].value)


def test_the_difference_of_b_and_a_is_that_of_a_and_b_with_the_other_sign():
    a, person = people(9, 4, between=1, within=1, seed=7)
    b, _ = people(9, 4, between=1, within=1, seed=8)
    one, other = intervals.of_difference(a, b, person, **SETTLED), intervals.of_difference(b, a, person, **SETTLED)
    assert (other.value, other.low, other.high, other.p) == pytest.approx((-one.value, -one.high, -one.low, one.p))


def test_a_frame_that_one_method_failed_on_counts_for_neither():
    a, b, person = np.array([1.0, np.nan, 3.0, 4.0]), np.array([0.0, 100.0, 1.0, 1.0]), np.array([0, 0, 1, 1])
    found = intervals.of_difference(a, b, person, **SETTLED)
    assert found.value == pytest.approx((1 + 2.5) / 2) and (found.n_people, found.n_frames) == (2, 3)


@pytest.mark.parametrize("m, p", [([1, 2, 3], 2 / 8), ([1, -1, 3], 6 / 8), ([0, 0, 0], 1), ([5], 1), ([1] * 12, 2 / 2**12),
                                  ([.1, .2, .3, -.6], 1), ([], np.nan)])
def test_the_sign_flip_p_is_the_share_of_flips_at_least_as_far_from_0(m, p):
    assert intervals.sign_flips(np.array(m, float), draws=10, seed=0) == pytest.approx(p, nan_ok=True)


def test_random_sign_flips_agree_with_all_of_them_and_are_never_0():
    m = np.random.default_rng(3).normal(0.4, 1, 14)
    signs = np.array(list(itertools.product((-1, 1), repeat=len(m))))
    due = np.mean(np.abs(signs @ m) >= abs(m.sum()) - 1e-9)
    assert 0.02 < due < 0.98 and intervals.sign_flips(m, draws=20000, seed=0) == pytest.approx(due, abs=0.02)
    assert intervals.sign_flips(np.ones(20), draws=99, seed=0) == 1 / 100


def two_methods(shift, people=5, frames=4, d=6, seed=0):
    """Features of the same people by two methods, of which the second is off by `shift`."""
    from eval.scoring.per_frame import Stored

    rng = np.random.default_rng(seed)
    mean = rng.normal(size=(people, 1, d))
    drawn = [(mean + 0.3 * rng.normal(size=(people, frames, d))).reshape(-1, d) for _ in range(3)]
    person = np.repeat(np.arange(people), frames)
    return [Stored(person, np.arange(len(person)), {}, {"fd_efflite0": (drawn[0], x)}) for x in (drawn[1], drawn[2] + shift)]


def test_the_difference_of_two_set_distances_is_paired_and_its_p_counts_the_swaps():
    from eval.scoring import set_distances
    from eval.scoring.per_frame import Recipe

    fd, recipe = metric.load("fd_efflite0"), Recipe((), 0.95, 100, 60, 0)
    near, far = two_methods(shift=1.0)
    a, b = (set_distances.spread(fd, stored, recipe) for stored in (near, far))
    found = set_distances.difference(fd, a, b, 0.95)
    assert found.value == pytest.approx(set_distances.value(fd, near) - set_distances.value(fd, far)) and found.high < 0
    assert found.p == 2 / 2**5  # no swap of some people is as far apart as none, or all
    same = set_distances.difference(fd, a, a, 0.95)
    assert (same.value, same.low, same.high, same.p) == (0, 0, 0, 1)


def test_beyond_six_people_set_distances_have_an_interval_and_no_p():
    from eval.scoring import set_distances
    from eval.scoring.per_frame import Recipe

    fd, recipe = metric.load("fd_efflite0"), Recipe((), 0.95, 100, 30, 0)
    found = set_distances.difference(fd, *(set_distances.spread(fd, x, recipe) for x in two_methods(0.5, people=7)), 0.95)
    assert np.isnan(found.p) and found.low < found.value < found.high


def test_the_printed_coverage_is_right_by_people_and_wrong_by_frames(capsys, monkeypatch):
    from eval.statistics import coverage

    monkeypatch.setattr(coverage, "SETS", ())
    monkeypatch.setattr(coverage, "PEOPLE", (10,))
    coverage.main(["--trials", "200"])
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("10 ")]
    assert [line[1:3] for line in lines] == [["0.2", "normal"], ["0.5", "normal"], ["0.8", "normal"], ["0.5", "skewed"]]
    for line in lines:
        by_people, by_frames, difference, error = (float(line[j]) for j in (3, 7, 11, 15))
        assert by_people > 88 and difference > 86 and by_frames < 85 and error < 12


def test_the_difference_of_two_unbiased_distances_has_the_spread_of_both_together():
    shared = np.random.default_rng(0).normal(size=500)
    a, b = (intervals.Interval(value, -9.0, 9.0, 8, 80) for value in (0.3, -0.1))
    found = intervals.of_unbiased_difference(a, b, 0.3 + shared, -0.1 + shared, level=0.95, p=0.5)
    assert found.value == pytest.approx(0.4) and found.high - found.low < 1e-9  # both moved alike
    found = intervals.of_unbiased_difference(a, b, 0.3 + shared, -0.1 - shared, level=0.95, p=0.5)
    due = intervals.student(0.95, 8) * np.sqrt(8 / 7) * 2 * shared.std(ddof=1)
    assert (found.low, found.high) == pytest.approx((0.4 - due, 0.4 + due))
    assert np.isnan(intervals.of_unbiased_difference(a._replace(n_people=2), b, shared, shared, level=0.95, p=0.5).low)
