"""The ledger of a data set: what became of every item of every stage, counted by status and reason."""

from __future__ import annotations

from eval.report.markdown_table import Table
from eval.scoring.results import Results

LISTED = 20  # reasons a stage; the rest is counted together
WHAT = {"videos": "source videos", "frames": "videos cropped", "landmarks": "frames with landmarks", "split": "videos not used"}


def table(results: Results, dataset: str) -> Table:
    """One row a stage, status and reason, the most frequent first. No row where the data are not on this machine."""
    import pandas as pd

    from pipeline.core.ledger import STATUSES

    made = Table(f"{dataset}: ledger", ["stage", "status", "reason", "count"], keys=3, anchor=f"ledger-{dataset}", prose=True)
    for stage, what in WHAT.items():
        path = results.data / dataset / stage / ("excluded.parquet" if stage == "split" else "ledger.parquet")
        if not path.exists():
            continue
        rows = pd.read_parquet(path)
        words = [rows[name].astype(str) if name in rows else pd.Series([""] * len(rows)) for name in ("status", "reason")]
        counts = pd.DataFrame({"status": words[0], "reason": words[1]}).value_counts(sort=False).reset_index(name="count")
        counts = counts.sort_values(["count", "status", "reason"], ascending=[False, True, True])
        for row in counts.head(LISTED).to_dict("records"):
            meaning = row["reason"] or STATUSES.get(row["status"], "")
            made.rows.append([what, row["status"] or "excluded", meaning, str(row["count"])])
        if len(rest := counts.iloc[LISTED:]):
            rarer = f"{len(rest)} rarer reasons; ledger.parquet has them all"
            made.rows.append([what, "further", rarer, str(rest["count"].sum())])
    return made
