"""Which rater sees which trial, and when a check is due."""

from collections import Counter

import made_study as made
import pytest
from made_raters import begin, post, sessions

from eval.study import assignment, web_app
from eval.study.trials import CHECK


def test_raters_see_people_and_cells_in_turn_each_scene_once_and_the_least_answered_trials_first(world):
    study = world[2]
    shown, out = sessions(study, 12, 10)
    for mine in out:
        cells = Counter((t.method, t.shots) for t in mine)
        assert cells.pop((CHECK, 0)) == 2 and set(cells.values()) == {2}
        assert len({t.scene for t in mine}) == 10
        assert set(Counter(t.person for t in mine).values()) == {2, 3}
    votes = [shown[t.id] for t in study.trials.values() if t.method != CHECK]
    assert sum(votes) == len(votes) and max(votes) <= 2  # 96 answers over 96 trials


def test_one_trial_in_every_block_is_a_check_at_a_place_that_differs_between_raters():
    places = [[n for n in range(1, 31) if assignment.is_due(rater, n, 10, b"key")] for rater in range(40)]
    assert all([(n - 1) // 10 for n in found] == [0, 1, 2] for found in places)
    assert len({tuple(found) for found in places}) > 30


@pytest.mark.parametrize("trials", [1, 4, 10])
def test_who_goes_through_a_short_study_has_met_a_check(world, answers, trials):
    pages = web_app.create(world[2], answers, made.config(trials=trials), ()).test_client()
    link = begin(pages)
    for _ in range(trials):
        form = made.fields(pages.get(link).data)
        post(pages, form["action"], proof=form["proof"], choice=1)
    methods = [world[2].trials[row.trial].method for row in answers.rows()]
    assert len(methods) == trials and methods.count(CHECK) == 1


def test_a_rater_is_through_when_all_scenes_were_seen(world, answers):
    pages = web_app.create(world[2], answers, made.config(trials=100), ()).test_client()
    link = begin(pages)
    for _ in range(24):
        form = made.fields(pages.get(link).data)
        post(pages, form["action"], proof=form["proof"], choice=1)
    assert b"/25" not in pages.get(link).data and len(answers.rows()) == 24
