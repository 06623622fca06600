import numpy as np
import pytest

from eval import intervals, metric

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
