"""Verdict on each claim of eval/claims/claims.yaml by our results: supported, contradicted, undecided or not measured.

A comparison is decided if the interval of the paired difference over people (at its level, two-sided) excludes 0; times have no
interval over people and are decided by their medians.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from eval.claims.claims import SECONDS, Atom, Claim, Claims
from eval.statistics.comparison import Compared, Place
from eval.statistics.intervals import Difference

SUPPORTED, CONTRADICTED, UNDECIDED, ABSENT = VERDICTS = ("supported", "contradicted", "undecided", "not measured")


class Finding(NamedTuple):
    """One comparison and its verdict."""

    atom: Atom
    metric: str  # the paper's name
    column: str  # the column compared; "" if none is measured
    verdict: str
    difference: Difference | None  # small − large (or − number); for times: of the medians, without interval or p
    values: tuple[float, float] | None  # medians of times
    why: str = ""  # reason if not measured


class Judged(NamedTuple):
    """One claim on one data set."""

    claim: Claim
    verdict: str
    findings: list[Finding]


def judge(claims: Claims, compared: Compared) -> list[Judged]:
    """Verdicts of every claim on the data set of `compared`, in the order of the file."""
    out = []
    for claim, parts in claims.claims:
        findings = [_finding(atom, part.metric, claims, compared) for part, atoms in parts for atom in atoms]
        out.append(Judged(claim, together([finding.verdict for finding in findings]), findings))
    return out


def together(verdicts: Sequence[str]) -> str:
    """Verdict of a claim: supported if all parts are, contradicted if any is, not measured if none is, else undecided."""
    if CONTRADICTED in verdicts:
        return CONTRADICTED
    alike = set(verdicts)
    return alike.pop() if len(alike) == 1 else UNDECIDED


def _finding(atom: Atom, name: str, claims: Claims, compared: Compared) -> Finding:
    if name in SECONDS:
        return _timed(atom, name, compared)
    column = _column(claims.metrics[name], compared)
    if not column:
        stands = " or ".join(claims.metrics[name])
        return Finding(atom, name, "", ABSENT, None, None, f"{stands or name} was not measured")
    found = _against(atom, column, compared)
    if isinstance(found, str):
        return Finding(atom, name, column, ABSENT, None, None, found)
    verdict = SUPPORTED if found.high < 0 else CONTRADICTED if found.low > 0 else UNDECIDED
    if atom.number is not None and found.high <= 0:
        verdict = SUPPORTED
    return Finding(atom, name, column, verdict if np.isfinite(found.low) else UNDECIDED, found, None)


def _column(accepted: Sequence[str], compared: Compared) -> str:
    """The first accepted column measured in any cell of the data set; one claim uses one column."""
    return next((column for column in accepted if column in compared.columns), "")


def _against(atom: Atom, column: str, compared: Compared) -> Difference | str:
    if atom.large is not None:
        return compared.difference(column, atom.small, atom.large)
    found = compared.value(column, atom.small)
    if isinstance(found, str) or atom.number is None:
        return str(found)
    value, low, high = (x - atom.number for x in found[:3])
    return Difference(value, low, high, np.nan, found.n_people, found.n_frames)


def _timed(atom: Atom, name: str, compared: Compared) -> Finding:
    """The finding from medians of timing.json."""
    found = [_median(place, name, compared) for place in (atom.small, atom.large or atom.small)]
    if why := next((x for x in found if isinstance(x, str)), None):
        return Finding(atom, name, "", ABSENT, None, None, why)
    (small, where), (large, elsewhere) = (x for x in found if not isinstance(x, str))
    if where != elsewhere:
        return Finding(atom, name, "", ABSENT, None, None, f"timed on {where} and on {elsewhere}: not comparable")
    large = large if atom.number is None else atom.number
    d = Difference(small - large, np.nan, np.nan, np.nan, 0, 0)
    beyond = small * atom.times - large
    reached = beyond == 0 and (atom.times != 1 or atom.number is not None)  # at least, at most
    verdict = SUPPORTED if beyond < 0 or reached else CONTRADICTED if beyond > 0 else UNDECIDED
    return Finding(atom, name, "timing.json", verdict, d, (small, large))


def _median(place: Place, name: str, compared: Compared) -> tuple[float, str] | str:
    """(seconds, device and settings of the measurement) or why there are none."""
    method, t = place
    timing: dict[str, Any] | None = compared.results.timing(compared.dataset, method)
    if timing is None:
        return f"{method} was not timed"
    entry = timing["frame"] if name == "frame_seconds" else timing["few_shot"].get(str(t))
    if entry is None:
        return f"{method} was not timed at T = {t}"
    return float(entry["median"]), f"{timing['device']}, {timing['threads']} threads, {timing['size']} px"
