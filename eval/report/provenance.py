"""Where each cell of the tables comes from: its per-frame file, its networks, the seed and the code that scored it."""

from __future__ import annotations

from eval.report.markdown_table import DASH, Table
from eval.scoring import per_frame
from eval.scoring.real_frames import FOLDER
from eval.scoring.results import Cell, Results

DIGITS = 12  # of each sha256; the manifest beside the file has all


def table(results: Results) -> Table:
    """data set x method x T. What a manifest of an older version lacks is a dash."""
    head = ["data set", "method", "T", "per-frame results", "their sha256", "seed", "model", "code"]
    made = Table("Where each number comes from", head, keys=3, anchor="provenance")
    for dataset in results.datasets:
        cells: list[tuple[str, int | str, Cell]] = [(FOLDER, which, cell) for which, cell in results.reference_rows(dataset)]
        cells += results.cells(dataset)
        for method, t, cell in cells:
            row = _row(results, dataset, method, t, cell)
            made.rows.append([dataset, cell.manifest["label"], DASH if method == FOLDER else str(t), *row])
            made.record.append(dict(zip(("dataset", "method", "shots", "file", "sha256", "seed", "model", "code"),
                                        (dataset, method, t, *row))))
    made.notes = ["files lie below results/; model: sha256 of the manifest of the trained weights; code: of every source file "
                  "of the project when the cell was scored. The manifest beside each file has the networks behind every metric "
                  "by name and hash, and the hashes of the images, frames, landmarks and split that were scored; "
                  "`python -m stages.verify` recomputes them."]
    return made


def _row(results: Results, dataset: str, method: str, t: int | str, cell: Cell) -> list[str]:
    facts = cell.manifest
    hashes = [facts["files"].get(per_frame.TABLE, {}).get("sha256"), facts.get("model"), facts.get("code")]
    table, model, code = (str(sha or "")[:DIGITS] or DASH for sha in hashes)
    file = results.folder(dataset, method, t).relative_to(results.results) / per_frame.TABLE
    return [file.as_posix(), table, str(facts.get("seed", DASH)), model, code]
