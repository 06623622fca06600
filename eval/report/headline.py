"""Which method to use at each T, and how sure one can be: the first thing on the page, from the paired intervals alone.

At each T every method that draws is held against every other over the same people, in each of the paper's columns that was
measured (or what stands for it). The one with the most decided comparisons for it, less those against it, is named.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

from eval.claims import claims
from eval.report.markdown_table import number
from eval.scoring import metric
from eval.statistics import ranking
from eval.statistics.comparison import Compared
from eval.statistics.intervals import Difference

FLOORS = ("mean", "copy")  # they draw nothing: never an answer, but said where they score better than it
COLUMNS = ("ssim", "csim", "fid")  # the paper's
INSTANT = 1.0  # seconds of few-shot learning that a person does not wait for
CLEAR, LIKELY, OPEN = "clear", "likely", "open"
MEANING = {CLEAR: "every comparison with the others is decided: the interval over people of the paired difference leaves out 0",
           LIKELY: "ahead in most comparisons, more decided for it than against it",
           OPEN: "not ahead in most comparisons, or no more decided for it than against it"}


class Lead(NamedTuple):
    """The answer in one column, beside the best of the others."""

    column: str
    value: float
    next: str  # method
    next_value: float
    by: Difference  # turned so that positive is better
    first: float  # share of the resamples of the people in which no other method is better


class Quick(NamedTuple):
    """What to use where a person must be ready at once: its few-shot learning, and how it does beside the answer."""

    method: str
    seconds: float
    column: str
    by: Difference  # less the answer, turned so that positive is better


class Answer(NamedTuple):
    """One T of one data set."""

    dataset: str
    shots: int
    method: str
    sure: str  # a key of MEANING
    won: int  # comparisons (column x other method) whose interval lies on its side
    lost: int
    undecided: int
    leads: list[Lead]
    seconds: float | None  # of few-shot learning
    frame: float | None  # seconds
    quick: Quick | None
    gain: tuple[int, str, Difference] | None  # the T before, column, by how much this T is better (positive)
    floors: list[tuple[str, str]]  # (floor, column) that score better, decided


def answers(compared: Compared) -> list[Answer]:
    """One for each T at which two drawing methods or more were scored."""
    found: list[Answer] = []
    for t in compared.results.shots:
        if one := _answer(compared, t, found[-1].shots if found else None):
            found.append(one)
    return found


def columns(measured: Collection[str]) -> dict[str, str]:
    """The paper's column -> the measured one that is it or stands for it."""
    accepted = claims.load().metrics
    found = ((name, next((c for c in accepted[name] if c in measured), "")) for name in COLUMNS)
    return {name: column for name, column in found if column}


def _answer(compared: Compared, t: int, before: int | None) -> Answer | None:
    named = list(columns(compared.columns).values())
    methods = [m for m in compared.results.methods if m not in FLOORS and any(compared.measured([c], (m, t)) for c in named)]
    if len(methods) < 2:
        return None
    driven = [m for m in methods if _driven_by(compared, m, t) == "landmarks"] or methods
    tally = {m: _tally(compared, named, m, methods, t) for m in driven}
    best = max(driven, key=lambda m: _rank(tally[m]))
    won, lost, undecided, ahead = tally[best]
    timing: dict[str, Any] = compared.results.timing(compared.dataset, best) or {}
    leads = [lead for column in named if (lead := _lead(compared, column, best, methods, t))]
    return Answer(compared.dataset, t, best, _sure(won, lost, undecided, ahead), won, lost, undecided, leads,
                  compared.results.seconds(compared.dataset, best, t), timing.get("frame", {}).get("median"),
                  _quick(compared, named, best, driven, tally, t), _gain(compared, named[0], best, t, before),
                  list(_floors(compared, named, best, t)))


Tally = tuple[int, int, int, int]  # won, lost, undecided, ahead by value alone


def _rank(tally: Tally) -> tuple[int, int]:
    won, lost, _, ahead = tally
    return won - lost, ahead


def _sure(won: int, lost: int, undecided: int, ahead: int) -> str:
    """clear: every comparison is decided for it; likely: more decided for than against it, and ahead in most; else open."""
    if won and not lost and not undecided:
        return CLEAR
    return LIKELY if won > lost and 2 * ahead > won + lost + undecided else OPEN


def _tally(compared: Compared, named: Sequence[str], one: str, methods: Sequence[str], t: int) -> Tally:
    pairs = [(column, other) for column in named for other in methods if other != one]
    found = [d for column, other in pairs if (d := better(compared, column, (one, t), (other, t)))]
    won, lost = sum(d.low > 0 for d in found), sum(d.high < 0 for d in found)
    return won, lost, len(found) - won - lost, sum(d.value > 0 for d in found)


def better(compared: Compared, column: str, one: tuple[str, int], other: tuple[str, int]) -> Difference | None:
    """one − other over the same people, turned so that positive is better; None where they cannot be compared."""
    found = compared.difference(column, one, other)
    if isinstance(found, str):
        return None
    if metric.load(column).better == "higher":
        return found
    return found._replace(value=-found.value, low=-found.high, high=-found.low)


def _lead(compared: Compared, column: str, best: str, methods: Sequence[str], t: int) -> Lead | None:
    """Beside the best of the others."""
    others = [(d, m) for m in methods if m != best and (d := better(compared, column, (best, t), (m, t)))]
    if not others:
        return None
    by, other = min(others, key=lambda pair: pair[0].value)
    values = [compared.value(column, (m, t)) for m in (best, other)]
    sides = [best, *(m for _, m in others)]
    _, resampled, _ = ranking.scores(compared, column, sides, t)
    a, b = (v.value for v in values if not isinstance(v, str))
    return Lead(column, a, other, b, by, float((resampled[0] <= resampled[1:].min(axis=0)).mean()))


def _quick(compared: Compared, named: Sequence[str], best: str, driven: Sequence[str], tally: dict[str, Tally],
           t: int) -> Quick | None:
    """The best of those that learn a person within INSTANT, where the answer does not."""
    times = {m: seconds for m in driven if (seconds := compared.results.seconds(compared.dataset, m, t)) is not None}
    fast = [m for m, seconds in times.items() if seconds <= INSTANT]
    if best in fast or best not in times or not fast:
        return None
    method = max(fast, key=lambda m: _rank(tally[m]))
    by = better(compared, named[0], (method, t), (best, t))
    return Quick(method, times[method], named[0], by) if by else None


def _gain(compared: Compared, column: str, best: str, t: int, before: int | None) -> tuple[int, str, Difference] | None:
    """What this T gives over the one before, by the same method."""
    if before is None or (found := better(compared, column, (best, t), (best, before))) is None:
        return None
    return before, column, found


def _floors(compared: Compared, named: Sequence[str], best: str, t: int) -> Iterator[tuple[str, str]]:
    for floor in FLOORS:
        for column in named if floor in compared.results.methods else ():
            if (d := better(compared, column, (floor, t), (best, t))) and d.low > 0:
                yield floor, column


def _driven_by(compared: Compared, method: str, t: int) -> str:
    found = compared.cell((method, t))
    return str(found[0].manifest["driven_by"]) if found else ""


def headline(found: Sequence[Answer], label: dict[str, str]) -> str:
    """`Use FT at every T.` or `Use FF at T = 1, FT at T = 8. Undecided at T = 32.`"""
    uses: dict[str, list[int]] = {}
    for one in found:
        uses.setdefault(one.method if one.sure != OPEN else "", []).append(one.shots)
    several = len(uses) > 1 or len(found) == 1
    at = {method: shots(ts) if several else "every T" for method, ts in uses.items()}
    vague = f"Undecided at {at.pop('')}." if "" in at else ""
    quick = dict.fromkeys(label[one.quick.method] for one in found if one.quick and one.sure != OPEN)
    said = ", ".join(f"{label[method]} at {ts}" for method, ts in at.items())
    ready = f"; where a person must be ready at once, {' or '.join(quick)}" if quick else ""
    return " ".join(filter(None, [f"Use {said}{ready}." if said else "", vague]))


def shots(found: Sequence[int]) -> str:
    """`T = 8` or `T = 1, 8 and 32`."""
    first, last = found[:-1], found[-1]
    return f"T = {', '.join(map(str, first))}{' and ' if first else ''}{last}"


def by(found: Difference) -> str:
    """`+0.101 [0.020, 0.182]`."""
    like = max(abs(x) for x in found[:3] if math.isfinite(x))
    bounds = f" [{number(found.low, like)}, {number(found.high, like)}]" if math.isfinite(found.low) else ""
    return f"{'+' if found.value > 0 else ''}{number(found.value, like)}{bounds}".replace("-", "−")
