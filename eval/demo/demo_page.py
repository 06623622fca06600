"""demo/index.html: one page that holds all of its pictures and loads nothing."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eval.demo.pose_grid import Grid

MARK = ('<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" Iptc4xmpExt:DigitalSourceType='
        '"http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia">synthetic: true</rdf:Description></rdf:RDF>'
        '</x:xmpmeta>')


@dataclass(frozen=True)
class Learnt:
    """One method after learning from T photos."""

    cells: np.ndarray  # (M, Y, S, S, 3) uint8, drawn
    seconds: float  # of few-shot learning
    ssim: np.ndarray  # (M, Y), to the truth


@dataclass(frozen=True)
class Demo:
    """All that the page shows."""

    person: str
    dataset: str
    stood_in: str  # what is a stand-in, a sentence
    grid: Grid
    driving: np.ndarray  # (M, Y, S, S, 3) uint8, landmark images
    sources: np.ndarray  # (T, S, S, 3) uint8, the photos in their order
    learnt: Mapping[str, Mapping[int, Learnt]]  # method -> T


def sprite(cells: np.ndarray, *, exact: bool = False, synthetic: bool = True) -> str:
    """Cells (M, Y, S, S, 3) uint8 as one picture, row by row: a data URI of WebP. exact: without loss, for lines."""
    from PIL import Image

    rows, columns, S = cells.shape[:3]
    picture, out = Image.fromarray(cells.swapaxes(1, 2).reshape(rows * S, columns * S, 3)), io.BytesIO()
    picture.save(out, "WEBP", lossless=exact, quality=92, method=4, xmp=MARK.encode() if synthetic else b"")
    return "data:image/webp;base64," + base64.b64encode(out.getvalue()).decode()


def write(out: Path, demo: Demo) -> None:
    """Writes out/index.html."""
    import jinja2

    here = jinja2.Environment(loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True,
                              lstrip_blocks=True, undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    photos = [sprite(photo[None, None], synthetic=demo.grid.rendered) for photo in demo.sources]
    page = here.get_template("page.html.j2").render(demo=demo, data=_data(demo), size=demo.sources.shape[1], photos=photos)
    out.mkdir(parents=True, exist_ok=True)
    part = out / "index.html.part"
    part.write_text(page, encoding="utf-8")
    part.replace(out / "index.html")


def _data(demo: Demo) -> dict[str, Any]:
    """What the page's script reads."""
    every, grid = [(method, T, one) for method, of in demo.learnt.items() for T, one in of.items()], demo.grid
    return {"yaws": grid.yaws, "mouths": grid.mouths, "shots": sorted({T for _, T, _ in every}),
            "sprites": {"pose": sprite(demo.driving, exact=True), "truth": sprite(grid.truth, synthetic=grid.rendered),
                        **{f"{method}-{T}": sprite(one.cells) for method, T, one in every}},
            "seconds": {f"{method}-{T}": spoken(one.seconds) for method, T, one in every},
            "ssim": {f"{method}-{T}": np.round(one.ssim, 2).tolist() for method, T, one in every}}


def spoken(seconds: float) -> str:
    """Two or three digits and a unit."""
    if seconds < .9995:
        return f"{1000 * seconds:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 99.95 else f"{seconds / 60:.1f} min"
