"""report/index.html: one file that holds all of it and loads nothing."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from eval.claims.verdicts import VERDICTS
from eval.report import data_ledger, headline, html_table, svg_plots, table4_cross_reenactment, tradeoff
from eval.report.figures import Figures
from eval.report.headline import Answer
from eval.report.markdown_table import ARROW, Table, number
from eval.scoring.results import Results

SHA = re.compile(r"[0-9a-f]{64}")
HERE = Path(__file__).with_name("templates")


def write(out: Path, results: Results, tables: Mapping[str, Table], figures: Figures,
          answers: Mapping[str, Sequence[Answer]]) -> None:
    """Writes out/index.html; pictures of out/figures go into it as data. `answers` by data set."""
    import jinja2

    here = jinja2.Environment(loader=jinja2.FileSystemLoader(HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True,
                              undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    script, style = ((HERE / name).read_text(encoding="utf-8") for name in ("report.js", "report.css"))
    here.filters |= {"data": lambda file: _data(out / "figures" / file), "inline": svg_plots.inline, "number": number,
                     "duration": tradeoff.duration, "by": headline.by}
    page = here.get_template("page.html.j2").render(
        style=style, script=script, policy=_policy(script), figures=figures, verdicts=VERDICTS, sure=headline.MEANING,
        tables={name: html_table.view(table) for name, table in tables.items() if name != "claims"},
        claims=_claims(results, tables.get("claims")), metrics=results.metrics(), not_measured=results.not_measured(),
        datasets=[dataset(results, name, answers.get(name, ())) for name in results.datasets], networks=networks(results),
        resamples=_resamples(results), calibrated=table4_cross_reenactment.calibrated(results), shots=list(results.shots),
        headline=headline.headline, arrow=ARROW, label={method: results.label(method) for method in results.methods})
    (out / "index.html").write_text(page, encoding="utf-8")


def _policy(script: str) -> str:
    """What a browser may do for the page: show what is in it, and run this one script."""
    sha = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{sha}'; "
            "base-uri 'none'; form-action 'none'")


def _data(path: Path) -> str:
    return "data:image/webp;base64," + base64.b64encode(path.read_bytes()).decode()


def _claims(results: Results, table: Table | None) -> dict[str, Any]:
    """The claims and the notes under them."""
    label = {row: results.label(row) for row in results.methods}
    return {"notes": table.notes if table else [],
            "stated": html_table.claims(table.record, lambda method: label.get(method, method)) if table else []}


def dataset(results: Results, name: str, answers: Sequence[Answer]) -> dict[str, Any]:
    """What the page says of a data set: the answers, what was scored, counts, ledger, split, detector and its error."""
    stages = {stage: results.manifest("data", name, stage) for stage in ("videos", "frames", "landmarks", "split")}
    facts: list[tuple[str, str]] = []
    if origin := stages["videos"].get("made_from"):
        facts.append(("made from", f"{origin.get('mesh', 'the renderer')}: the people are rendered and do not exist"))
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
    scored = next((cell.manifest for _, _, cell in results.cells(name)), None)
    if scored:
        facts.append(("scored", f"{scored['people']} people, {scored['frames']} hold-out frames a cell, {scored['size']} px"))
    return {"name": name, "facts": facts, "scored": scored, "answers": answers, "rendered": bool(origin),
            "ledger": html_table.view(data_ledger.table(results, name)), **_around(results, name, answers)}


def _around(results: Results, name: str, answers: Sequence[Answer]) -> dict[str, Any]:
    """What must be said beside the answers: stand-ins, who sees the frame, which floors are better."""
    metrics = results.metrics()
    columns = {column for one in answers for column in (lead.column for lead in one.leads)}
    standins = [f"{metrics[c]['label']} for {paper.upper()}" for paper, c in headline.columns(columns).items() if c != paper]
    cells = [(method, cell.manifest) for method, _, cell in results.cells(name)]
    better: dict[str, dict[str, list[int]]] = {}
    for one in answers:
        for floor, column in one.floors:
            better.setdefault(floor, {}).setdefault(metrics[column]["label"], []).append(one.shots)
    said = {floor: " and ".join(f"{name} ({headline.shots(ts)})" for name, ts in of.items()) for floor, of in better.items()}
    def named(which: Callable[[str, dict[str, Any]], bool]) -> list[str]:
        return list(dict.fromkeys(facts["label"] for method, facts in cells if which(method, facts)))

    return {"standins": standins, "floors": said, "methods": named(lambda method, _: method not in headline.FLOORS),
            "beside": named(lambda method, _: method in headline.FLOORS),
            "frame_driven": named(lambda _, facts: facts["driven_by"] == "frames")}


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
    from model.backbones.registry import REGISTRY

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
