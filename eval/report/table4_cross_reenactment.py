"""Table 4: driven by another person; and what the cosines of Table 1 are on real frames."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from eval.report.markdown_table import ARROW, DASH, Table, interval, number, number_of
from eval.scoring import csim_calibration
from eval.scoring.real_frames import FOLDER
from eval.scoring.results import Cell, Results
from eval.statistics.intervals import plain

NAMED = 8  # people up to whom each one's drivers are listed


def table(results: Results) -> Table:
    """data set x method x T; the metrics of identity and of landmarks, with the real frames as floors."""
    metrics = measured(results)
    head = ["data set", "method", "T", *(f"{facts['label']} {ARROW[facts['better']]}" for facts in metrics.values()),
            "people", "drivers × frames", "driven by"]
    made = Table("Table 4. Driven by another person", head, keys=3, anchor="driven")
    for dataset, name, label, t, cell in rows(results):
        driven = cell.driven if cell else {}
        made.rows.append([dataset, label, t or DASH, *(interval(driven.get(column)) for column in metrics), *_counts(cell)])
        record: dict[str, Any] = {"dataset": dataset, "method": name, "shots": t}
        for column in metrics:
            found = driven.get(column, {})
            keys = {"": "value", "_low": "low", "_high": "high", "_frames": "n_frames", "_failed": "n_failed"}
            record |= {column + end: found.get(key) for end, key in keys.items()}
        made.record.append(record | {key: cell.manifest["cross"][key] if cell and cell.driven else None
                                     for key in ("drivers", "frames", "drawn")})
    made.notes = [*notes(results), *(f"{name}: {facts['compares']}." for name, facts in metrics.items()), *_failures(results)]
    return made


def rows(results: Results) -> Iterator[tuple[str, str, str, str, Cell | None]]:
    """data set, method, its label, T ("": real frames), scores."""
    for dataset in results.datasets:
        for _, cell in results.reference_rows(dataset):
            yield dataset, cell.manifest["label"], cell.manifest["label"], "", cell
        for method in results.methods:
            for t in results.shots:
                yield dataset, method, results.label(method), str(t), results.cell(dataset, method, t)


def measured(results: Results) -> dict[str, dict[str, Any]]:
    """Column -> facts, of everything measured with others as drivers."""
    found: dict[str, dict[str, Any]] = {}
    for *_, cell in rows(results):
        for name in cell.manifest["cross"]["order"] if cell and cell.driven else ():
            found.setdefault(name, cell.manifest["cross"]["metrics"][name])  # type: ignore[union-attr]
    return found


def notes(results: Results) -> list[str]:
    """What was drawn, who drove, what the floors are."""
    said = ["each test person, learnt from the T frames, is drawn as the hold-out frames of other test people drive them "
            "(their landmarks or, where the last column says so, their frames). No true frame exists: only who is seen and "
            "where the face is are measured. Intervals as in Table 1.",
            "real, same person: the person's own real frames, whatever the driver does (identity at its floor, landmarks "
            "anywhere); real, another person: the driver's own frames (landmarks at their floor, identity of somebody else; "
            "of two people that drive each other both errors of identity are one number, so no interval has a width there).",
            "Absolute landmarks drive: the shape of the driver's face comes along, and a method that follows it well "
            "takes on the driver's looks. Read both errors together."]
    for dataset in results.datasets:
        who: dict[str, list[str]] = next((cell.manifest["cross"]["who"] for *_, cell in rows(results) if cell and cell.driven
                    and cell.manifest["dataset"] == dataset), {})
        named = "; ".join(f"{person} by {', '.join(drivers)}" for person, drivers in who.items() if drivers)
        each = "the next people in the split's order"
        said.append(f"{dataset}: drivers: {named if named and len(who) <= NAMED else each if named else 'none'}.")
    return said


def _counts(cell: Cell | None) -> list[str]:
    if cell is None or not cell.driven or not cell.manifest["cross"]["drawn"]:
        return [DASH, DASH, DASH]
    body = cell.manifest["cross"]
    people = [len(drivers) for drivers in body["who"].values()]
    frames = number_of(body["drawn"] / sum(people))
    return [str(len(people)), f"{number_of(sum(people) / len(people))} × {frames}", cell.manifest["driven_by"] or DASH]


def _failures(results: Results) -> list[str]:
    failed: dict[str, int] = {}
    for *_, cell in rows(results):
        for name, found in (cell.driven if cell else {}).items():
            failed[name] = failed.get(name, 0) + (found["n_failed"] or 0)
    return [f"{name}: {count} frames could not be scored and are not in its mean." for name, count in failed.items() if count]


def calibrated(results: Results) -> list[dict[str, Any]]:
    """One entry a data set and CSIM network: what it gives for real pairs, and the facts of the metric."""
    found = []
    for dataset in results.datasets:
        cells = dict(results.reference_rows(dataset))
        same, other = (results.stored(dataset, FOLDER, which) for which in ("same", "other"))
        if same is None or other is None:
            continue
        for name in cells["same"].manifest["order"]:
            if name.startswith("csim_") and name in other.columns:
                values = {which: interval(cells[which].values[name]) for which in cells}
                found.append({"dataset": dataset, "column": name, "facts": cells["same"].manifest["metrics"][name], **values,
                              "people": cells["same"].manifest["people"], "of": csim_calibration.of(same, other, name)})
    return found


def calibration_notes(results: Results) -> list[str]:
    """The same in sentences."""
    return [f"{entry['column']} on real frames of {entry['dataset']}: the same person {entry['same']}, another person "
            f"{entry['other']}, AUC {number(plain(entry['of'].auc))} over {entry['of'].same} and {entry['of'].other} pairs of "
            f"{entry['people']} people; {entry['of'].failed} pairs could not be scored." for entry in calibrated(results)]
