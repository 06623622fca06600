"""What raters do: begin, answer, see trials in turn; and the commands of the study, run in this process."""

import sys
from collections import Counter

import made_study as made
import numpy as np

from eval.study import assignment
from eval.study.answers_db import Row
from eval.study.trials import CHECK
from pipeline.core import stage
from stages import study as study_stage


def begin(pages):
    proof = made.fields(pages.get("/").data)["proof"]
    return post(pages, "/start", proof=proof, agreed="yes").headers["Location"]


def post(pages, path, origin="http://localhost", **form):
    return pages.post(path, data=form, headers={"Origin": origin} if origin else {})


def trial_of(world, answers, n=1):
    """Of the only rater."""
    return world[2].trials[answers.shown(1, n)[0]]


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


def call(root, monkeypatch, verb, *more):
    monkeypatch.setattr(sys, "argv", made.words(root, verb, *more))
    monkeypatch.setattr(stage, "ROOT", root)
    monkeypatch.setattr(stage, "die_with_parent", lambda parent: None)
    study_stage.main()
