"""Quality against time: what few-shot learning costs and what it gives, as a table, as data for `dvc plots`, as plots."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eval.claims.paper import paper
from eval.report import svg_plots
from eval.report.markdown_table import ARROW, Table, interval, number
from eval.report.svg_plots import Mark, Plot
from eval.report.table1_quality import PAPER, SHORT
from eval.scoring.results import Results

SAYS = "Against seconds of few-shot learning, one line a method from the fewest source frames (small marker) to the most "\
       "(large); bars: intervals over people; dotted: real frames of the same person."
NAMES = {"fid": "FID ↓", "ssim": "SSIM ↑", "csim": "CSIM ↑", "user": "USER ↓"}


def table(results: Results) -> Table:
    """data set x method x T: seconds of few-shot learning and the metrics of Table 1."""
    metrics = {name: facts for name, facts in results.metrics().items() if facts.get("main", True)}
    labels = [f"{facts['label']} {ARROW[facts['better']]}" for facts in metrics.values()]
    head = ["data set", "method", "T", "few-shot learning, s", *labels]
    made = Table("Quality against time", head, keys=3, anchor="tradeoff")
    for dataset in results.datasets:
        for method in results.methods:
            for t in results.shots:
                cell, time = results.cell(dataset, method, t), results.seconds(dataset, method, t)
                values = cell.values if cell else {}
                label = results.label(method)
                made.rows.append([dataset, label, str(t), number(time), *(interval(values.get(name)) for name in metrics)])
                made.record.append({"dataset": dataset, "method": label, "shots": t, "seconds": time,
                                    **{name: values.get(name, {}).get("value") for name in metrics}})
    made.notes = ["few-shot learning: median seconds of Table 2; the metrics are those of Table 1."]
    return made


def draw(results: Results, dataset: str, marks: dict[str, Mark], out: Path) -> list[Plot]:
    """A panel a metric of Table 1."""
    made: list[Plot] = []
    metrics = {name: facts for name, facts in results.metrics().items() if facts.get("main", True)}
    real = next((cell.values for which, cell in results.reference_rows(dataset) if which == "same"), {})
    for name, facts in metrics.items():
        lines = {m: found for m in results.methods if (found := _line(results, dataset, m, name))}
        if not lines:
            continue
        title = f"{facts['label']} {ARROW[facts['better']]}"
        with svg_plots.panel(f"{dataset}-tradeoff-{name}.svg", title, SAYS, out) as (axes, done):
            for method, points in lines.items():
                _plot(axes, points, marks[method])
            if real.get(name, {}).get("value") is not None:
                axes.axhline(real[name]["value"], color=svg_plots.INK, linewidth=1, linestyle=(0, (1, 2)))
            _axes(axes, [point[1] for points in lines.values() for point in points])
        made += done
    return made


Point = tuple[float, float, float | None, float | None]  # seconds, value, low, high


def _line(results: Results, dataset: str, method: str, name: str) -> list[Point]:
    found = [(results.seconds(dataset, method, t), results.cell(dataset, method, t)) for t in results.shots]
    return [(time, v["value"], v["low"], v["high"]) for time, cell in found
            if time and cell and (v := cell.values.get(name)) and v["value"] is not None]


def _plot(axes: Any, points: Sequence[Point], mark: Mark, hollow: bool = False, dashed: bool = False) -> None:
    x, y = [p[0] for p in points], [p[1] for p in points]
    axes.plot(x, y, color=mark.colour, linestyle="--" if dashed else "-", zorder=2)
    face = svg_plots.PAPER if hollow else mark.colour
    for size, (seconds, value, low, high) in zip((4, 6, 8, 9), points):
        axes.plot([seconds], [value], mark.marker, color=mark.colour, markerfacecolor=face, markersize=size, zorder=3)
        if low is not None and high is not None:
            axes.plot([seconds, seconds], [low, high], color=mark.colour, linewidth=0.9, alpha=0.55, zorder=1)


def _axes(axes: Any, values: Sequence[float]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    plain = FuncFormatter(lambda x, _: f"{x:g}")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: duration(x)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    if min(values) > 0 and max(values) > 10 * min(values):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(plain)
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("few-shot learning")


def duration(seconds: float) -> str:
    """With three digits, or whole seconds, and its unit."""
    if seconds >= 999.5:
        return f"{seconds:,.0f} s"
    unit, size = next((one for one in (("s", 1.0), ("ms", 1e-3)) if seconds >= .9995 * one[1]), ("µs", 1e-6))
    return f"{seconds / size:.3g} {unit}"


def draw_paper(results: Results, marks: dict[str, Mark], out: Path) -> list[Plot]:
    """The paper's own numbers: a panel a column of its Table 1, against the seconds of its Table 2."""
    rows = [row for row in paper() if row["ours"] in marks]
    times = {(row["paper_method"], row["shots"]): float(row["seconds"]) for row in rows if row["table"] == "2"}
    made: list[Plot] = []
    for name in PAPER if rows else ():
        says = "The paper's own values against its own seconds of few-shot learning, on an NVIDIA P40 at 256 px."
        with svg_plots.panel(f"paper-tradeoff-{name}.svg", f"{NAMES[name]}, the paper", says, out) as (axes, done):
            for source in SHORT:
                for mark in marks.values():
                    mine = [row for row in rows if (row["table"], row["ours"], row["dataset"]) == ("1", mark.method, source)]
                    points = [(times[clock, row["shots"]], float(row[name]), None, None) for row in mine
                              if (clock := _clock(row["paper_method"], times))]
                    _plot(axes, points, mark, hollow=True, dashed=source == "voxceleb2")
            _axes(axes, [float(row[name]) for row in rows if row["table"] == "1"])
        made += done
    return made


def _clock(method: str, times: dict[tuple[str, str], float]) -> str:
    """Whose row of the paper's Table 2 it is: that has one row `Ours` for the fine-tuned model of both data sets."""
    return next((name for name in (method, method.removesuffix("-FT")) if any(name == key for key, _ in times)), "")


