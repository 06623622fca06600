"""A table as Markdown, CSV and rows for the page; Table 1 (quality), 1b (further metrics) and 2 (seconds)."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eval.report.results import Cell, Results
from eval.study import user

DASH = "–"
ARROW = {"higher": "↑", "lower": "↓"}
PAPER = ("fid", "ssim", "csim", "user")
MAIN = ("fid", "fd", "csim")  # files whose columns stand in Table 1 and need a network
SHORT = {"voxceleb1": "VC1", "voxceleb2": "VC2"}


@dataclass
class Table:
    """A head, rows of text cells, and notes that belong under it; `record` is the same for machines."""

    title: str
    head: list[str]
    rows: list[list[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    record: list[dict[str, Any]] = field(default_factory=list)
    keys: int = 2  # leading columns that say which row it is
    anchor: str = ""  # in the page
    prose: bool = False  # sentences rather than numbers: lines may break

    def markdown(self) -> str:
        """A padded Markdown table with its notes."""
        notes = "".join(f"- {note}\n" for note in self.notes)
        return f"## {self.title}\n\n{padded([self.head, *self.rows])}" + (f"\n{notes}" if notes else "")

    def csv(self) -> str:
        """`record` with a head line; empty = not measured."""
        out = io.StringIO()
        writer = csv.DictWriter(out, list(self.record[0]) if self.record else [], lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.record)
        return out.getvalue()


def padded(lines: Sequence[Sequence[str]]) -> str:
    """Markdown rows of cells, the first being the head."""
    widths = [max(map(len, column)) for column in zip(*lines)]
    text = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |" for row in lines]
    return "\n".join([text[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *text[1:]]) + "\n"


def fitted(markdown: str, width: int, keys: int) -> str:
    """The same text for a terminal `width` wide: a table that is wider continues below, its first `keys` columns repeated."""
    lines = markdown.splitlines()
    rows = [[cell.strip() for cell in line[1:-1].split("|")] for line in lines if line.startswith("|")]
    rows = [row for row in rows if set("".join(row)) != {"-"}]
    if not rows or max(map(len, lines[2:2 + len(rows)])) <= width:
        return markdown
    sizes = [max(map(len, column)) + 3 for column in zip(*rows)]
    blocks, room = [list(range(keys))], width - 1 - sum(sizes[:keys])
    for j in range(keys, len(sizes)):
        if len(blocks[-1]) > keys and sum(sizes[i] for i in blocks[-1][keys:]) + sizes[j] > room:
            blocks.append(list(range(keys)))
        blocks[-1].append(j)
    head, notes = lines[0], [line for line in lines[1:] if line and not line.startswith("|")]
    filled = [[row for row in rows if block is blocks[0] or {row[j] for j in block[keys:]} != {DASH}] for block in blocks]
    tables = [padded([[row[j] for j in block] for row in some]) for block, some in zip(blocks, filled)]
    return f"{head}\n\n" + "\n".join(tables) + "\n" + "\n".join(notes) + "\n"


def paper() -> list[dict[str, str]]:
    """The paper's tables, with the method of ours that each row belongs to."""
    with Path(__file__).with_name("paper.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def decimals(value: float) -> int:
    """How many of them make three significant digits."""
    return min(6, max(0, 2 - math.floor(math.log10(abs(value) or 1))))


def number(value: float | None, like: float | None = None) -> str:
    """Three significant digits (as many decimals as `like` has with three); a dash for what was not measured."""
    if value is None or not math.isfinite(value):
        return DASH
    return f"{value:.{decimals(value if like is None else like)}f}"


def interval(cell: Mapping[str, Any] | None) -> str:
    """`value [low, high]`."""
    if cell is None or cell["value"] is None:
        return DASH
    if cell["low"] is None:
        return number(cell["value"])
    value = cell["value"]
    return f"{number(value)} [{number(cell['low'], value)}, {number(cell['high'], value)}]"


def quality(results: Results) -> Table:
    """Table 1: data set x method x T, the paper's columns and L1."""
    metrics = {name: facts for name, facts in results.metrics().items() if facts.get("main", True)}
    absent = [name.upper() + " ↓" for name in ("fid",) if name not in metrics]
    head = [*absent, "USER ↓", "people × frames", "driven by", "trained on",
            *(f"paper on {name}: {' / '.join(PAPER).upper()}" for name in SHORT.values())]
    table = Table("Table 1. Quality", [*_keys(metrics), *head], keys=3, anchor="quality")
    blank = [DASH] * len(absent)
    seen = {(d, *key): found for d in results.datasets for key, found in user.user(results.results, d).items()}
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
        for _, real in results.floors(dataset):
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


def number_of(count: float) -> str:
    """A count that may be a mean."""
    return f"{count:.0f}" if count == round(count) else f"{count:.1f}"


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
             *filter(None, (user.note(results.results, d) for d in results.datasets)),
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


def seconds(results: Results) -> Table:
    """Table 2: set-up, few-shot learning at each T, a step, a frame; the paper's row under ours."""
    head = ["data set", "method", "set-up", *(f"few-shot learning T={t}" for t in results.shots),
            "a step at T=" + ", ".join(map(str, results.shots)), "a frame", "MACs a frame", "parameters", "on"]
    table = Table("Table 2. Seconds", head, anchor="seconds")
    for dataset in results.datasets:
        for method in results.methods:
            found = results.timing(dataset, method)
            table.rows.append([dataset, results.label(method), *_times(found, results.shots)])
            table.record.append({"dataset": dataset, "method": method, **_flat(found, results.shots)})
    for method in results.methods:
        theirs = {row["shots"]: row for row in paper() if row["table"] == "2" and row["ours"] == method}
        if theirs:
            name = next(iter(theirs.values()))["paper_method"]
            cells = [theirs[key]["seconds"] if key in theirs else DASH for key in map(str, results.shots)]
            table.rows.append(["paper", name, DASH, *cells, DASH, theirs["frame"]["seconds"], DASH, DASH,
                               "NVIDIA P40, 256×256 px"])
            few = {f"few_shot_{t}": theirs[str(t)]["seconds"] for t in results.shots if str(t) in theirs}
            table.record.append({"dataset": "paper", "method": name, **few, "frame": theirs["frame"]["seconds"]})
    table.notes = ["median (number of measurements), warm-up left out; finding and drawing landmarks is in no method's time.",
                   "paper: its own Table 2, on other hardware and at its own size; its fine-tuning times seem to hold a fixed "
                   "start-up of some 28 s, ours do not.",
                   "MACs: multiply-accumulates of convolutions and matrix products for one frame, after few-shot learning; "
                   "parameters: of the networks that learn a person and draw the frames.",
                   "X2Face and pix2pixHD: at 256 px a frame costs 6.5 G and 54.4 G multiply-accumulates, yet the paper has "
                   "X2Face three times SLOWER (0.110 s, 0.034 s). Arithmetic cannot explain that order (docs/baselines.md)."
                   + _order(results)]
    return table


def _order(results: Results) -> str:
    """The same pair as measured here."""
    found = [(d, results.timing(d, "x2face"), results.timing(d, "pix2pixhd")) for d in results.datasets]
    return "".join(f" Here on {d}, pix2pixHD : X2Face = {number(b['macs'] / a['macs'])} in multiply-accumulates, "
                   f"{number(b['frame']['median'] / a['frame']['median'])} in seconds."
                   for d, a, b in found if a and b)


def _times(found: dict[str, Any] | None, shots: Sequence[int]) -> list[str]:
    if found is None:
        return [DASH] * (len(shots) + 6)
    few = [_time(found["few_shot"].get(str(t))) for t in shots]
    steps = [number(found["step"][str(t)]["median"]) if str(t) in found["step"] else DASH for t in shots]
    where = f"{found['device']}, {found['threads']} thread{'s' * (found['threads'] != 1)}, {found['size']}×{found['size']} px"
    step = DASH if set(steps) == {DASH} else ", ".join(steps)
    sizes = [_count(found["macs"]), _count(found["parameters"])]
    return [_time(found["set_up"]), *few, step, _time(found["frame"]), *sizes, where]


def _count(count: int) -> str:
    """Three digits and G, M or k."""
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if count >= size:
            return f"{number(count / size)} {unit}"
    return str(count)


def _time(entry: dict[str, Any] | None) -> str:
    if entry is None:
        return DASH
    return f"{number(entry['median'])} ({entry['n']})"


def _flat(found: dict[str, Any] | None, shots: Sequence[int]) -> dict[str, Any]:
    """One CSV row; the columns are the same whether measured or not."""
    found = found or {"few_shot": {}, "step": {}}
    entries = {"set_up": found.get("set_up"), **{f"few_shot_{t}": found["few_shot"].get(str(t)) for t in shots},
               **{f"step_{t}": found["step"].get(str(t)) for t in shots}, "frame": found.get("frame")}
    flat = {key + end: entry and entry[part] for key, entry in entries.items() for end, part in (("", "median"), ("_n", "n"))}
    return flat | {key: found.get(key) for key in ("macs", "parameters", "device", "threads", "torch", "size")}
