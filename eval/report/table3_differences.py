"""Table 3: FT minus every other method, over the same people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eval.report.markdown_table import ARROW, DASH, Table, number
from eval.scoring.results import Results
from eval.statistics.comparison import Compared
from eval.statistics.intervals import Difference, plain

OURS = "ft"
KEYS = ("value", "low", "high", "p")


def table(results: Results, compared: Mapping[str, Compared]) -> Table:
    """data set x other method x T; a column a metric of Table 1. `compared` has an entry a data set."""
    metrics = results.metrics()
    names = [name for name, facts in metrics.items() if facts.get("main", True)]
    labels = [f"{metrics[name]['label']} {ARROW[metrics[name]['better']]}" for name in names]
    head = ["data set", f"{results.label(OURS)} minus", "T", *labels, "people"]
    made = Table("Table 3. Differences over the same people", head, keys=3, anchor="differences")
    for dataset in results.datasets:
        for method in results.methods if OURS in results.methods else ():
            for t in results.shots if method != OURS else ():
                found = {name: compared[dataset].difference(name, (OURS, t), (method, t)) for name in names}
                people = {str(d.n_people) for d in found.values() if isinstance(d, Difference)}
                made.rows.append([dataset, results.label(method), str(t), *map(text, found.values()),
                                  " or ".join(sorted(people)) or DASH])
                made.record.append(_record(dataset, method, t, found))
    made.notes = ["difference [low, high] p: person by person over the frames that both methods have a value for; the interval "
                  "resamples people as in Table 1. An interval without 0 is a difference at its level.",
                  "p: sign flips of the people's differences; for distances between sets the two methods' frames change sides "
                  "person by person (up to 6 people; none beyond). With n people no p can be below 2 / 2ⁿ: 0.125 for 4.",
                  "Differences are of these people and this training run; nothing is corrected for the number of comparisons."]
    return made


def text(found: Difference | str) -> str:
    """`value [low, high] p`; a dash for what cannot be compared."""
    if isinstance(found, str):
        return DASH
    value, low, high, p = (plain(x) for x in found[:4])
    if value is None:
        return DASH
    like = max(abs(x) for x in (value, low, high) if x is not None)
    bounds = "" if low is None else f" [{number(low, like)}, {number(high, like)}]"
    return f"{number(value, like)}{bounds}" + ("" if p is None else f" p {number(p, max(p, 0.01))}")


def _record(dataset: str, method: str, t: int, found: dict[str, Difference | str]) -> dict[str, Any]:
    record: dict[str, Any] = {"dataset": dataset, "one": OURS, "other": method, "shots": t}
    for name, d in found.items():
        record |= {f"{name}_{key}": None if isinstance(d, str) else plain(getattr(d, key)) for key in KEYS}
        record[f"{name}_people"] = None if isinstance(d, str) else d.n_people
    return record
