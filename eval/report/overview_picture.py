"""report/figures/overview-DATASET.png: source, driving landmarks, FF, FT and truth of test people; the picture of README.md."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from eval.report.person_figures import MARK, XMP
from eval.scoring.protocol import Generated
from eval.scoring.results import Results

if TYPE_CHECKING:
    from PIL.Image import Image

METHODS = ("ff", "ft")  # the paper's two
PEOPLE = 4  # rows at most
SIDE, GAP, HEAD = 128, 4, 22  # pixels of a face, between faces, of the line of text above and below


def draw(results: Results, dataset: str, out: Path) -> str:
    """Writes the picture to `out` -> its file name; "" where FF and FT have generated nothing.

    T is the one in the middle of `shots`. Each row has the first source frame, and the hold-out frame whose landmarks lie
    farthest from that frame's: the hardest one, not the best.
    """
    t = sorted(results.shots)[len(results.shots) // 2] if results.shots else 0
    drawn = {method: Generated(folder) for method in METHODS if (folder := results.images(dataset, method, t)) is not None}
    if not drawn:
        return ""
    from pipeline.episodes import Faces

    root, size = results.data / dataset, next(iter(drawn.values())).size()
    faces = Faces(frames=root / "frames", landmarks=root / "landmarks", split=root / "split", size=size)
    rows = []
    for subject in faces.subjects[:PEOPLE]:
        source, holdout = subject.sources[0], sorted(subject.holdout)
        still = faces.points([source])[0]
        far = holdout[int(np.argmax([np.abs(points - still).mean() for points in faces.points(holdout)]))]
        images = [faces.images([source])[0], faces.poses([far])[0],
                  *(frames.frames(subject.person, [far])[0] for frames in drawn.values()), faces.images([far])[0]]
        rows.append(images)
    heads = ["source", "landmarks", *(f"{results.label(method)}, T = {t}" for method in drawn), "truth"]
    foot = f"{dataset}: people unseen in training. Synthetic: {' and '.join(results.label(method) for method in drawn)}."
    name = f"overview-{dataset}.png"
    _save(sheet(rows, heads, foot), out / name)
    return name


def sheet(rows: Sequence[Sequence[np.ndarray]], heads: Sequence[str], foot: str) -> Image:
    """Faces (3, H, W) float [0, 1] under their heads, a line of text below all of them."""
    from PIL import Image, ImageDraw, ImageFont

    wide, high = len(heads) * (SIDE + GAP) + GAP, len(rows) * (SIDE + GAP) + 2 * HEAD
    picture = Image.new("RGB", (wide, high), "white")
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(13)
    for j, head in enumerate(heads):
        pen.text((GAP + j * (SIDE + GAP) + SIDE / 2, HEAD / 2), head, "black", font, anchor="mm")
    for k, row in enumerate(rows):
        for j, image in enumerate(row):
            face = Image.fromarray(np.rint(image.transpose(1, 2, 0) * 255).astype(np.uint8))
            kind = Image.Resampling.BICUBIC if image.shape[-1] < SIDE else Image.Resampling.BOX
            picture.paste(face.resize((SIDE, SIDE), kind), (GAP + j * (SIDE + GAP), HEAD + k * (SIDE + GAP)))
    pen.text((GAP, high - HEAD / 2), foot, "black", font, anchor="lm")
    return picture


def _save(picture: Image, path: Path) -> None:
    """PNG with the synthetic mark: a text chunk and XMP with IPTC's digital source type."""
    from PIL import PngImagePlugin

    mark = PngImagePlugin.PngInfo()
    mark.add_text("synthetic", "true")
    mark.add_text("Description", MARK)
    mark.add_itxt("XML:com.adobe.xmp", XMP)
    picture.save(path, "PNG", pnginfo=mark, optimize=True)
