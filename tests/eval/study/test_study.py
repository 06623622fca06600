"""USER: the trials, who sees which, what the pages accept and give away, and the score."""

import io
import json
import socket
import sqlite3
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import made_study as made
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from eval.report import markdown_table, table1_quality
from eval.scoring import user_study
from eval.scoring.results import Results
from eval.statistics import study_power
from eval.study import assignment, build, user_score, web_app
from eval.study.answers_db import Answers, Row
from eval.study.rate_limits import Buckets
from eval.study.trials import CHECK, Rate, Study
from eval.study.two_way_interval import share, variances
from pipeline.core import stage
from pipeline.core.errors import InputError
from stages import study as study_stage


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A study that tests only read: (root, inputs, study)."""
    root = tmp_path_factory.mktemp("study")
    inputs = made.data(root)
    return root, inputs, made.study(root, inputs)


@pytest.fixture
def answers(world, tmp_path):
    found = Answers(tmp_path / "answers.sqlite", world[2].design, simulated=False)
    yield found
    found.close()


@pytest.fixture
def pages(world, answers, tmp_path):
    """A client of the pages, without a server."""
    return web_app.create(world[2], answers, made.config(), (tmp_path / "takedown.txt",)).test_client()


def begin(pages):
    proof = made.fields(pages.get("/").data)["proof"]
    return post(pages, "/start", proof=proof, agreed="yes").headers["Location"]


def post(pages, path, origin="http://localhost", **form):
    return pages.post(path, data=form, headers={"Origin": origin} if origin else {})


def trial_of(world, answers, n=1):
    """Of the only rater."""
    return world[2].trials[answers.shown(1, n)[0]]


# The trials

def test_a_trial_is_two_real_frames_of_two_other_videos_and_the_method_s_picture_of_a_held_out_frame(world):
    study = world[2]
    for trial in study.trials.values():
        rows = [made.row_of(study.png(trial, k)) for k in range(3)]
        assert rows[trial.fake] is None and len({clip.split("/")[1] for clip in trial.clips}) == 3
        fake = np.asarray(Image.open(io.BytesIO(study.png(trial, trial.fake))))
        if trial.method != CHECK:
            assert (fake == made.noise(trial.method, trial.shots, trial.row)).all()
            rows[trial.fake] = trial.row
        else:
            assert trial.row in rows and not trial.clips[trial.fake].endswith("v0")  # the held-out frame is there, whole
        for row, clip in zip(rows, trial.clips):
            assert clip.startswith(trial.person) and (row is None or clip == clip_of(row))


def clip_of(row):
    return f"p{row // 40}/v{row % 40 // 10}"


def test_every_cell_person_and_position_has_as_many_trials_as_any_other(world):
    trials = world[2].trials.values()
    assert len(trials) == 5 * 4 * 6  # four cells and the checks, four people, six frames
    kinds = ((5, lambda t: (t.method, t.shots)), (4, lambda t: t.person), (60, lambda t: (t.method, t.shots, t.person, t.fake)))
    for different, what in kinds:
        found = Counter(map(what, trials))
        assert len(found) == different and len(set(found.values())) == 1
    scenes = {}
    for t in trials:
        if t.method == CHECK:
            continue
        real = frozenset(p for k, p in enumerate(t.pictures) if k != t.fake)
        scenes.setdefault((t.method, t.shots), set()).add((t.scene, real))
    assert len({frozenset(found) for found in scenes.values()}) == 1  # every method is seen beside the same real frames


def test_the_same_inputs_give_the_same_bytes_and_another_seed_other_trials(world, tmp_path):
    _, inputs, study = world
    for name, seed in (("again", 0), ("other", 1)):
        made.study(tmp_path / name, inputs, seed=seed)
    again, other = (tmp_path / name / "study" / "made" / "trials" for name in ("again", "other"))
    for file in ("trials.json", "00000.tar", "manifest.json"):
        assert (again / file).read_bytes() == (study.folder / file).read_bytes()
    assert not Study(other).trials.keys() & study.trials.keys()


def test_a_person_on_the_take_down_list_has_no_trial_and_nobody_else_s_changes(world, tmp_path):
    inputs = made.data(tmp_path)
    (tmp_path / "data" / "made" / "takedown.txt").write_text("p2\n")
    fewer = made.study(tmp_path, inputs)
    assert fewer.trials.keys() == {name for name, t in world[2].trials.items() if t.person != "p2"}


def test_a_video_on_the_list_is_in_no_trial(tmp_path):
    inputs = made.data(tmp_path)
    (tmp_path / "data" / "made" / "takedown.txt").write_text("p1/v2\n")
    trials = made.study(tmp_path, inputs).trials.values()
    assert {clip for t in trials for clip in t.clips if clip.startswith("p1")} == {"p1/v0", "p1/v1", "p1/v3"}


def test_utterances_of_one_video_are_one_video(tmp_path):
    trials = made.study(tmp_path, made.data(tmp_path, videos=3, utterances=2)).trials.values()
    assert all({clip.split("/")[1] for clip in t.clips} == {"v0", "v1", "v2"} for t in trials)


def rows_shown(study):
    return {made.row_of(study.png(t, k)) for t in study.trials.values() for k in range(3) if k != t.fake}


def test_a_frame_without_landmarks_is_in_no_trial(tmp_path):
    one = rows_shown(made.study(tmp_path / "all", made.data(tmp_path / "all", people=1, videos=3)))
    blind = max(one)
    assert blind not in rows_shown(made.study(tmp_path / "few", made.data(tmp_path / "few", people=1, videos=3, blind=blind)))


def test_a_person_with_two_videos_is_left_out_with_a_sentence_and_the_other_rule_says_what_it_is(tmp_path):
    inputs = made.data(tmp_path, videos=2)
    with pytest.raises(InputError,
                       match=r"p0 has 1 other video with landmarks, 2 needed; set study.rule to frames \(same-video"):
        made.study(tmp_path / "a", inputs)
    study = made.study(tmp_path / "b", inputs, made.config(rule="frames", apart=0.75))
    assert all(set(t.clips) == {f"{t.person}/v0"} for t in study.trials.values())
    assert "same-video trials" in "\n".join(study_stage.summary(study, [], 4))
    with pytest.raises(InputError, match=r"no two frames 9 s away .* lower study.apart"):
        made.study(tmp_path / "c", inputs, made.config(rule="frames", apart=9.0))


def test_frames_of_the_same_video_are_apart_in_time_and_no_source_is_shown(tmp_path):
    study = made.study(tmp_path, made.data(tmp_path, people=1), made.config(rule="frames", apart=0.75))  # two frames
    for t in (t for t in study.trials.values() if t.method != CHECK):
        rows = sorted([t.row, *(made.row_of(study.png(t, k)) for k in range(3) if k != t.fake)])
        assert min(np.diff(rows)) >= 2 and not set(rows) & {0, 1}


def test_without_anything_drawn_the_way_out_is_said(tmp_path):
    inputs = made.data(tmp_path, cells=())
    with pytest.raises(InputError, match="no method has drawn anything yet"):
        made.study(tmp_path, inputs)


def test_a_picture_in_pieces_has_all_its_pixels_and_none_of_its_squares_in_place():
    picture = made.noise("real", 0)
    out = build.in_pieces(picture, np.random.default_rng(0))
    assert Counter(map(tuple, out.reshape(-1, 3))) == Counter(map(tuple, picture.reshape(-1, 3)))
    same = (out == picture).reshape(4, 4, 4, 4, 3).all((1, 3, 4))
    assert not same.any()


# What the pages give away

def test_fake_and_real_pictures_differ_in_nothing_but_pixels(world, pages, answers):
    link = begin(pages)
    seen = []
    for n in range(1, 13):
        action = made.fields((page := pages.get(link)).data)["action"]
        shown = [pages.get(f"{action}/{k}.png") for k in (1, 2, 3)]
        fake = trial_of(world, answers, n).fake
        assert made.Key(world[2]).look([r.data for r in shown])[0] == fake
        seen.append([[(k, v) for k, v in r.headers if k != "Date"] for r in shown])
        for answer in shown:
            assert Image.open(io.BytesIO(answer.data)).info == {} and answer.data.count(b"tEXt") == 0
        text = page.get_data(as_text=True)
        for word in (world[2].trials[answers.shown(1, n)[0]].id, "ff", "ft", "check", "fake_", "p0", "p1", "p2", "p3"):
            assert word not in text.replace(link, "").replace("Which picture is the fake", "").split("<main")[1].replace(
                made.fields(page.data)["proof"], ""), word
        post(pages, action, proof=made.fields(page.data)["proof"], choice=1)
    assert all(headers == seen[0][0] for three in seen for headers in three)  # the same length, type and policy, no validator
    names = {name for name, _ in seen[0][0]}
    assert not names & {"ETag", "Last-Modified", "Set-Cookie"} and dict(seen[0][0])["Cache-Control"] == "no-store"


def test_no_page_sets_a_cookie_asks_another_host_or_runs_foreign_code(pages):
    link = begin(pages)
    for path in ("/", link, f"{link}/stop", "/static/study.css", "/static/study.js", "/nothing"):
        answer = pages.get(path)
        assert "Set-Cookie" not in answer.headers and "default-src 'none'" in answer.headers["Content-Security-Policy"]
        text = answer.get_data(as_text=True).replace("http://localhost/", "/")
        assert "http://" not in text and "https://" not in text and "style=" not in text and "onclick" not in text


def test_a_picture_is_there_for_the_present_trial_only(pages):
    link = begin(pages)
    form = made.fields(pages.get(link).data)
    assert pages.get(f"{link}/1/1.png").status_code == 200
    for path in ("1/0.png", "1/4.png", "2/1.png", "0/1.png", f"{2**63}/1.png", f"1/{2**63}.png"):
        assert pages.get(f"{link}/{path}").status_code == 404
    post(pages, form["action"], proof=form["proof"], choice=1)
    assert pages.get(f"{link}/1/1.png").status_code == 404  # answered: nobody looks at it again


# What the pages accept

def test_nobody_begins_without_consent(pages, answers):
    proof = made.fields(pages.get("/").data)["proof"]
    assert post(pages, "/start", proof=proof).headers["Location"] == "/"
    assert answers.start() and answers.rater("x") is None
    assert sqlite3.connect(answers.path).execute("select count(*) from rater").fetchone() == (1,)


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "", "http://localhost.evil.example", "http://localhost:81",
                                    "http://["])
def test_a_form_from_elsewhere_is_refused(pages, answers, origin):
    link = begin(pages)
    form = made.fields(pages.get(link).data)
    assert post(pages, form["action"], origin=origin, proof=form["proof"], choice=1).status_code == 403
    proof = made.fields(pages.get("/").data)["proof"]
    assert post(pages, "/start", origin=origin, proof=proof, agreed="yes").status_code == 403
    assert answers.answered(1) == 0


def test_the_proof_of_another_rater_or_trial_is_refused(pages, answers):
    mine, theirs = begin(pages), begin(pages)
    form, other = made.fields(pages.get(mine).data), made.fields(pages.get(theirs).data)
    for proof in (other["proof"], "", "0" * 64, "é"):
        assert post(pages, form["action"], proof=proof, choice=1).status_code == 403
    post(pages, form["action"], proof=form["proof"], choice=1)
    second = made.fields(pages.get(mine).data)
    assert post(pages, second["action"], proof=form["proof"], choice=1).status_code == 403
    assert post(pages, f"{mine}/withdraw", proof=form["proof"]).status_code == 403
    assert [answers.answered(rater) for rater in (1, 2)] == [1, 0]


def test_the_first_answer_counts_and_going_back_shows_the_present_trial(pages, answers):
    link = begin(pages)
    form = made.fields(pages.get(link).data)
    first = post(pages, form["action"], proof=form["proof"], choice=2)
    assert first.headers["Location"] == link
    again = post(pages, form["action"], proof=form["proof"], choice=3)
    assert again.headers["Location"] == f"{link}?late=1"
    assert "answered already" in pages.get(again.headers["Location"]).get_data(as_text=True)
    assert [row.choice for row in answers.rows()] == [1]
    assert made.fields(pages.get(link).data)["action"].endswith("/2")


def test_an_answer_out_of_turn_or_without_a_choice_is_refused(pages, answers):
    link = begin(pages)
    form = made.fields(pages.get(link).data)
    for choice in ("", "0", "4", "one"):
        assert post(pages, form["action"], proof=form["proof"], choice=choice).status_code == 400
    assert post(pages, f"{link}/2", proof=form["proof"], choice=1).status_code == 403
    assert post(pages, f"{link}/{2**63}", proof=form["proof"], choice=1).status_code == 404  # more than SQLite counts
    assert post(pages, "/r/nobody/1", proof=form["proof"], choice=1).status_code == 404
    assert pages.post(form["action"], data="x" * 5000, headers={"Origin": "http://localhost"}).status_code == 413
    assert answers.rows() == []


def test_many_answers_at_once_to_one_trial_are_one(world, answers):
    token = answers.start()
    rater = answers.rater(token)
    ids = list(world[2].trials)
    with ThreadPoolExecutor(8) as pool:
        turns = set(pool.map(lambda _: answers.turn(rater, lambda mine, shown: ids[len(mine)], lambda name: True), range(40)))
        accepted = list(pool.map(lambda choice: answers.answer(rater, 1, choice % 3, None), range(40)))
    assert len(turns) == 1 and accepted.count(True) == 1 and len(answers.rows()) == 1


def test_a_rater_goes_on_by_the_link_after_a_restart(world, answers, tmp_path):
    pages = web_app.create(world[2], answers, made.config(), ()).test_client()
    link = begin(pages)
    form = made.fields(pages.get(link).data)
    post(pages, form["action"], proof=form["proof"], choice=1)
    shown = made.fields(pages.get(link).data)
    later = Answers(answers.path, world[2].design, simulated=False)
    pages = web_app.create(world[2], later, made.config(), ()).test_client()
    assert made.fields(pages.get(link).data) == shown  # the same trial, and its form is still good
    assert post(pages, shown["action"], proof=shown["proof"], choice=3).status_code == 303
    assert [(row.n, row.choice, row.ms is None) for row in later.rows()] == [(1, 0, False), (2, 2, False)]
    later.close()


@pytest.mark.parametrize("simulated", [False, True])
def test_a_link_of_people_is_none_on_a_server_for_scripts_and_the_other_way_round(world, tmp_path, simulated):
    first, other = (Answers(tmp_path / "answers.sqlite", world[2].design, simulated=kind)
                    for kind in (simulated, not simulated))
    link = begin(web_app.create(world[2], first, made.config(), ()).test_client())
    assert web_app.create(world[2], other, made.config(), ()).test_client().get(link).status_code == 404
    assert web_app.create(world[2], first, made.config(), ()).test_client().get(link).status_code == 200
    first.close()
    other.close()


def test_a_rater_may_have_the_answers_removed(pages, answers):
    link = begin(pages)
    form = made.fields(pages.get(link).data)
    post(pages, form["action"], proof=form["proof"], choice=1)
    proof, shown = made.fields(pages.get(f"{link}/stop").data)["proof"], answers.shown(1, 1)[0]
    assert post(pages, f"{link}/withdraw", proof=proof).status_code == 200
    assert answers.rows() == [] and pages.get(link).status_code == 404
    assert not [file for file in answers.path.parent.iterdir() if shown.encode() in file.read_bytes()]


def test_the_answers_hold_no_token_time_or_address(pages, answers):
    link = begin(pages)
    form = made.fields(pages.get(link).data)
    post(pages, form["action"], proof=form["proof"], choice=1)
    base = sqlite3.connect(answers.path)
    names = {name for table, in base.execute("select name from sqlite_master where type = 'table'").fetchall()
             for _, name, *_ in base.execute(f"pragma table_info({table})").fetchall()}
    assert names == {"design", "key", "id", "token", "simulated", "rater", "n", "trial", "choice", "ms", "name", "seq"}
    assert link.rsplit("/", 1)[1] not in "\n".join(base.iterdump())


def test_pages_of_one_rater_and_new_raters_are_limited(world, answers):
    few = {name: {"burst": burst, "seconds": 60.0} for name, burst in (("requests", 3), ("start", 2), ("starts", 9))}
    few["kept"] = 100
    pages = web_app.create(world[2], answers, made.config(limits=few), ()).test_client()
    one, other = begin(pages), begin(pages)
    proof = made.fields(pages.get("/").data)["proof"]
    assert post(pages, "/start", proof=proof, agreed="yes").status_code == 429
    assert [pages.get(one).status_code for _ in range(4)] == [200, 200, 200, 429]
    assert pages.get(other).status_code == 200


def test_a_bucket_fills_with_time_and_only_so_many_are_remembered():
    now = [0.0]
    buckets = Buckets(Rate(burst=2, seconds=10.0), 3, lambda: now[0])
    assert [buckets.take("a") for _ in range(3)] == [True, True, False]
    now[0] = 9.9
    assert not buckets.take("a")
    now[0] = 10.1
    assert buckets.take("a") and not buckets.take("a")
    assert all(buckets.take(k) for k in range(1000)) and len(buckets._left) == 3


def test_who_is_taken_down_while_the_study_runs_disappears_from_it(world, pages, answers, tmp_path):
    link = begin(pages)
    form = made.fields(pages.get(link).data)
    gone = trial_of(world, answers).person
    post(pages, form["action"], proof=form["proof"], choice=1)
    pages.get(link)
    second = trial_of(world, answers, 2).person
    (tmp_path / "takedown.txt").write_text(f"{gone}\n{second}\n")
    assert pages.get(f"{link}/2/1.png").status_code == 404
    for n in range(2, 9):
        page = pages.get(link)
        assert trial_of(world, answers, n).person not in (gone, second)
        post(pages, made.fields(page.data)["action"], proof=made.fields(page.data)["proof"], choice=1)
    table = user_score.table(world[2], answers.rows(), {gone, second})
    assert len(table) == 7 and not set(table["person"]) & {gone, second}


def test_a_set_in_the_place_of_one_that_was_taken_down_is_timed_from_its_own_page(world, pages, answers, tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(web_app.time, "monotonic", lambda: now[0])
    link = begin(pages)
    pages.get(link)
    (tmp_path / "takedown.txt").write_text(trial_of(world, answers).person)
    now[0] = 900.0
    form = made.fields(pages.get(link).data)
    now[0] = 902.0
    post(pages, form["action"], proof=form["proof"], choice=1)
    assert [(row.n, row.ms) for row in answers.rows()] == [(1, 2000)]


# Who sees which trial

def sessions(study, raters, trials, every=5):
    shown, out = Counter(), []
    for rater in range(raters):
        rng, mine = assignment.random.Random(rater), []
        for n in range(1, trials + 1):
            due = assignment.is_due(rater, n, every, b"k")
            mine.append(assignment.following(list(study.trials.values()), mine, shown, due=due, rng=rng))
            shown[mine[-1].id] += 1
        out.append(mine)
    return shown, out


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
    assert "last set" in pages.get(link).get_data(as_text=True)


# The score

def planted(study, seed=0, raters=9, careless=(3,)):
    """Rows of raters with set choices -> (rows, (method, T) -> [right, all] of those who count)."""
    rng, rows, due = np.random.default_rng(seed), [], {}
    _, out = sessions(study, raters, 15)
    for rater, mine in enumerate(out):
        for n, t in enumerate(mine, 1):
            right = rng.random() < {("ff", 1): 0.9, ("ff", 8): 0.6, ("ft", 1): 0.5, ("ft", 8): 0.33}.get((t.method, t.shots), 1)
            if t.method == CHECK:
                right = rater not in careless or n < 6
            elif rater not in careless:
                due.setdefault((t.method, t.shots), [0, 0])
                due[t.method, t.shots] = [due[t.method, t.shots][0] + right, due[t.method, t.shots][1] + 1]
            rows.append(Row(rater + 1, False, n, t.id, t.fake if right else (t.fake + 1) % 3, 1500))
    return rows, due


def test_the_score_is_the_planted_count_without_raters_who_missed_checks(world):
    rows, due = planted(world[2])
    body = user_score.score(world[2], rows, (), 0.95)
    cells = {(m, int(t)): cell for m, some in body["cells"].items() for t, cell in some.items()}
    assert {cell: [c["correct"], c["n"]] for cell, c in cells.items()} == due
    assert all(abs(c["value"] - c["correct"] / c["n"]) < 1e-6 and c["low"] < c["value"] < c["high"] for c in cells.values())
    assert (body["raters"], body["excluded"], body["answers"]) == (8, 1, sum(n for _, n in due.values()))
    assert abs(body["chance"] - 1 / 3) < 1e-6 and body["median_seconds"] == 1.5


def test_answers_to_pictures_that_are_there_no_longer_are_left_out_and_counted(world):
    rows, _ = planted(world[2])
    body = user_score.score(world[2], [*rows, Row(1, False, 99, "0" * 16, 0, None)], (), 0.95)
    assert body == {**user_score.score(world[2], rows, (), 0.95), "gone": 1}
    assert "1 answers are about trials that are gone" in "\n".join(user_score.lines(body))


def test_a_rater_without_a_found_check_does_not_count(world):
    rows = [row for row in planted(world[2])[0] if world[2].trials[row.trial].method != CHECK]
    with pytest.raises(InputError, match="none of which counts: a rater has to find an attention check"):
        user_score.score(world[2], rows, (), 0.95)


def call(root, monkeypatch, verb, *more):
    monkeypatch.setattr(sys, "argv", made.words(root, verb, *more))
    monkeypatch.setattr(stage, "ROOT", root)
    monkeypatch.setattr(stage, "die_with_parent", lambda parent: None)
    study_stage.main()


@pytest.fixture
def answered(tmp_path, monkeypatch):
    """A built study with answers by people and by scripts in one file."""
    made.data(tmp_path)
    made.params(tmp_path)
    call(tmp_path, monkeypatch, "build")
    study = Study(tmp_path / "study" / "made" / "trials")

    def store_rows(simulated, seed):
        base = Answers(tmp_path / "study" / "made" / "answers.sqlite", study.design, simulated=simulated)
        rows, due = planted(study, seed)
        tokens = {}
        for row in rows:
            if row.rater not in tokens:
                tokens[row.rater] = base.rater(base.start())
            rater = tokens[row.rater]
            base.turn(rater, lambda mine, shown, row=row: row.trial, lambda name: True)
            assert base.answer(rater, row.n, row.choice, row.ms)
        base.close()
        return due

    return tmp_path, store_rows


def test_answers_of_scripts_never_reach_the_table(answered, monkeypatch, capsys):
    root, store_rows = answered
    with pytest.raises(InputError, match="nobody has answered yet"):
        call(root, monkeypatch, "score")
    scripted = store_rows(True, 1)
    out = root / "results" / "made" / "study" / "user.json"
    with pytest.raises(InputError, match="no answers by real raters; those of 9 simulated raters are never taken for them"):
        call(root, monkeypatch, "score")
    call(root, monkeypatch, "score", "--simulated")
    apart = json.loads((root / "study" / "made" / "simulated.json").read_text())
    assert apart["cells"]["ff"]["1"]["n"] == scripted["ff", 1][1] and not out.exists()
    out.parent.mkdir(parents=True)
    out.write_text(json.dumps(apart))
    with pytest.raises(InputError, match="these are answers of scripts, not of people; remove it"):
        user_study.user(root / "results", "made")
    due = store_rows(False, 0)
    call(root, monkeypatch, "score")
    assert "9 simulated raters and their answers are left out" in capsys.readouterr().out
    found = user_study.user(root / "results", "made")
    assert {cell: [c["correct"], c["n"]] for cell, c in found.items()} == due


def test_the_score_fills_the_table_s_column_and_says_what_it_is(answered, monkeypatch):
    root, store_rows = answered
    results = Results(root / "data", root / "models", root / "results", ["made"], ["ff", "ft"], [1, 8])
    table = table1_quality.quality(results)
    column = table.head.index("USER ↓")
    assert {row[column] for row in table.rows} == {"–"} and any("USER is a user study" in note for note in table.notes)
    store_rows(False, 0)
    call(root, monkeypatch, "score")
    table = table1_quality.quality(results)
    cell = user_study.user(root / "results", "made")["ft", 8]
    shown = {(row[1], row[2]): row[column] for row in table.rows}
    assert shown["ft", "8"] == markdown_table.interval(cell) and len(set(shown.values())) == 4
    line = next(line for line in table.record if (line["method"], line["shots"]) == ("ft", 8))
    assert (line["user"], line["user_low"], line["user_high"]) == (cell["value"], cell["low"], cell["high"])
    assert any("8 raters" in note and "chance: 0.33" in note for note in table.notes)


def test_the_export_is_one_line_an_answer_and_follows_the_take_down_list(answered, monkeypatch):
    root, store_rows = answered
    store_rows(False, 0)
    call(root, monkeypatch, "export")
    folder = root / "study" / "made"
    table = pd.read_csv(folder / "answers.csv")
    pd.testing.assert_frame_equal(table, pd.read_parquet(folder / "answers.parquet"), check_dtype=False)
    assert list(table) == user_score.COLUMNS and len(table) == 9 * 15
    assert (table["correct"] == (table["choice"] == table["fake"])).all()
    (folder / "takedown.txt").write_text("p1\n")
    call(root, monkeypatch, "export")
    assert not (pd.read_csv(folder / "answers.csv")["person"] == "p1").any()
    call(root, monkeypatch, "score")
    assert all(c["people"] <= 3 for c in user_study.user(root / "results", "made").values())


def test_answers_belong_to_the_rules_they_were_given_under(answered, monkeypatch):
    root, store_rows = answered
    store_rows(False, 0)
    made.params(root, misses=2)
    call(root, monkeypatch, "score")  # the rule that the study was built by, not today's
    assert user_study.read(root / "results", "made")["misses"] == 0
    call(root, monkeypatch, "build")
    with pytest.raises(InputError, match="holds answers to a study of other rules"):
        call(root, monkeypatch, "score")


def test_what_is_missing_or_taken_is_one_sentence(answered, tmp_path_factory, monkeypatch):
    root, _ = answered
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        made.params(root, port=taken.getsockname()[1])
        with pytest.raises(InputError, match=r"study.port: 127.0.0.1:\d+: Address already in use; choose another port"):
            call(root, monkeypatch, "serve")
    monkeypatch.setitem(sys.modules, "waitress", None)
    with pytest.raises(InputError, match="waitress is not installed; `make study` installs"):
        call(root, monkeypatch, "serve")
    other = tmp_path_factory.mktemp("other")
    made.params(other)
    with pytest.raises(InputError, match=r"no study is built; run `python -m stages\.study build`"):
        call(other, monkeypatch, "score")


# The interval

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


# The whole of it: many browsers, a server that is killed

def test_twenty_browsers_answer_thirty_trials_each_through_a_killed_server_and_no_answer_is_lost(tmp_path, monkeypatch):
    made.data(tmp_path, people=6)
    made.params(tmp_path)
    call(tmp_path, monkeypatch, "build")
    study = Study(tmp_path / "study" / "made" / "trials")
    finds = dict(zip(made.CELLS, (0.9, 0.7, 0.5, 1 / 3)))
    server = made.Server(tmp_path, trials=30)
    scripts = [made.Script(n, server, made.Key(study), finds, attentive=n != 7) for n in range(20)]
    try:
        with ThreadPoolExecutor(20) as pool:
            runs = [pool.submit(script.run) for script in scripts]
            while sum(len(script.log) for script in scripts) < 300 and not all(one.done() for one in runs):
                made.time.sleep(0.01)
            server.kill()
            server.start()
            for one in runs:
                one.result()
    finally:
        server.kill()
    stored = Answers(tmp_path / "study" / "made" / "answers.sqlite", study.design, simulated=False).rows()
    assert len(stored) == len({(row.rater, row.trial) for row in stored}) == 600
    of_raters = {}
    for row in stored:
        assert row.simulated
        of_raters.setdefault(row.rater, {})[row.n] = (row.trial, row.choice, True)
    logs = [{n: (*answer[:2], True) for n, answer in script.log.items()} for script in scripts]
    assert sorted(logs, key=str) == sorted(of_raters.values(), key=str)
    assert sum(not confirmed for script in scripts for *_, confirmed in script.log.values()) <= 20  # under way at the kill
    call(tmp_path, monkeypatch, "score", "--simulated")
    body = json.loads((tmp_path / "study" / "made" / "simulated.json").read_text())
    due = Counter()
    for script in scripts:
        for trial, choice, _ in script.log.values():
            t = study.trials[trial]
            if script.attentive and t.method != CHECK:
                due[t.method, t.shots, choice == t.fake] += 1
    assert (body["raters"], body["excluded"], body["answers"]) == (19, 1, 19 * 27)
    for (method, shots) in made.CELLS:
        cell = body["cells"][method][str(shots)]
        assert cell["correct"] == due[method, shots, True] and cell["n"] == sum(due[method, shots, x] for x in (True, False))
    assert not (tmp_path / "results" / "made" / "study").exists()
