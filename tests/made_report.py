"""Stored results of a small benchmark, and its report."""

from html.parser import HTMLParser

import made_pictures

from eval.report import figures, headline, html_page, write_tables
from eval.scoring.results import Config
from pipeline.core import fileio
from pipeline.core.manifest import write_manifest

SIZE, PEOPLE = made_pictures.SIZE, ("p1", "p2")
METRICS = {"ssim": {"label": "SSIM", "better": "higher", "unit": "1 = equal", "compares": "two frames", "backbones": {},
                    "main": True},
           "nme_x": {"label": "NME (x)", "better": "lower", "unit": "eyes", "compares": "landmarks", "backbones": {},
                     "main": False, "detector": {"name": "finder7", "sha256": {"finder.dat": "ef" * 32}}},
           "fd_efflite0": {"label": "FD (EfficientNet-Lite0)", "better": "lower", "unit": "distance", "compares": "two sets",
                           "main": True, "backbones": {"net.pth": "ab" * 32}}}


def number(value, spread, floor=None):
    found = {"value": value, "low": value - spread, "high": value + spread, "n_people": 2, "n_frames": 8, "n_failed": 0}
    return found | ({"floor": floor} if floor is not None else {})


def write(folder, kind, body, files=()):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files:
        fileio.write_json(folder / name, content)
    write_manifest(folder, kind, body)


def cell(root, method, shots, ssim, fd):
    body = {"label": {"ft": "Ours-FT", "mean": "Mean"}[method], "driven_by": "landmarks", "size": SIZE, "people": 2,
            "frames": 8, "metrics": METRICS, "order": ["ssim", "fd_efflite0", "nme_x"],
            "not_measured": dict.fromkeys(("fid", "kid"), "inception.pth is not here: fetch it"),
            "level": 0.95, "resamples": {"means": 10, "sets": 10}}
    values = {"ssim": number(ssim, 0.05), "fd_efflite0": number(fd, 2.0, floor=1.25),
              "nme_x": number(fd / 1000, 0.01) | {"n_failed": 3}}
    write(root / "results" / "sample" / method / str(shots) / "metrics", "score", body, [("metrics.json", values)])
    made_pictures.images(root / "results" / "sample" / method / str(shots) / "images", PEOPLE, 50 + shots)


def rows_of(table):
    return {(row[1], row[2]): dict(zip(table.head, row)) for row in table.rows}


def floor(root, which, label, ssim, fd):
    """Scores of real frames; of another person without a distance between sets."""
    order = [name for name in METRICS if fd or name != "fd_efflite0"]
    body = {"dataset": "sample", "method": label, "floor": which, "shots": None, "label": label, "driven_by": "",
            "trained_on": "", "size": SIZE, "people": 2, "frames": 4 if which == "same" else 8, "metrics": METRICS,
            "order": order, "not_measured": {}, "level": 0.95, "resamples": {"means": 10, "sets": 10}}
    values = {"ssim": number(ssim, 0.05), "nme_x": number(0.2, 0.01)} | ({"fd_efflite0": number(fd, 0.25)} if fd else {})
    write(root / "results" / "sample" / "floors" / which / "metrics", "score", body, [("metrics.json", values)])


class Page(HTMLParser):
    """Collects what a browser would load and checks that tags close."""

    VOID = ("meta", "img", "br", "link", "hr", "input", "source")

    def __init__(self, text):
        super().__init__()
        self.open, self.loads, self.text, self.scripts, self.names, self.policy = [], [], [], 0, [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.loads += [value for name, value in attributes if name in ("src", "href", "srcset", "data", "xlink:href")]
        self.names += [value for name, value in attributes if name == "id"]
        self.scripts += tag == "script"
        if ("http-equiv", "Content-Security-Policy") in attributes:
            self.policy = dict(attributes)["content"]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data):
        self.text.append(data)


def build(results, out):
    (out / "figures").mkdir(parents=True)
    compared = write_tables.compare(results, None)
    drawn = figures.draw(results, compared, out / "figures", Config(people=2, rows=2))
    html_page.write(out, results, write_tables.made(results, compared), drawn,
                    {d: headline.answers(found) for d, found in compared.items()})
    return (out / "index.html").read_text(encoding="utf-8")
