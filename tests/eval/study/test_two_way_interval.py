"""The interval of a share that both raters and people vary."""

import numpy as np

from eval.statistics import study_power
from eval.study.two_way_interval import share, variances


def test_with_one_answer_a_pair_of_many_independent_raters_and_people_it_is_nearly_wilson_s():
    n = 4000
    rng = np.random.default_rng(0)
    found = share(rng.random(n) < 0.4, np.arange(n), np.arange(n), 0.95)
    p, z = found.value, 1.96
    middle, reach = (p + z**2 / 2 / n) / (1 + z**2 / n), z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / 4 / n**2)
    assert np.allclose([found.low, found.high], [middle - reach, middle + reach], atol=1e-4)


def test_the_variance_is_that_of_all_pairs_of_answers_by_one_rater_or_about_one_person():
    rng = np.random.default_rng(3)
    rater, person = rng.integers(0, 6, 90), rng.integers(0, 5, 90)
    correct = rng.random(90) < 0.2 + 0.1 * rater / 2 + 0.08 * person
    off = correct - correct.mean()
    alike = [x[:, None] == x[None] for x in (rater, person, 10 * rater + person)]
    groups = [6, 5, len(set(zip(rater.tolist(), person.tolist())))]
    each = [off @ (same * g / (g - 1)) @ off / 90**2 for same, g in zip(alike, groups)]
    assert each[0] + each[1] - each[2] > max(each[0], each[1], np.var(correct) / 90)
    assert np.allclose(variances(correct, rater, person), [each[0] + each[1] - each[2], each[0], each[1]])


def test_answers_that_all_go_with_the_person_count_once_a_person():
    person, rater = np.repeat(np.arange(10), 50), np.tile(np.arange(50), 10)
    found, each = share(person < 4, rater, person, 0.95), share(np.arange(10) < 4, np.arange(10), np.arange(10), 0.95)
    assert found.value == 0.4 and np.allclose([found.low, found.high], [each.low, each.high], atol=0.02)


def test_where_everybody_is_right_the_interval_is_not_empty_and_one_rater_has_none():
    sure = share(np.ones(60, bool), np.tile(np.arange(20), 3), np.repeat(np.arange(6), 10), 0.95)
    assert sure.value == 1 and sure.high == 1 and 0.7 < sure.low < 0.97
    assert np.isnan(share(np.ones(6, bool), np.zeros(6), np.arange(6), 0.95).low)
    assert np.isnan(share(np.ones(6, bool), np.arange(6), np.zeros(6), 0.95).low)


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    for people, raters, kind in ((4, 60, "even"), (20, 20, "hard"), (50, 40, "easy")):
        found = study_power.simulate(people, raters, 2, study_power.KINDS[kind], trials=400, seed=1)
        assert found.covered >= 0.92, (people, raters, kind, found)
        assert found.narrow < (0.85 if people == 4 else 1), found  # as if answers about one person were independent
