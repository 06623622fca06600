"""Table 1 (quality) and Table 1b (further metrics)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from eval.claims.paper import paper
from eval.report.markdown_table import ARROW, DASH, Table, interval, number_of
from eval.scoring import user_study
from eval.scoring.results import Cell, Results

PAPER = ("fid", "ssim", "csim", "user")
MAIN = ("fid", "fd", "csim")  # files whose columns stand in Table 1 and need a network
SHORT = {"voxceleb1": "VC1", "voxceleb2": "VC2"}


def quality(results: Results) -> Table:
    """Table 1: data set x method x T, the paper's columns and L1."""
    metrics = {name: facts for name, facts in results.metrics().items() if facts.get("main", True)}
    absent = [name.upper() + " ↓" for name in ("fid",) if name not in metrics]
    head = [*absent, "USER ↓", "people × frames", "driven by", "trained on",
            *(f"paper on {name}: {' / '.join(PAPER).upper()}" for name in SHORT.values())]
    table = Table("Table 1. Quality", [*_keys(metrics), *head], keys=3, anchor="quality")
    blank = [DASH] * len(absent)
    seen = {(d, *key): found for d in results.datasets for key, found in user_study.user(results.results, d).items()}
    for row, cell, record, theirs in _rows(results, metrics):
        asked = seen.get((record["dataset"], record["method"], record["shots"]))
        table.rows.append([*row, *blank, interval(asked), _counts(cell), *_facts(cell),
                           *(_theirs(theirs, source) for source in SHORT)])
        table.record.append(record | _beside(cell, theirs, asked))
    table.notes = _notes(results) + _unscored(results, metrics, main=True)
    return table


def further(results: Results) -> Table:
    """Table 1b: the rows of Table 1, every other metric."""
    metrics = {name: facts for name, facts in results.metrics().items() if not facts.get("main", True)}
    table = Table("Table 1b. Further metrics", [*_keys(metrics), "people × frames"], keys=3, anchor="further")
    for row, cell, record, _ in _rows(results, metrics):
        table.rows.append([*row, _counts(cell)])
        table.record.append(record)
    table.notes = ["rows and intervals as in Table 1. Kernel distances (KD, KID) are unbiased: they may be below 0, and near 0 "
                   "is what frames like the real ones have.", *_unscored(results, metrics, main=False)]
    return table


def _keys(metrics: dict[str, Any]) -> list[str]:
    return ["data set", "method", "T", *(f"{facts['label']} {ARROW[facts['better']]}" for facts in metrics.values())]


Line = tuple[list[str], Cell | None, dict[str, Any], list[dict[str, str]]]


def _rows(results: Results, metrics: dict[str, Any]) -> Iterator[Line]:
    """Row up to the last metric, cell, record and the paper's rows of each line of the table; real frames come first."""
    for dataset in results.datasets:
        for _, real in results.reference_rows(dataset):
            values = [interval(real.values.get(name)) for name in metrics]
            label = real.manifest["label"]
            yield [dataset, label, DASH, *values], real, _record(dataset, label, None, real, metrics), []
        for method in results.methods:
            for t in results.shots:
                cell = results.cell(dataset, method, t)
                theirs = [row for row in paper() if row["table"] == "1" and row["ours"] == method and row["shots"] == str(t)]
                values = [interval(cell.values.get(name) if cell else None) for name in metrics]
                record = _record(dataset, method, t, cell, metrics)
                yield [dataset, results.label(method), str(t), *values], cell, record, theirs


def _facts(cell: Cell | None) -> list[str]:
    return [cell.manifest.get(key) or DASH if cell else DASH for key in ("driven_by", "trained_on")]


def _counts(cell: Cell | None) -> str:
    if cell is None or not cell.manifest["people"]:
        return DASH
    people, frames = cell.manifest["people"], cell.manifest["frames"]
    return f"{people} × {number_of(frames / people)}"


def _theirs(rows: Sequence[dict[str, str]], source: str) -> str:
    return next((" / ".join(row[name] for name in PAPER) for row in rows if row["dataset"] == source), DASH)


def _record(dataset: str, method: str, t: int | None, cell: Cell | None, metrics: dict[str, Any]) -> dict[str, Any]:
    record: dict[str, Any] = {"dataset": dataset, "method": method, "shots": t}
    for name in metrics:
        found = cell.values.get(name, {}) if cell else {}
        record |= {name: found.get("value"), f"{name}_low": found.get("low"), f"{name}_high": found.get("high"),
                   f"{name}_frames": found.get("n_frames"), f"{name}_failed": found.get("n_failed"),
                   f"{name}_floor": found.get("floor")}
    return record


def _beside(cell: Cell | None, theirs: Sequence[dict[str, str]], asked: Mapping[str, Any] | None) -> dict[str, Any]:
    """What else a line of table1.csv has: USER, counts, driver, the paper's numbers."""
    found = asked or {}
    more = {"user": found.get("value"), "user_low": found.get("low"), "user_high": found.get("high"), "user_n": found.get("n"),
            "people": cell.manifest["people"] if cell else None,
            "frames": cell.manifest["frames"] if cell else None, "driven_by": cell.manifest["driven_by"] if cell else None,
            "trained_on": cell.manifest.get("trained_on") if cell else None}
    for source in SHORT:
        row: dict[str, Any] = next((row for row in theirs if row["dataset"] == source), {})
        more |= {f"paper_{source}_{name}": row.get(name) for name in PAPER}
    return more


def _unscored(results: Results, metrics: dict[str, Any], main: bool) -> list[str]:
    """Which of the table's metrics have no value and which frames have none."""
    notes = [f"{name} is not measured: {why}" for name, why in results.not_measured().items()
             if (name.split("_")[0] in MAIN) == main]
    cells = [cell for dataset in results.datasets for _, _, cell in results.cells(dataset)]
    failed = {name: sum(cell.values[name]["n_failed"] for cell in cells if name in cell.values) for name in metrics}
    return notes + [f"{name}: {count} frames could not be scored and are not in its mean."
                    for name, count in failed.items() if count]


def _notes(results: Results) -> list[str]:
    cells = [cell for dataset in results.datasets for _, _, cell in results.cells(dataset)]
    levels = " or ".join(f"{100 * level:g} %" for level in sorted({cell.manifest["level"] for cell in cells}))
    notes = [f"value [low, high]: {levels} interval over PEOPLE, who were resampled, not frames; few people make it wide."
             if cells else "nothing is measured yet.",
             f"{DASH}: not measured. USER is a user study with people: `make study` asks them (chance: 0.33).",
             *filter(None, (user_study.note(results.results, d) for d in results.datasets)),
             "real, same person: real hold-out frames (the 1st, 3rd, … of each list) scored against the next one of the list, "
             "so against another real frame of the person; for distances between sets these are the halves of the real frames "
             "(half as many, so more bias). real, another person: each real frame against one of the next test person; "
             "distances between sets have none, as all people would be on both sides. Each person is in two such pairs, "
             "which the interval takes for independent: it may be up to 1.4 times too narrow. More floors: mean and copy.",
             "driven by frames: the method is shown the very frame that it has to draw, as X2Face is in the paper: it can "
             "look up what methods driven by landmarks have to infer.",
             "paper columns: the paper's own numbers on VoxCeleb1 (VC1, its row Ours) and VoxCeleb2 (VC2, its rows Ours-FF and "
             "Ours-FT); other data, other networks behind FID and CSIM: printed beside ours, NOT comparable with them."]
    sizes = {d: sorted({cell.manifest["size"] for _, _, cell in results.cells(d)}) for d in results.datasets}
    apart = {1: ".", 2: "; values at different sizes are NOT comparable."}
    notes += [f"{d}: frames of {', '.join(f'{s}×{s}' for s in size)} px{apart[min(len(size), 2)]}" for d, size in sizes.items()
              if size]
    return notes
