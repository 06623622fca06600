"""The whole study: many browsers and a server that is killed."""

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import made_study as made
from made_raters import call

from eval.study.answers_db import Answers
from eval.study.trials import CHECK, Study


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
