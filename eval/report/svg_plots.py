"""Plots as SVG: a file that stands alone, and the same inside the page, in the page's own colours and type."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from html import escape
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

INK, GRID, PAPER = "#1b1b1c", "#d9d9d8", "#fffffe"
COLOURS = ("#6f6f6e", "#8a6d1f", "#0b6fb3", "#7b4ea8", "#15845c", "#c2410c", "#b0306f", "#4a5a12")  # of methods, in their order
MARKERS, SHAPES = "ovsD^PX*", "●▼■◆▲✚✖★"
VARIABLES = {INK: "currentColor", GRID: "var(--line)", PAPER: "var(--paper)",
             **{colour: f"var(--m{j})" for j, colour in enumerate(COLOURS)}}
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 10, "text.color": INK, "axes.labelcolor": INK,
    "axes.edgecolor": GRID, "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 11,
    "axes.titlelocation": "left", "axes.grid": True, "axes.axisbelow": True, "grid.color": GRID, "grid.linewidth": 0.6,
    "lines.linewidth": 1.6, "xtick.color": INK, "ytick.color": INK, "xtick.labelsize": 9, "ytick.labelsize": 9}


class Plot(NamedTuple):
    """One panel."""

    file: str  # in report/figures
    title: str
    says: str  # for who does not see it
    svg: str


class Mark(NamedTuple):
    """How a method looks in every plot."""

    method: str
    label: str
    colour: str
    marker: str
    shape: str  # the marker as a character, for the legend
    colour_number: int


def marks(methods: Sequence[str], labels: Mapping[str, str]) -> dict[str, Mark]:
    """Method -> its mark; beyond eight methods colours and markers repeat."""
    return {m: Mark(m, labels[m], COLOURS[j % 8], MARKERS[j % 8], SHAPES[j % 8], j % 8) for j, m in enumerate(methods)}


@contextmanager
def panel(file: str, title: str, says: str, out: Path,
          size: tuple[float, float] = (4.4, 3.1)) -> Iterator[tuple[Any, list[Plot]]]:
    """(axes to draw on, a list that holds the plot afterwards); writes out/file. Equal calls give equal bytes."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    made: list[Plot] = []
    with matplotlib.rc_context(STYLE | {"svg.hashsalt": file}):
        figure, axes = plt.subplots(figsize=size, layout="constrained")
        axes.set_title(title, parse_math=False)
        yield axes, made
        text = StringIO()
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
        plt.close(figure)
    svg = _named(text.getvalue(), title, says)
    (out / file).write_text(svg, encoding="utf-8")
    made.append(Plot(file, title, says, svg))


def _named(svg: str, title: str, says: str) -> str:
    """With a title and a description as its first elements, and without names of groups, which would stand twice on a page."""
    svg = re.sub(r' id="(?:figure|axes|patch|matplotlib\.axis|text|line2d|xtick|ytick)_\d+"', "", svg)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    at = svg.index(">", svg.index("<svg")) + 1
    return f"{svg[:at]}\n <title>{escape(title)}</title>\n <desc>{escape(says)}</desc>{svg[at:]}"


def inline(plot: Plot) -> str:
    """The plot as an element of the page: colours become the page's variables, letters the page's own."""
    svg = plot.svg[plot.svg.index("<svg"):]
    for colour, variable in VARIABLES.items():
        svg = svg.replace(colour, variable)
    svg = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", svg)
    svg = re.sub(r"font-family: [^;\"]*;? ?", "", svg)
    svg = re.sub(r' (?:width|height)="[\d.]+pt"', "", svg, count=2)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{escape(plot.title)}. {escape(plot.says)}" ', 1)
