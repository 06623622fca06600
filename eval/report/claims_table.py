"""The claims and the ranking's stability as tables: claims.md, claims.csv, ranking.csv and rows for the page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from eval.claims.claims import SECONDS
from eval.claims.paper import paper
from eval.claims.verdicts import ABSENT, VERDICTS, Finding, Judged
from eval.report.markdown_table import DASH, Table, number
from eval.report.table3_differences import KEYS, text
from eval.scoring.results import Results
from eval.statistics.comparison import Place
from eval.statistics.intervals import plain
from eval.statistics.ranking import Stability

PAPER_METHOD = {"voxceleb1": {"ft": "Ours"}, "voxceleb2": {"ft": "Ours-FT"}}  # whose row a method of ours is, where it has two


class ClaimsTable(Table):
    """As Markdown the numbers, the last column, stand below the table: a list a claim."""

    def markdown(self) -> str:
        """The verdicts, the notes, the numbers."""
        said = Table(self.title, self.head[:-1], [row[:-1] for row in self.rows], self.notes).markdown()
        for dataset, verdict, says, _, numbers in self.rows:
            said += f"\n### {says}\n{dataset}: {verdict}\n\n" + "".join(f"- {line}\n" for line in numbers.split("; "))
        return said


def table(results: Results, judged: Mapping[str, Sequence[Judged]]) -> Table:
    """One row a claim and data set; `record` has one a comparison."""
    made = ClaimsTable("Claims of the paper, held against these results",
                       ["data set", "verdict", "the paper says", "source", "numbers"], keys=2, anchor="claims", prose=True)
    label = lru_cache(maxsize=None)(results.label)
    for dataset, found in judged.items():
        for claim, verdict, findings in found:
            said = [sentence(label, finding, claim.block) for finding in findings]
            made.rows.append([dataset, verdict, claim.says, claim.source, "; ".join(_short(said, findings))])
            made.record += [_record(dataset, claim.id, claim.says, claim.source, verdict, claim.block, j, finding)
                            for j, finding in enumerate(findings, 1)]
    made.notes = notes(results, judged)
    return made


def notes(results: Results, judged: Mapping[str, Sequence[Judged]]) -> list[str]:
    """What a reader must know of the verdicts."""
    said = []
    for dataset, found in judged.items():
        counts = ", ".join(f"{sum(one.verdict == verdict for one in found)} {verdict}" for verdict in VERDICTS)
        said.append(f"{dataset}: {counts}, of {len(found)} claims.")
    metrics = results.metrics()
    used = {(f.metric, f.column) for found in judged.values() for j in found for f in j.findings
            if f.column not in ("", "timing.json", f.metric)}
    said += [f"{column} ({metrics[column]['label']}) stands for {name}: another network than the paper's, so the claim is "
             "held against another number." for name, column in sorted(used)]
    return [*said,
            "supported / contradicted: the interval over people of the paired difference leaves out 0 on that side; a claim of "
            "several comparisons is supported when all are, contradicted when one is, otherwise undecided.",
            "Times are medians of one machine: they have no interval over people and no p.",
            "Each verdict stands by itself: of twenty comparisons without any difference one is expected to look decided. It "
            "is about these data, these people and one training run a method, not about the paper's own experiment.",
            "p as in Table 3. With fewer than 6 people it cannot fall below 0.05; the verdict is the interval's."]


def sentence(label: Callable[[str], str], finding: Finding, block: str) -> str:
    """One comparison in words: what is due, by how much, with what certainty."""
    small, large, times, limit = finding.atom
    if finding.verdict == ABSENT:
        return finding.why
    right = _name(label, large, finding.metric) if large else number(limit)
    left = _name(label, small, finding.metric)
    column = finding.metric.replace("_", " ") if finding.metric in SECONDS else finding.column
    if finding.values:
        a, b = finding.values
        said = f"{number(a)} s and {number(b)} s" + (f", ratio {number(b / a)} (due {times:g})" if a and times != 1 else "")
    else:
        assert finding.difference is not None
        d = finding.difference
        said = f"difference {text(d)}, {d.n_people} people"
    theirs = [value for place in (small, large) if (value := paper_value(block, finding.metric, place))]
    beside = f", in the paper {' and '.join(theirs)}" if theirs else ""
    return f"{column}: {left} {'≤' if large is None else '<'} {right}: {finding.verdict} ({said}{beside})"


def _short(said: Sequence[str], findings: Sequence[Finding]) -> list[str]:
    """The sentences, those on what was not measured only once."""
    return list(dict.fromkeys(said if any(f.verdict != ABSENT for f in findings) else said[:1]))


def _name(label: Callable[[str], str], place: Place, metric: str) -> str:
    return label(place[0]) + ("" if metric == "frame_seconds" else f" T={place[1]}")


def _record(dataset: str, claim: str, says: str, source: str, verdict: str, block: str, part: int,
            finding: Finding) -> dict[str, Any]:
    small, large, times, limit = finding.atom
    d = finding.difference
    return {"dataset": dataset, "claim": claim, "says": says, "source": source, "claim_verdict": verdict, "part": part,
            "metric": finding.metric, "column": finding.column or None, "verdict": finding.verdict,
            "small_method": small[0], "small_T": small[1], "large_method": large and large[0], "large_T": large and large[1],
            "number": limit, "times": times, **{key: plain(getattr(d, key)) if d else None for key in KEYS},
            "people": d.n_people or None if d else None, "why_not": finding.why or None,
            "paper_small": paper_value(block, finding.metric, small), "paper_large": paper_value(block, finding.metric, large)}


def paper_value(block: str, metric: str, place: Place | None) -> str | None:
    """The paper's own number, as printed there; for orientation, no verdict is made of it."""
    if place is None or block == "none":
        return None
    method, t = place
    name = PAPER_METHOD.get(block, {}).get(method)
    shots = "frame" if metric == "frame_seconds" else str(t)
    for row in paper():
        mine = row["ours"] == method and row["shots"] == shots and name in (None, row["paper_method"])
        if mine and row["dataset"] == ("" if block == "seconds" else block):
            return row["seconds" if block == "seconds" else metric] or None
    return None


def ranking(results: Results, found: Mapping[str, Sequence[Stability]]) -> Table:
    """How often the order of the methods stays as the table has it."""
    head = ["data set", "T", "column", "order in the table", "same order", "share of resamples", "people"]
    made = Table("Stability of the ranking", head, keys=3, anchor="ranking", prose=True)
    label = lru_cache(maxsize=None)(results.label)
    for dataset, rows in found.items():
        for s in rows:
            order = " > ".join(label(method) for method in s.order)
            made.rows.append([dataset, str(s.shots), s.column, order if s.column == s.table else f"as {s.table}",
                              "yes" if s.same else "no", f"{100 * s.share:.0f} %", str(s.n_people)])
            made.record.append({"dataset": dataset, "shots": s.shots, "table": s.table, "column": s.column,
                                "order": " ".join(s.order), "same": int(s.same), "share": plain(s.share), "people": s.n_people})
        for column in dict.fromkeys(s.table for s in rows):
            shares = [s.share for s in rows if s.table == column]
            variants = len({s.column for s in rows if s.table == column})
            made.rows.append([dataset, "all", f"{column} and variants" if variants > 1 else column, DASH, DASH,
                              f"{100 * sum(shares) / len(shares):.0f} %", DASH])
    made.notes = ["order in the table: the best first, by the first column of each family; share: in how many resamples of the "
                  "people a column has exactly that order. Methods that score alike to the last digit stay in their order."]
    return made
