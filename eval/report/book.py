"""All tables of the report, from stored results alone, and their files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from eval import claims, propositions, ranking
from eval.compare import Compared
from eval.report import claimed, differences, driven, provenance, tables
from eval.report.results import Results
from eval.report.tables import Table


def tables_of(results: Results, cache: Path | None) -> dict[str, Table]:
    """File name without its ending -> table, in the order of the page. `cache` as of eval.compare.Compared.

    Refused when results are not whole or eval/claims.yaml has a mistake.
    """
    stated = propositions.load()
    compared = {dataset: Compared(results, dataset, cache) for dataset in results.datasets}
    judged = {dataset: claims.judge(stated, found) for dataset, found in compared.items()}
    stable = {dataset: ranking.stability(found) for dataset, found in compared.items()}
    quality = tables.quality(results)
    quality.notes += driven.calibration_notes(results)
    made = {"table1": quality, "table1b": tables.further(results), "table2": tables.seconds(results),
            "table3": differences.table(results, compared),
            "table4": driven.table(results), "claims": claimed.table(results, judged),
            "ranking": claimed.ranking(results, stable), "provenance": provenance.table(results)}
    for table in made.values():
        table.notes += lists(results)
    return made


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
