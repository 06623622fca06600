import base64
import csv
import hashlib
import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import made_pictures
import numpy as np
import pytest

from eval.claims import paper
from eval.report import (
    data_ledger,
    figures,
    headline,
    html_page,
    html_table,
    markdown_table,
    person_figures,
    provenance,
    svg_plots,
    table1_quality,
    table2_seconds,
    tradeoff,
    training_curves,
    write_tables,
)
from eval.scoring.results import Config, Results
from pipeline.core import fileio
from pipeline.core.errors import InputError
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


@pytest.fixture
def results(tmp_path, monkeypatch):
    """mean at T = 1, 8 and ft at T = 8; ft at T = 1 was never run."""
    cell(tmp_path, "mean", 1, 0.5123, 98.76)
    cell(tmp_path, "mean", 8, 0.6, 80.0)
    cell(tmp_path, "ft", 8, 0.8904, 12.345)
    clock = {"median": 0.5, "n": 7}
    seconds = {"set_up": clock, "few_shot": {"1": {"median": 2.5, "n": 3, "steps": 40},
                                             "8": {"median": 20.0, "n": 1, "steps": 40}},
               "step": {"1": {"median": 0.06, "n": 117}, "8": {"median": 0.5, "n": 8}}, "frame": {"median": 0.0123, "n": 20},
               "macs": 1234567890, "parameters": 98765,
               "device": "CPU", "threads": 1, "torch": "2", "size": SIZE, "driven_by": "landmarks"}
    write(tmp_path / "results" / "sample" / "ft" / "timing", "timing", {}, [("timing.json", seconds)])
    log = tmp_path / "models" / "sample" / "ft" / "log" / "plots" / "metrics"
    log.mkdir(parents=True)
    (log / "l_cnt.tsv").write_text("step\tl_cnt\n10\t3.0\n20\t2.0\n")
    landmarks = {"frames": 8, "with_landmarks": 8, "detector": {"name": "dlib68", "sha256": {"shape.dat": "cd" * 32}},
                 "oracle_nme": {"all": 0.0412, "inner": 0.0333, "n": 8}}
    write(tmp_path / "data" / "sample" / "landmarks", "landmarks", landmarks)

    made_pictures.real(monkeypatch, PEOPLE)
    monkeypatch.setitem(sys.modules, "model.backbones.registry", SimpleNamespace(REGISTRY={"d": SimpleNamespace(
        file="shape.dat", role="68 landmarks", licence="CC0", paper=False)}))
    return Results(tmp_path / "data", tmp_path / "models", tmp_path / "results", ["sample"], ["mean", "ft"], [1, 8])


def rows_of(table):
    return {(row[1], row[2]): dict(zip(table.head, row)) for row in table.rows}


def test_numbers_land_in_their_cells_with_their_interval(results):
    found = rows_of(table1_quality.quality(results))
    assert found["Mean", "1"]["SSIM ↑"] == "0.512 [0.462, 0.562]"
    assert found["Ours-FT", "8"]["FD (EfficientNet-Lite0) ↓"] == "12.3 [10.3, 14.3]"
    assert found["Ours-FT", "8"]["people × frames"] == "2 × 4"


def test_what_was_not_measured_is_a_dash_never_a_number(results):
    found = rows_of(table1_quality.quality(results))
    assert found["Ours-FT", "1"]["SSIM ↑"] == found["Ours-FT", "1"]["people × frames"] == "–"
    assert {row["USER ↓"] for row in found.values()} == {row["FID ↓"] for row in found.values()} == {"–"}
    assert "fid is not measured: inception.pth is not here: fetch it" in table1_quality.quality(results).markdown()


def test_further_metrics_stand_in_a_table_of_their_own_with_the_rows_of_table_1(results):
    first, more = table1_quality.quality(results), table1_quality.further(results)
    assert not any("NME" in name for name in first.head) and "nme_x" not in first.csv()
    assert more.head == ["data set", "method", "T", "NME (x) ↓", "people × frames"]
    assert [row[:3] for row in more.rows] == [row[:3] for row in first.rows]
    assert rows_of(more)["Ours-FT", "8"]["NME (x) ↓"] == "0.0123 [0.0023, 0.0223]" and rows_of(more)["Ours-FT", "1"][
        "NME (x) ↓"] == "–"
    assert "nme_x: 9 frames could not be scored" in more.markdown() and "nme_x" not in first.markdown()
    assert [line["nme_x_failed"] for line in csv.DictReader(more.csv().splitlines())] == ["3", "3", "", "3"]


def test_what_was_not_measured_is_said_under_the_table_that_would_have_it(results):
    first, more = table1_quality.quality(results).markdown(), table1_quality.further(results).markdown()
    assert "fid is not measured" in first and "kid is not" not in first
    assert "kid is not measured" in more and "fid is not" not in more


def floor(root, which, label, ssim, fd):
    """Scores of real frames; of another person without a distance between sets."""
    order = [name for name in METRICS if fd or name != "fd_efflite0"]
    body = {"dataset": "sample", "method": label, "floor": which, "shots": None, "label": label, "driven_by": "",
            "trained_on": "", "size": SIZE, "people": 2, "frames": 4 if which == "same" else 8, "metrics": METRICS,
            "order": order, "not_measured": {}, "level": 0.95, "resamples": {"means": 10, "sets": 10}}
    values = {"ssim": number(ssim, 0.05), "nme_x": number(0.2, 0.01)} | ({"fd_efflite0": number(fd, 0.25)} if fd else {})
    write(root / "results" / "sample" / "floors" / which / "metrics", "score", body, [("metrics.json", values)])


def test_real_frames_stand_first_in_rows_that_no_method_can_be_taken_for(results, tmp_path):
    floor(tmp_path, "same", "real, same person", 0.7, 1.25)
    floor(tmp_path, "other", "real, another person", 0.3, None)
    for table in (table1_quality.quality(results), table1_quality.further(results)):
        assert [row[1:3] for row in table.rows[:2]] == [["real, same person", "–"], ["real, another person", "–"]]
        assert [row["people × frames"] for row in list(rows_of(table).values())[:2]] == ["2 × 2", "2 × 4"]
        assert [line["shots"] for line in csv.DictReader(table.csv().splitlines())][:2] == ["", ""]
    found = rows_of(table1_quality.quality(results))
    assert found["real, same person", "–"]["FD (EfficientNet-Lite0) ↓"] == "1.25 [1.00, 1.50]"
    assert found["real, another person", "–"]["FD (EfficientNet-Lite0) ↓"] == "–"
    assert found["real, another person", "–"]["SSIM ↑"] == "0.300 [0.250, 0.350]"


def test_the_papers_numbers_stand_beside_the_method_they_belong_to_and_under_their_own_name(results):
    found = rows_of(table1_quality.quality(results))
    assert found["Ours-FT", "8"]["paper on VC2: FID / SSIM / CSIM / USER"] == "42.2 / 0.68 / 0.42 / 0.39"
    assert found["Ours-FT", "1"]["paper on VC1: FID / SSIM / CSIM / USER"] == "43.0 / 0.67 / 0.15 / 0.62"
    assert found["Mean", "8"]["paper on VC2: FID / SSIM / CSIM / USER"] == "–"
    assert "NOT comparable" in table1_quality.quality(results).markdown()


def test_the_papers_data_file_holds_its_tables(shared_data):
    ours = {(row["dataset"], row["paper_method"], row["shots"]): row for row in paper.paper() if row["table"] == "1"}
    for row in csv.DictReader((shared_data / "paper" / "table1.csv").open()):
        found = ours[row["dataset"], row["method"], row["shots"]]
        assert [found[name] for name in table1_quality.PAPER] == [row[name] for name in table1_quality.PAPER]
    seconds = {(row["paper_method"], row["shots"]): float(row["seconds"]) for row in paper.paper() if row["table"] == "2"}
    for row in csv.DictReader((shared_data / "paper" / "table2.csv").open()):
        assert seconds.get((row["method"], row["shots"] or "frame"), 0.139) == float(row["seconds"])


def test_times_stand_apart_with_their_counts(results):
    rows = {row[1]: row for row in table2_seconds.seconds(results).rows}
    assert rows["Ours-FT"][2:] == ["0.500 (7)", "2.50 (3)", "20.0 (1)", "0.0600, 0.500", "0.0123 (20)", "1.23 G", "98.8 k",
                                   "CPU, 1 thread, 16×16 px"]
    assert rows["Mean"][2:] == ["–"] * 8
    assert rows["Ours"][:7] == ["paper", "Ours", "–", "43.84", "85.48", "–", "0.139"]


def test_the_order_of_the_baselines_in_seconds_stands_beside_their_arithmetic(results):
    for name, macs, seconds in (("x2face", 10**9, 0.02), ("pix2pixhd", 8 * 10**9, 0.18)):
        write(results.results / "sample" / name / "timing", "timing", {}, [("timing.json", {
            "macs": macs, "frame": {"median": seconds, "n": 3}})])
    note = next(note for note in table2_seconds.seconds(results).notes if note.startswith("X2Face and pix2pixHD"))
    assert note.endswith("Here on sample, pix2pixHD : X2Face = 8.00 in multiply-accumulates, 9.00 in seconds.")


def test_the_csv_has_one_line_a_cell_and_empty_fields_for_what_is_missing(results):
    lines = list(csv.DictReader(table1_quality.quality(results).csv().splitlines()))
    assert [(line["method"], line["shots"]) for line in lines] == [("mean", "1"), ("mean", "8"), ("ft", "1"), ("ft", "8")]
    assert lines[2]["ssim"] == "" and lines[3]["ssim"] == "0.8904" and lines[3]["paper_voxceleb2_ssim"] == "0.68"
    assert len(list(csv.DictReader(table2_seconds.seconds(results).csv().splitlines()))) == 3


def test_markdown_is_a_table_with_as_many_cells_in_each_line(results):
    for table in write_tables.tables_of(results, None).values():
        lines = [line for line in table.markdown().splitlines() if line.startswith("|")]
        assert len({line.count("|") for line in lines}) == 1 and len({len(line) for line in lines}) == 1


def test_a_wide_table_is_continued_below_itself_on_a_narrow_terminal(results):
    floor(results.results.parent, "same", "real, same person", 0.7, 1.25)
    markdown = table1_quality.quality(results).markdown()
    narrow = markdown_table.fitted(markdown, 80, 3)
    assert max(len(line) for line in narrow.splitlines() if line.startswith("|")) <= 80
    assert all(cell.strip() in narrow for line in markdown.splitlines() if line.startswith("|") for cell in line.split("|")
               if "--" not in cell)
    assert "real, " not in narrow.split("paper on VC2")[1].split("\n- ")[0]  # a row of dashes is not continued
    assert markdown_table.fitted(markdown, 10_000, 3) == markdown


def test_significant_digits():
    assert [markdown_table.number(x) for x in (0.7851, 0.02214, 12.345, 123.45, 0.0, 1.0, None, float("nan"))] == [
        "0.785", "0.0221", "12.3", "123", "0.00", "1.00", "–", "–"]
    assert markdown_table.interval({"value": 0.98, "low": 0.9, "high": 1.0}) == "0.980 [0.900, 1.000]"


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


def test_the_page_is_well_formed_loads_nothing_and_names_what_a_reader_must_know(results, tmp_path):
    text = build(results, tmp_path / "report")
    found = Page(text)
    assert found.open == [] and found.loads and all(load.startswith(("data:", "#")) for load in found.loads)
    assert "@import" not in text and "url(" not in text.replace("url(#", "")
    assert len(found.names) == len(set(found.names))
    assert {load for load in found.loads if load[0] == "#"} <= {f"#{name}" for name in found.names}
    said = " ".join(" ".join(found.text).split())
    for due in ("Synthetic images", "stand-in", "cd" * 32, "ab" * 32, "4.12 %", "3.33 %", "dlib68", "0.890 [0.840, 0.940]",
                "p1", "Real landmarks by finder7 (finder.dat efefefefefef", "ef" * 32, "not comparable",
                "inception.pth is not here", "With 32 frames FT's FID is below FF's.", "not measured"):
        assert due.lower() in said.lower(), due


def test_the_page_runs_the_one_script_that_its_policy_names_and_may_fetch_nothing(results, tmp_path):
    text = build(results, tmp_path / "report")
    found = Page(text)
    script = text[text.index("<script>") + 8:text.index("</script>")]
    assert found.scripts == 1 and base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() in found.policy
    assert found.policy.startswith("default-src 'none'; img-src data:;") and "http" not in found.policy


def test_a_value_cannot_break_out_of_the_page(results, tmp_path):
    made = markdown_table.Table("<script>alert(1)</script>", ["a", "b"], [["<b>", "&"]])
    (tmp_path / "r" / "figures").mkdir(parents=True)
    html_page.write(tmp_path / "r", results, {"table1": made}, figures.NOTHING, {})
    text = (tmp_path / "r" / "index.html").read_text()
    assert "<script>alert" not in text and "&lt;script&gt;alert" in text and "<b>" not in text


def test_every_picture_of_faces_is_marked_synthetic_and_no_figure_carries_a_date(results, tmp_path):
    from PIL import Image

    build(results, tmp_path / "report")
    files = sorted((tmp_path / "report" / "figures").iterdir())
    pictures = [file for file in files if file.suffix == ".webp"]
    ends = ("0", "3", "loop", "sources", "still")
    assert [file.name for file in pictures] == [f"sample-{person}-{end}.webp" for person in PEOPLE for end in ends]
    for file in pictures:
        with Image.open(file) as picture:
            if file.stem.endswith("sources"):  # real frames, of people who may be real: not to be called synthetic
                assert "xmp" not in picture.info and not picture.getexif()
                continue
            assert b'synthetic="true"' in picture.info["xmp"] and b"compositeWithTrainedAlgorithmicMedia" in picture.info["xmp"]
            assert picture.getexif()[person_figures.DESCRIPTION] == person_figures.MARK and len(picture.getexif()) == 1
    plotted = [file for file in files if file.suffix == ".svg"]
    assert "sample-training-l_cnt.svg" in {file.name for file in plotted}
    assert [file.name for file in files if file not in plotted + pictures] == ["overview-sample.png"]
    assert not any("dc:date" in file.read_text() or "<dc:creator" in file.read_text() for file in plotted)


def test_a_loop_shows_the_hold_out_frames_in_the_order_and_at_the_pace_of_the_video(results, tmp_path):
    from PIL import Image

    build(results, tmp_path / "report")
    with Image.open(tmp_path / "report" / "figures" / "sample-p1-loop.webp") as loop:
        assert loop.n_frames == 4 and loop.info["loop"] == 0
        step = SIZE + person_figures.GAP
        assert loop.size == (4 * step - person_figures.GAP,
                             2 * step - person_figures.GAP)  # landmarks, truth, mean, ft; T = 1, 8
        truth, durations = [], []
        for j in range(4):
            loop.seek(j)
            shown = loop.convert("RGBA")
            durations.append(loop.info["duration"])
            truth.append(shown.getpixel((step + 8, 8))[0])
            assert shown.getpixel((3 * step + 8, 8))[3] == 0  # ft at T = 1 was never run
    assert durations == [100] * 4
    assert truth == pytest.approx([102, 115, 128, 140], abs=3)


def test_a_grid_shows_each_face_once_in_its_own_cell_and_nothing_between_them():
    faces = [np.eye(3, dtype=np.float32)[j].reshape(3, 1, 1).repeat(8, 1).repeat(8, 2) for j in range(3)]
    picture = np.asarray(person_figures.grid([[faces[0], faces[1]], [None, faces[2]]]))
    assert picture.shape == (18, 18, 4)
    for colour, (top, left) in zip(np.eye(3), ((0, 0), (0, 10), (10, 10))):
        where = np.argwhere((picture == [*(255 * colour), 255]).all(axis=2))
        assert len(where) == 64 and where.min(axis=0).tolist() == [top, left]
    assert (picture[..., 3] > 0).sum() == 3 * 64
    assert person_figures.grid([[np.zeros((3, 256, 256), np.float32)]]).size == (person_figures.LARGEST, person_figures.LARGEST)


def test_a_difference_map_is_dark_where_nothing_differs_and_brightest_from_a_set_difference_on():
    truth = np.full((3, 4, 4), 0.5, np.float32)
    image = truth.copy()
    image[:, 0, 0] += person_figures.BRIGHT
    image[:, 1, 1] -= 0.5
    found = person_figures.heat(image, truth)
    assert found[:, 2, 2].max() < 0.02 and found[:, 0, 0].tolist() == found[:, 1, 1].tolist() and found[:, 0, 0].mean() > 0.8


def test_the_same_results_give_the_same_bytes(results, tmp_path):
    for name in ("a", "b"):
        build(results, tmp_path / name)
    files = [sorted(path.relative_to(tmp_path / name) for path in (tmp_path / name).rglob("*.*")) for name in ("a", "b")]
    assert files[0] == files[1] and len(files[0]) > 10
    assert all((tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes() for file in files[0])


def test_a_plot_in_the_page_has_the_pages_colours_and_says_what_it_shows(tmp_path):
    mark = svg_plots.marks(["ft"], {"ft": "FT"})["ft"]
    with svg_plots.panel("a.svg", "SSIM <up>", "Some & words.", tmp_path) as (axes, made):
        axes.plot([1, 2], [3, 4], mark.marker, color=mark.colour)
    inside = svg_plots.inline(made[0])
    assert inside.startswith("<svg") and "<title>SSIM &lt;up&gt;</title>\n <desc>Some &amp; words.</desc>" in inside
    assert not re.search("#[0-9a-f]{6}", re.sub(r'(href|id)="[^"]*"', "", inside))
    assert f"var(--m{mark.colour_number})" in inside and "currentColor" in inside and 'role="img"' in inside
    assert "font-family" not in inside
    assert "#" in (tmp_path / "a.svg").read_text() and "var(" not in (tmp_path / "a.svg").read_text()


def test_quality_stands_beside_the_seconds_of_few_shot_learning(results):
    made = tradeoff.table(results)
    found = rows_of(made)
    assert found["Ours-FT", "8"]["few-shot learning, s"] == "20.0"
    assert found["Ours-FT", "8"]["SSIM ↑"] == "0.890 [0.840, 0.940]"
    lines = {(line["method"], line["shots"]): line for line in csv.DictReader(made.csv().splitlines())}
    assert lines["Ours-FT", "8"]["seconds"] == "20.0" and lines["Ours-FT", "8"]["ssim"] == "0.8904"
    assert lines["Mean", "1"]["seconds"] == ""
    assert [tradeoff.duration(x) for x in (28e-6, 0.0082, 1.0, 123.4)] == ["28 µs", "8.2 ms", "1 s", "123 s"]


@pytest.mark.parametrize("seconds, said", [(7.1e-6, "7.1 µs"), (0.0797, "79.7 ms"), (0.9996, "1 s"), (53.31, "53.3 s"),
                                           (999.4, "999 s"), (999.7, "1,000 s"), (4321.0, "4,321 s")])
def test_a_duration_is_in_digits_that_are_read(seconds, said):
    assert tradeoff.duration(seconds) == said


def test_a_cell_is_sorted_by_its_number_and_a_dash_by_none():
    due = {"0.771 [0.70, 0.84]": 0.771, "–": None, "336 M": 336e6, "98.8 k": 98.8e3, "4 × 32": 4, "-0.0123": -0.0123,
           "20.0 (1)": 20, "landmarks": None}
    assert {text: html_table.cell(text).value for text in due} == due
    assert html_table.cell("0.1 [0.0, 0.2] p 0.125") == html_table.Cell("0.1", "[0.0, 0.2] p 0.125", 0.1)


def test_the_page_takes_the_papers_columns_apart_under_its_name(results):
    shown = html_table.view(table1_quality.quality(results))
    assert shown.groups[-2:] == [("the paper on VoxCeleb1", 4), ("the paper on VoxCeleb2", 4)]
    assert [column.name for column in shown.columns[-4:]] == ["FID", "SSIM", "CSIM", "USER"]
    assert shown.title == "Table 1. Quality: sample"
    assert [cell.value for cell in shown.rows[3].cells[-4:]] == [42.2, 0.68, 0.42, 0.39]
    assert {len(row.cells) for row in shown.rows} == {len(shown.columns)} == {sum(span for _, span in shown.groups)}


def test_the_ledger_counts_every_item_by_status_and_reason(results):
    import pandas as pd

    folder = results.data / "sample" / "videos"
    folder.mkdir(parents=True)
    rows = [{"id": f"{j}", "status": "gone", "reason": f"answer {j}"} for j in range(30)]
    rows += [{"id": "x", "status": "ok", "reason": ""}] * 40
    pd.DataFrame(rows).to_parquet(folder / "ledger.parquet")
    made = data_ledger.table(results, "sample")
    assert made.rows[0] == ["source videos", "ok", "used", "40"] and sum(int(row[3]) for row in made.rows) == 70
    assert len(made.rows) == data_ledger.LISTED + 1
    assert made.rows[-1][1:] == ["further", "11 rarer reasons; ledger.parquet has them all", "11"]


def test_results_that_are_not_whole_are_refused_not_dashed(results):
    (results.results / "sample" / "ft" / "8" / "metrics" / "metrics.json").write_text("{}")
    with pytest.raises(InputError, match=r"metrics\.json"):
        table1_quality.quality(results)


def test_an_empty_benchmark_still_has_its_tables_and_page(tmp_path):
    nothing = Results(tmp_path / "d", tmp_path / "m", tmp_path / "r", ["sample"], ["ff"], [1])
    assert table1_quality.quality(nothing).rows == [["sample", "ff", "1", *["–"] * 6, "46.1 / 0.61 / 0.42 / 0.43"]]
    text = build(nothing, tmp_path / "report")
    assert Page(text).open == [] and "nothing is measured yet" in text


def test_scalars_are_read_from_the_training_log(tmp_path):
    (tmp_path / "eval").mkdir()
    (tmp_path / "eval" / "ssim.tsv").write_text("step\tssim\n0\t0.1\n5\t0.2\n")
    (tmp_path / "images.tsv").write_text("step\timages\n5\t40\n")
    assert training_curves.scalars(tmp_path) == {"eval/ssim": ([0, 5], [0.1, 0.2])}


def test_a_long_curve_is_averaged_down_and_keeps_its_mean():
    steps, values = training_curves.thinned((list(range(10_000)), [float(j % 7) for j in range(10_000)]))
    assert len(steps) == len(values) == training_curves.POINTS
    assert np.mean(values) == pytest.approx(np.mean([j % 7 for j in range(10_000)]))
    assert training_curves.thinned(([1, 2], [3.0, 4.0])) == ([1, 2], [3, 4])


def test_generated_frames_must_be_exactly_the_hold_out_frames(results):
    from eval.scoring.protocol import Generated

    folder = results.results / "sample" / "ft" / "8" / "images"
    people = [SimpleNamespace(person=p, holdout=[0, 1, 2, 3]) for p in PEOPLE]
    Generated(folder).check(people)
    with pytest.raises(InputError, match="2 of 10 hold-out frames are missing"):
        Generated(folder).check([SimpleNamespace(person=p, holdout=[0, 1, 2, 3, 4]) for p in PEOPLE])
    with pytest.raises(InputError, match="4 are foreign"):
        Generated(folder).check(people[:1])


def test_showing_prints_both_tables_of_a_whole_report(tmp_path, capsys):
    from stages import report

    for number in (1, 2):
        (tmp_path / f"table{number}.md").write_text(f"## Table {number}\n\n| a | b | c |\n|---|---|---|\n| 1 | 2 | 3 |\n")
    write_manifest(tmp_path, "report", {})
    report.show(tmp_path)
    out = capsys.readouterr().out
    assert "## Table 1" in out and "## Table 2" in out and "| 1 | 2 | 3 |" in out
    assert json.loads((tmp_path / "manifest.json").read_text())["kind"] == "report"


def test_each_scored_cell_leads_to_its_per_frame_file_its_model_and_its_code(tmp_path):
    folder = tmp_path / "r" / "sample" / "ft" / "8" / "metrics"
    facts = {"label": "Ours-FT", "seed": 3, "model": "ab" * 32, "code": "cd" * 32}
    write(folder, "score", facts, [("metrics.json", {}), ("per_frame.parquet", {"stands": "in"})])
    results = Results(tmp_path / "d", tmp_path / "m", tmp_path / "r", ["sample"], ["ff", "ft"], [1, 8])
    sha = fileio.sha256(folder / "per_frame.parquet")[:12]
    assert provenance.table(results).rows == [
        ["sample", "Ours-FT", "8", "sample/ft/8/metrics/per_frame.parquet", sha, "3", "ab" * 6, "cd" * 6]]


def test_dvc_plots_shows_columns_that_the_report_writes_with_a_template_that_is_there():
    from ruamel.yaml import YAML

    root = Path(__file__).parents[3]
    asked, params = (YAML(typ="safe").load((root / name).read_text()) for name in ("dvc.yaml", "params.yaml"))
    plotted = [plot for entry in asked["plots"] for plot in entry.values()]
    assert {plot["y"]["report/tradeoff.csv"] for plot in plotted} <= set(params["score"]["metrics"])
    assert {plot["x"]["report/tradeoff.csv"] for plot in plotted} == {"seconds"}
    assert all((root / ".dvc" / "plots" / f"{plot['template']}.json").is_file() for plot in plotted)


def test_a_second_data_set_stands_beside_the_first_and_one_without_results_says_so(results, tmp_path):
    import shutil

    shutil.copytree(results.results / "sample", results.results / "folder")
    more = Results(results.data, results.models, results.results, ["sample", "folder", "large"], results.methods, results.shots)
    found = Page(build(more, tmp_path / "report"))
    assert found.open == [] and len(found.names) == len(set(found.names))
    assert {"person-sample-p1", "person-folder-p1"} <= set(found.names)
    assert "large : nothing is measured yet." in " ".join(" ".join(found.text).split())
