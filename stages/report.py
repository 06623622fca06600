"""Makes the report: tables, claims, figures and one page. --show prints Tables 1 and 2 of a report that is there instead."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from eval.report import figures, headline, html_page, markdown_table, write_tables
from eval.scoring.results import Config, Results
from pipeline.core import config, stage
from pipeline.core.manifest import read_manifest


def main() -> None:
    """Writes table1, 1b, 2, 3, 4, tradeoff, claims, ranking, provenance (.md, .csv), figures/, index.html and the manifest."""
    arguments = argparse.ArgumentParser(description=__doc__)
    for name in ("data", "models", "results"):
        arguments.add_argument(f"--{name}", type=Path, default=Path(name))
    arguments.add_argument("--out", type=Path, default=Path("report"))
    arguments.add_argument("--params", type=Path, default=Path("params.yaml"))
    arguments.add_argument("--cache", type=Path, default=stage.ROOT / "work" / "descriptors", help="may be removed at any time")
    arguments.add_argument("--show", action="store_true", help="print Tables 1 and 2 of --out, fitted to the terminal")
    given = arguments.parse_args()
    if given.show:
        show(given.out)
    else:
        make(given)


def make(given: argparse.Namespace) -> None:
    """The stage itself."""
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
    read_manifest(out, "report")
    width = shutil.get_terminal_size((200, 24)).columns
    for name, keys in (("table1.md", 3), ("table2.md", 2)):
        print(markdown_table.fitted((out / name).read_text(encoding="utf-8"), width, keys))
    print(f"{out / 'index.html'} has these tables, further metrics, the claims, the figures and what they were made with.")


if __name__ == "__main__":
    stage.main(main)
