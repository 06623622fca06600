"""report/index.html: one file that holds all of it and loads nothing."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from eval.report import driven
from eval.report.figures import Figure
from eval.report.results import Results
from eval.report.tables import Table, number

SHA = re.compile(r"[0-9a-f]{64}")


def write(out: Path, results: Results, tables: Sequence[Table], figures: Sequence[Figure]) -> None:
    """Writes out/index.html; images of out/figures go into it as data."""
    import jinja2

    here = jinja2.Environment(loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True,
                              lstrip_blocks=True, undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    here.filters["data"] = lambda file: _data(out / "figures" / file)
    page = here.get_template("page.html.j2").render(
        tables=tables, figures=figures, metrics=results.metrics(), not_measured=results.not_measured(),
        datasets=[dataset(results, name) for name in results.datasets], networks=networks(results),
        resamples=_resamples(results), calibrated=driven.calibrated(results), number=number)
    (out / "index.html").write_text(page, encoding="utf-8")


def _data(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


def dataset(results: Results, name: str) -> dict[str, Any]:
    """What the page says of a data set: counts, ledger, split, detector and its error."""
    stages = {stage: results.manifest("data", name, stage) for stage in ("videos", "frames", "landmarks", "split")}
    facts: list[tuple[str, str]] = []
    for stage, what in (("videos", "source videos"), ("frames", "videos cropped")):
        if status := stages[stage].get("status"):
            facts.append((what, ", ".join(f"{count} {word}" for word, count in status.items())))
    marks, split = stages["landmarks"], stages["split"]
    if marks:
        facts.append(("frames", f"{marks.get('frames', '?')}, stored at {stages['frames'].get('size', '?')} px; "
                                f"{marks.get('with_landmarks', '?')} with landmarks"))
        facts.append(("landmark detector", str(marks.get("detector", {}).get("name", "not stated"))))
        facts.append(("its error", _error(marks.get("oracle_nme"))))
    if split:
        facts.append(("split", f"{split['videos']} training videos of {split['people']} people; {split['test_people']} test "
                               f"people, none of them in training; {split['excluded']} videos excluded"))
    cells = results.cells(name)
    if cells:
        scored = cells[0][2].manifest
        facts.append(("scored", f"{scored['people']} people, {scored['frames']} hold-out frames a cell, {scored['size']} px"))
    return {"name": name, "facts": facts}


def _error(nme: dict[str, Any] | None) -> str:
    if not nme:
        return "not known: these videos have no true landmarks"
    return (f"{100 * nme['all']:.2f} % of the inter-ocular distance on all 68 points, {100 * nme['inner']:.2f} % on the inner "
            f"51, over {nme['n']} frames (against the renderer's own points)")


def networks(results: Results) -> list[dict[str, str]]:
    """Every weights file that any stage names: what for, whether it is the paper's or a stand-in, sha256."""
    manifests = [results.manifest("data", d, stage) for d in results.datasets for stage in ("frames", "landmarks")]
    manifests += [results.manifest("models", d, m) for d in results.datasets for m in results.methods]
    manifests += [cell.manifest for d in results.datasets for _, _, cell in results.cells(d)]
    found = dict(pair for manifest in manifests for pair in _hashes({k: v for k, v in manifest.items() if k != "files"}))
    if not found:
        return []
    from model.backbones import REGISTRY

    known = {entry.file: entry for entry in REGISTRY.values()}
    return [{"file": file, "sha256": sha, "role": known[file].role if file in known else "", "licence":
             known[file].licence if file in known else "", "kind": ("the paper's" if known[file].paper else "stand-in")
             if file in known else "not in the registry"} for file, sha in sorted(found.items())]


def _hashes(body: Any) -> Iterator[tuple[str, str]]:
    """(file, sha256) wherever a mapping inside `body` has a file name and a hash."""
    if isinstance(body, dict):
        for key, value in body.items():
            if isinstance(value, str) and SHA.fullmatch(value) and "." in str(key):
                yield str(key), value
            else:
                yield from _hashes(value)
    elif isinstance(body, list):
        for value in body:
            yield from _hashes(value)


def _resamples(results: Results) -> str:
    for name in results.datasets:
        for _, _, cell in results.cells(name):
            used = cell.manifest["resamples"]
            return f"{used['means']} for means, {used['sets']} for distances between sets, at {number(cell.manifest['level'])}"
    return "none yet"
