"""One test person: source frames, every method at every T beside the truth, where it differs, and a loop of all in step.

Pictures are WebP. Each with drawn faces says so in its metadata (XMP: IPTC's digital source type; EXIF: a sentence).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from eval.scoring.protocol import Generated
from eval.scoring.results import Config, Results
from eval.statistics.comparison import Compared

if TYPE_CHECKING:
    from PIL.Image import Image

MARK = "Synthetic: faces drawn by the methods of this benchmark, all but those headed landmarks and truth."
XMP = """<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description
 xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" xmlns:mark="talking-heads-benchmark"
 Iptc4xmpExt:DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
 mark:synthetic="true"/></rdf:RDF></x:xmpmeta>"""
DESCRIPTION = 0x010E  # EXIF's ImageDescription
LARGEST = 96  # pixels of a face on the page; larger ones are averaged down
LOSSLESS = 64  # pixels up to which stills are stored without loss
BRIGHT = 0.4  # mean difference of the channels that is drawn brightest
QUICKEST, SLOWEST = 40, 500  # milliseconds that a frame of a loop stands
GAP = 2  # pixels between faces


class Picture(NamedTuple):
    """A file in report/figures, a grid of faces, and the words around it."""

    file: str
    caption: str
    columns: list[str]
    rows: list[str]
    still: str = ""  # of a loop: the file of its first frame


class Person(NamedTuple):
    """What the page shows of one test person."""

    dataset: str
    name: str
    pictures: list[Picture]
    column: str  # of the scores
    scores: list[tuple[str, list[float | None]]]  # (method's label, this person's mean at each T)

    @property
    def anchor(self) -> str:
        """Of the section in the page."""
        return re.sub(r"[^\w.-]", "-", f"person-{self.dataset}-{self.name}")


class Drawn(NamedTuple):
    """The frames of one cell."""

    method: str
    t: int
    images: Generated


def draw(results: Results, dataset: str, compared: Compared | None, out: Path, config: Config) -> list[Person]:
    """Writes the pictures of the first test people to `out`. Empty where no frame was generated."""
    drawn = [Drawn(m, t, Generated(folder)) for m in results.methods for t in results.shots
             if (folder := results.images(dataset, m, t)) is not None]
    if not drawn:
        return []
    from pipeline.episodes import Faces

    root = results.data / dataset
    size = drawn[0].images.size()
    faces = Faces(frames=root / "frames", landmarks=root / "landmarks", split=root / "split", size=size)
    drawn = [one for one in drawn if one.images.size() == size]
    labels = {method: results.label(method) for method in results.methods}
    people = []
    for subject in faces.subjects[:config.people]:
        stem = f"{dataset}-{subject.person.replace('/', '-')}"
        rows = [sorted(subject.holdout)[j] for j in np.linspace(0, len(subject.holdout) - 1, config.rows).round().astype(int)]
        pictures = [_sources(results, faces, subject, stem, out), _loop(labels, faces, subject, drawn, stem, out)]
        pictures += [_frame(labels, faces, subject, drawn, row, f"{stem}-{row}", out) for row in dict.fromkeys(rows)]
        people.append(Person(dataset, subject.person, pictures, *_scores(labels, compared, subject.person, results.shots)))
    return people


def _sources(results: Results, faces: Any, subject: Any, stem: str, out: Path) -> Picture:
    """All source frames, in the order in which larger T take them."""
    rows = subject.sources[:max(results.shots)]
    images, wide = faces.images(rows), min(16, len(rows))
    strip = grid([list(images[j:j + wide]) for j in range(0, len(rows), wide)])
    _save(strip, out / f"{stem}-sources.webp", _small(faces), {})
    taken = ", ".join(f"T = {t}: the first {min(t, len(rows))}" if t > 1 else "T = 1: the first" for t in results.shots)
    return Picture(f"{stem}-sources.webp", f"Source frames, real. {taken}.", [], [])


def _small(faces: Any) -> bool:
    """Whether stills are kept without loss."""
    return int(faces.size) <= LOSSLESS


def _columns(labels: dict[str, str], drawn: Sequence[Drawn]) -> tuple[list[str], list[int]]:
    """The methods and T that are there."""
    return [m for m in labels if any(one.method == m for one in drawn)], sorted({one.t for one in drawn})


def _loop(labels: dict[str, str], faces: Any, subject: Any, drawn: Sequence[Drawn], stem: str, out: Path) -> Picture:
    """All hold-out frames in the order of the video: a row a T, the landmarks and the truth before every method."""
    methods, shots = _columns(labels, drawn)
    rows = sorted(subject.holdout)
    found = {(one.method, one.t): one.images.frames(subject.person, rows) for one in drawn}
    poses, truth = faces.poses(rows), faces.images(rows)
    frames = [grid([[poses[j], truth[j], *(found[m, t][j] if (m, t) in found else None for m in methods)] for t in shots])
              for j in range(len(rows))]
    gaps = np.diff(faces.seconds[rows]) * 1000
    last = float(np.median(gaps)) if len(gaps) else SLOWEST
    _save_loop(frames, out / f"{stem}-loop.webp", np.clip([*gaps, last], QUICKEST, SLOWEST).round().astype(int).tolist())
    _save(frames[0], out / f"{stem}-still.webp", _small(faces), _marked())
    return Picture(f"{stem}-loop.webp", f"Loop of the {len(rows)} hold-out frames as far apart as in the video (half a second "
                   "at most), all methods in step. Compressed for this page; what was scored is without loss.",
                   ["landmarks", "truth", *(labels[m] for m in methods)], [f"T = {t}" for t in shots], f"{stem}-still.webp")


def _frame(labels: dict[str, str], faces: Any, subject: Any, drawn: Sequence[Drawn], row: int, stem: str, out: Path) -> Picture:
    """One hold-out frame: under every method's row at a T the row of its differences from the truth."""
    methods, shots = _columns(labels, drawn)
    found = {(one.method, one.t): one.images.frames(subject.person, [row])[0] for one in drawn}
    truth = faces.images([row])[0]
    head: list[np.ndarray | None] = [faces.poses([row])[0], truth]
    cells: list[list[np.ndarray | None]] = []
    for t in shots:
        mine = [found.get((m, t)) for m in methods]
        cells += [[*head, *mine], [None, None, *(None if image is None else heat(image, truth) for image in mine)]]
        head = [None, None]
    _save(grid(cells), out / f"{stem}.webp", _small(faces), _marked())
    return Picture(f"{stem}.webp", f"Hold-out frame at {faces.seconds[row]:.2f} s, and below each drawn face where it differs "
                   f"from the truth: black is no difference, brightest {100 * BRIGHT:.0f} % of the range and more.",
                   ["landmarks", "truth", *(labels[m] for m in methods)],
                   [word for t in shots for word in (f"T = {t}", "difference")])


def heat(image: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """|image − truth|, mean over the channels, in the colours of `inferno`. (3, H, W) twice in [0, 1] -> (3, H, W)."""
    import matplotlib

    found = matplotlib.colormaps["inferno"](np.clip(np.abs(image - truth).mean(axis=0) / BRIGHT, 0, 1))[..., :3]
    return np.asarray(found.transpose(2, 0, 1), np.float32)


def grid(rows: Sequence[Sequence[np.ndarray | None]]) -> Image:
    """Faces (3, H, W) float [0, 1] side by side, None and what lies between them transparent."""
    from PIL import Image

    size = next(cell.shape[-1] for row in rows for cell in row if cell is not None)
    shown = min(size, LARGEST)
    step = shown + GAP
    picture = Image.new("RGBA", (max(map(len, rows)) * step - GAP, len(rows) * step - GAP), (0, 0, 0, 0))
    for k, row in enumerate(rows):
        for j, cell in enumerate(row):
            if cell is not None:
                face = Image.fromarray(np.rint(cell.transpose(1, 2, 0) * 255).astype(np.uint8))
                picture.paste(face.resize((shown, shown), Image.Resampling.BOX), (j * step, k * step))
    return picture


def _scores(labels: dict[str, str], compared: Compared | None, person: str,
            shots: Sequence[int]) -> tuple[str, list[tuple[str, list[float | None]]]]:
    """The first per-frame column that was scored, and its mean over this person's frames: (method's label, one value a T)."""
    if compared is None:
        return "", []
    found = {(m, t): cell[1] for m in labels for t in shots if (cell := compared.cell((m, t)))}
    column = next((name for stored in found.values() for name in stored.columns), "")
    if not column:
        return "", []
    values = {place: s.columns[column][s.person == person] for place, s in found.items() if column in s.columns}
    means = {place: float(np.nanmean(v)) for place, v in values.items() if np.isfinite(v).any()}
    return column, [(label, [means.get((m, t)) for t in shots]) for m, label in labels.items()]


def _save(picture: Image, path: Path, lossless: bool, metadata: dict[str, bytes]) -> None:
    picture.save(path, "WEBP", lossless=lossless, quality=30 if lossless else 90, method=4, **metadata)


def _save_loop(frames: Sequence[Image], path: Path, milliseconds: Sequence[int]) -> None:
    frames[0].save(path, "WEBP", save_all=True, append_images=list(frames[1:]), duration=list(milliseconds), loop=0, quality=80,
                   method=4, **_marked())


def _marked() -> dict[str, bytes]:
    from PIL import Image

    exif = Image.Exif()
    exif[DESCRIPTION] = MARK
    return {"exif": exif.tobytes(), "xmp": XMP.encode()}
