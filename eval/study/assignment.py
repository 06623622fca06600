"""Which trial a rater sees next: people and cells in turn, least-answered first, no scene twice."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Sequence

from eval.study.trials import CHECK, Trial


def following(trials: Sequence[Trial], mine: Sequence[Trial], shown: Counter[str], *, due: bool,
              rng: random.Random) -> Trial | None:
    """The next of `trials` for somebody who has seen `mine`; an attention check if one is `due`; None when all scenes are seen.

    First come people that this rater has seen least: a person's fakes are all of one video, which would be noticed in the end.
    Then the cells that this rater has seen least, then cells and trials that all have (`shown`: by id); the rest is chance.
    """
    seen, people = {trial.scene for trial in mine}, Counter(trial.person for trial in mine)
    cells, everywhere = Counter(cell(trial) for trial in mine), Counter[tuple[str, int]]()
    for trial in trials:
        everywhere[cell(trial)] += shown[trial.id]
    fit = [trial for trial in trials if (trial.method == CHECK) == due and trial.scene not in seen]

    def often(t: Trial) -> tuple[float, ...]:
        return people[t.person], cells[cell(t)], everywhere[cell(t)], shown[t.id], rng.random()

    return min(fit, default=None, key=often)


def is_due(rater: int, n: int, every: int, key: bytes) -> bool:
    """Whether the n-th trial of a rater, from 1, is an attention check: one at a random place in each `every` of them."""
    block, place = divmod(n - 1, every)
    drawn = hashlib.sha256(key + f"{rater}:{block}".encode()).digest()
    return place == int.from_bytes(drawn[:8], "big") % every


def cell(trial: Trial) -> tuple[str, int]:
    """Where its answers go in the table."""
    return trial.method, trial.shots
