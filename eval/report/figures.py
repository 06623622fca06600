"""Pictures of the report: what each method drew for a person, and how training went. Every file says that it is synthetic."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from eval.protocol import Generated
from eval.report.results import Config, Results

if TYPE_CHECKING:
    from PIL.Image import Image

INK, PAPER, MUTED, GAP, HEAD, SIDE = (20, 20, 20), (255, 255, 255), (110, 110, 110), 4, 40, 96
MARK = "Synthetic images: drawn by the methods named above them, all but the columns source, landmarks and truth."


class Column(NamedTuple):
    """A group heading (printed once over neighbours that share it), the heading below it, one image a row."""

    group: str
    name: str
    images: np.ndarray | Sequence[np.ndarray]  # (3, H, W) float [0, 1]


class Figure(NamedTuple):
    """A PNG in report/figures and what the page says of it."""

    file: str
    caption: str
    dataset: str


def draw(results: Results, out: Path, config: Config) -> list[Figure]:
    """Writes all figures to `out` and lists them in the page's order."""
    found = []
    for dataset in results.datasets:
        found += people(results, dataset, out, config)
        found += curves(results, dataset, out)
    return found


def people(results: Results, dataset: str, out: Path, config: Config) -> list[Figure]:
    """One overview (a row a person) and one figure a person: sources | driving landmarks | truth | every method at every T."""
    drawn = [(m, t, Generated(folder)) for m in results.methods for t in results.shots
             if (folder := results.images(dataset, m, t)) is not None]
    if not drawn:
        return []
    from pipeline.episodes import Faces

    root = results.data / dataset
    faces = Faces(frames=root / "frames", landmarks=root / "landmarks", split=root / "split", size=drawn[0][2].size())
    drawn = [(m, t, images) for m, t, images in drawn if images.size() == drawn[0][2].size()]
    some = faces.subjects[:config.people]
    middle = [(subject, [subject.sources[0]], [subject.holdout[len(subject.holdout) // 2]]) for subject in some]
    _save(sheet(_columns(results, faces, drawn, middle), [s.person for s in some]), out / f"{dataset}-people.png")
    figures = [Figure(f"{dataset}-people.png", f"{dataset}: one hold-out frame of each test person", dataset)]
    for subject in some:
        rows = [subject.holdout[j] for j in np.linspace(0, len(subject.holdout) - 1, config.rows).round().astype(int)]
        sources = [subject.sources[j % len(subject.sources)] for j in range(len(rows))]
        name = f"{dataset}-{subject.person.replace('/', '-')}.png"
        _save(sheet(_columns(results, faces, drawn, [(subject, sources, rows)]), [f"row {row}" for row in rows]), out / name)
        figures.append(Figure(name, f"{dataset}, person {subject.person}: {len(rows)} of the hold-out frames", dataset))
    return figures


def _columns(results: Results, faces: Any, drawn: Sequence[tuple[str, int, Generated]],
             rows: Iterable[tuple[Any, list[int], list[int]]]) -> list[Column]:
    """rows: (subject, source rows, hold-out rows)."""
    rows = list(rows)
    sources, holdout = ([row for entry in rows for row in entry[side]] for side in (1, 2))
    columns = [Column("", "source", faces.images(sources)), Column("", "landmarks", faces.poses(holdout)),
               Column("", "truth", faces.images(holdout))]
    for method, t, images in drawn:
        found = np.concatenate([images.frames(subject.person, held) for subject, _, held in rows])
        columns.append(Column(results.label(method), f"T={t}", found))
    return columns


def sheet(columns: Sequence[Column], rows: Sequence[str]) -> Image:
    """Columns side by side under their headings, a label at each row's left, the mark at the foot."""
    from PIL import Image, ImageDraw, ImageFont

    size = columns[0].images[0].shape[-1]
    cell = size * max(1, -(-SIDE // size))  # enlarged by a whole number: pixels stay what they were
    gutters = np.cumsum([GAP * (3 if a.group != b.group or not b.group else 1) for a, b in pairwise(columns)])
    left = 8 + max(7 * len(row) for row in rows)
    xs = [left + j * cell + (int(gutters[j - 1]) if j else 0) for j in range(len(columns))]
    picture = Image.new("RGB", (xs[-1] + cell + GAP, HEAD + len(rows) * (cell + GAP) + 22), PAPER)
    pen, font, small = ImageDraw.Draw(picture), ImageFont.load_default(14), ImageFont.load_default(12)
    for j, column in enumerate(columns):
        if column.group and (j == 0 or columns[j - 1].group != column.group):
            pen.text((xs[j], 3), column.group, INK, font)
        pen.text((xs[j], 22), column.name, INK if column.group else MUTED, small)
        for k, image in enumerate(column.images):
            pixels = np.rint(image.transpose(1, 2, 0) * 255).astype(np.uint8)
            enlarged = Image.fromarray(pixels).resize((cell, cell), Image.Resampling.NEAREST)
            picture.paste(enlarged, (xs[j], HEAD + k * (cell + GAP)))
    for k, row in enumerate(rows):
        pen.text((4, HEAD + k * (cell + GAP) + cell // 2 - 7), row, MUTED, small)
    pen.text((4, picture.height - 18), MARK, MUTED, small)
    return picture


def _save(picture: Image, path: Path) -> None:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("synthetic", "true")
    info.add_text("Description", MARK)
    picture.save(path, pnginfo=info)


def curves(results: Results, dataset: str, out: Path) -> list[Figure]:
    """One panel a scalar, one line a method, from what training logged (dvclive)."""
    found = {method: scalars(results.models / dataset / method / "log" / "plots" / "metrics") for method in results.methods}
    names = sorted({name for lines in found.values() for name in lines})
    if not names:
        return []
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    wide = min(4, len(names))
    figure, axes = plt.subplots(-(-len(names) // wide), wide, squeeze=False, layout="constrained",
                                figsize=(3.2 * wide, 2.2 * -(-len(names) // wide)))
    for axis, name in zip(axes.flat, names):
        for j, method in enumerate(results.methods):
            if name in found[method]:
                axis.plot(*found[method][name], label=results.label(method), color=f"C{j}", linewidth=1.2)
        axis.set_title(name, fontsize=9)
        axis.tick_params(labelsize=7)
        axis.grid(alpha=0.3)
    for axis in axes.flat[len(names):]:
        axis.axis("off")
    axes[-1, 0].set_xlabel("step", fontsize=8)
    lines = {label: line for axis in axes.flat for line, label in zip(*axis.get_legend_handles_labels())}
    figure.legend(lines.values(), lines.keys(), loc="outside upper right", ncols=len(lines), fontsize=8, frameon=False)
    figure.savefig(out / f"{dataset}-training.png", dpi=120, metadata={"Software": None, "synthetic": "true"})
    plt.close(figure)
    return [Figure(f"{dataset}-training.png", f"{dataset}: training, each scalar over meta-learning steps", dataset)]


def scalars(folder: Path) -> dict[str, tuple[list[float], list[float]]]:
    """Scalar name -> (steps, values), from every .tsv below `folder`."""
    found = {}
    for path in sorted(folder.rglob("*.tsv")):
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
        name = path.relative_to(folder).with_suffix("").as_posix()
        columns = [key for key in rows[0] if key not in ("step", "timestamp")] if rows else []
        if columns and "step" in rows[0] and len(rows) > 1:
            found[name] = [float(row["step"]) for row in rows], [float(row[columns[-1]] or "nan") for row in rows]
    return found
