"""All tables of the report, from stored results alone, and their files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from eval.claims import claims, verdicts
from eval.report import (
    claims_table,
    provenance,
    table1_quality,
    table2_seconds,
    table3_differences,
    table4_cross_reenactment,
    tradeoff,
)
from eval.report.markdown_table import Table
from eval.scoring.results import Results
from eval.statistics import ranking
from eval.statistics.comparison import Compared


def compare(results: Results, cache: Path | None) -> dict[str, Compared]:
    """Data set -> its cells side by side. `cache` as of eval.statistics.comparison.Compared."""
    return {dataset: Compared(results, dataset, cache) for dataset in results.datasets}


def tables_of(results: Results, cache: Path | None) -> dict[str, Table]:
    """The tables alone, see `made`."""
    return made(results, compare(results, cache))


def made(results: Results, compared: Mapping[str, Compared]) -> dict[str, Table]:
    """File name without its ending -> table, in the order of the page.

    InputError when results are not whole or eval/claims/claims.yaml has a mistake.
    """
    stated = claims.load()
    judged = {dataset: verdicts.judge(stated, found) for dataset, found in compared.items()}
    stable = {dataset: ranking.stability(found) for dataset, found in compared.items()}
    quality = table1_quality.quality(results)
    quality.notes += table4_cross_reenactment.calibration_notes(results)
    out = {"table1": quality, "tradeoff": tradeoff.table(results), "table2": table2_seconds.seconds(results),
            "claims": claims_table.table(results, judged), "table3": table3_differences.table(results, compared),
            "table1b": table1_quality.further(results), "table4": table4_cross_reenactment.table(results),
            "ranking": claims_table.ranking(results, stable), "provenance": provenance.table(results)}
    for table in out.values():
        table.notes += lists(results)
    return out


def lists(results: Results) -> list[str]:
    """What every table says of the data it rests on."""
    return [f"{dataset}: {body['used']:,} of {body['of']:,} utterances used; list of every id and its status: sha256 "
            f"{body['sha256'][:provenance.DIGITS]}." for dataset, body in results.utterances().items()]


def write(out: Path, made: Mapping[str, Table]) -> list[str]:
    """NAME.md and NAME.csv of each into `out` -> the files whose bytes are not what they were."""
    files = {f"{name}.md": table.markdown() for name, table in made.items()}
    files |= {f"{name}.csv": table.csv() for name, table in made.items()}
    changed = [name for name, text in files.items() if not (out / name).exists() or (out / name).read_bytes() != text.encode()]
    for name in changed:
        (out / name).write_text(files[name], encoding="utf-8")
    return changed
