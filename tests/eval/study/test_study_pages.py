"""The pages of the study: what they give away and what they accept."""

import io
import sqlite3
from concurrent.futures import ThreadPoolExecutor

import made_study as made
import pytest
from made_raters import begin, post, trial_of
from PIL import Image

from eval.study import user_score, web_app
from eval.study.answers_db import Answers
from eval.study.trials import Rate
from eval.study.visitor_limits import Buckets


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
    assert pages.get(again.headers["Location"]).status_code == 200
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
