"""Makes the report: tables, claims, figures and one page; with --show prints Tables 1 and 2 of an existing one."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

from pipeline.core import config, stage
from pipeline.core.manifest import read_manifest
from stages import _cli


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = _cli.parser(__doc__, "data", "models", "results", "params", "cache")
    _cli.add(made, "out", required=False, default=Path("report"))
    made.add_argument("--show", action="store_true", help="print Tables 1 and 2 of --out, fitted to the terminal")
    return made


def main(words: Sequence[str] | None = None) -> None:
    """Writes table1, 1b, 2, 3, 4, tradeoff, claims, ranking, provenance (.md, .csv), figures/, index.html and the manifest."""
    given = parser().parse_args(words)
    if given.show:
        show(given.out)
    else:
        make(given)


def make(given: argparse.Namespace) -> None:
    """The stage itself."""
    from eval.report import figures, headline, html_page, write_tables
    from eval.scoring.results import Config, Results

    params = config.load(given.params)
    chosen = config.parse(Config, params.report, f"{given.params}: report")
    results = Results(given.data, given.models, given.results, params.datasets, params.methods, params.shots)
    with stage.run("report", out=given.out, inputs={}, config=params.report) as job:
        compared = write_tables.compare(results, given.cache)
        made = write_tables.made(results, compared)
        write_tables.write(job.out, made)
        (job.out / "figures").mkdir()
        drawn = figures.draw(results, compared, job.out / "figures", chosen)
        html_page.write(job.out, results, made, drawn,
                        {dataset: headline.answers(found) for dataset, found in compared.items()})
        job.publish("report", {"synthetic": True, "datasets": params.datasets, "figures": drawn.files()})


def show(out: Path) -> None:
    """Prints both tables; a wide one continues below itself."""
    from eval.report import markdown_table

    read_manifest(out, "report")
    width = shutil.get_terminal_size((200, 24)).columns
    for name, keys in (("table1.md", 3), ("table2.md", 2)):
        print(markdown_table.fitted((out / name).read_text(encoding="utf-8"), width, keys))
    print(f"{out / 'index.html'} has these tables, further metrics, the claims, the figures and what they were made with.")


if __name__ == "__main__":
    _cli.run(main)
