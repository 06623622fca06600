"""The tables of the report: each number in its cell with its interval, dashes, notes, CSV."""

import csv
import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from made_report import PEOPLE, floor, rows_of, write

from eval.claims import paper
from eval.report import (
    data_ledger,
    html_table,
    markdown_table,
    provenance,
    table1_quality,
    table2_seconds,
    tradeoff,
    write_tables,
)
from eval.scoring.results import Results
from pipeline.core import fileio
from pipeline.core.errors import InputError
from pipeline.core.manifest import write_manifest


def test_numbers_land_in_their_cells_with_their_interval(results):
    found = rows_of(table1_quality.quality(results))
    assert found["Mean", "1"]["SSIM ↑"] == "0.512 [0.462, 0.562]"
    assert found["Ours-FT", "8"]["FD (EfficientNet-Lite0) ↓"] == "12.3 [10.3, 14.3]"
    assert found["Ours-FT", "8"]["people × frames"] == "2 × 4"


def test_what_was_not_measured_is_a_dash_never_a_number(results):
    found = rows_of(table1_quality.quality(results))
    assert found["Ours-FT", "1"]["SSIM ↑"] == found["Ours-FT", "1"]["people × frames"] == "–"
    assert {row["USER ↓"] for row in found.values()} == {row["FID ↓"] for row in found.values()} == {"–"}
    assert any("fid" in note and "inception.pth" in note for note in table1_quality.quality(results).notes)


def test_further_metrics_stand_in_a_table_of_their_own_with_the_rows_of_table_1(results):
    first, more = table1_quality.quality(results), table1_quality.further(results)
    assert not any("NME" in name for name in first.head) and "nme_x" not in first.csv()
    assert more.head == ["data set", "method", "T", "NME (x) ↓", "people × frames"]
    assert [row[:3] for row in more.rows] == [row[:3] for row in first.rows]
    assert rows_of(more)["Ours-FT", "8"]["NME (x) ↓"] == "0.0123 [0.0023, 0.0223]" and rows_of(more)["Ours-FT", "1"][
        "NME (x) ↓"] == "–"
    assert any("nme_x" in note and re.findall(r"\b\d+\b", note) == ["9"] for note in more.notes)
    assert "nme_x" not in first.markdown()
    assert [line["nme_x_failed"] for line in csv.DictReader(more.csv().splitlines())] == ["3", "3", "", "3"]


def test_what_was_not_measured_is_said_under_the_table_that_would_have_it(results):
    for table, due, other in ((table1_quality.quality, "fid", "kid"), (table1_quality.further, "kid", "fid")):
        about = [note for note in table(results).notes if "inception.pth" in note]
        assert len(about) == 1 and due in about[0] and other not in about[0]


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
    note = next(note for note in table2_seconds.seconds(results).notes if "pix2pixHD : X2Face" in note)
    assert re.findall(r"\d\.\d\d\b", note)[-2:] == ["8.00", "9.00"]  # multiply-accumulates, seconds


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
    assert made.rows[-1][3] == "11" and re.findall(r"\d+", made.rows[-1][2]) == ["11"] and "ledger.parquet" in made.rows[-1][2]


def test_results_that_are_not_whole_are_refused_not_dashed(results):
    (results.results / "sample" / "ft" / "8" / "metrics" / "metrics.json").write_text("{}")
    with pytest.raises(InputError, match=r"metrics\.json"):
        table1_quality.quality(results)


def test_generated_frames_must_be_exactly_the_hold_out_frames(results):
    from eval.scoring.protocol import Generated

    folder = results.results / "sample" / "ft" / "8" / "images"
    people = [SimpleNamespace(person=p, holdout=[0, 1, 2, 3]) for p in PEOPLE]
    Generated(folder).check(people)
    with pytest.raises(InputError, match="2 of 10"):
        Generated(folder).check([SimpleNamespace(person=p, holdout=[0, 1, 2, 3, 4]) for p in PEOPLE])
    with pytest.raises(InputError, match=r"\b4\b"):
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
