"""The page of the report: well formed, loads nothing, escapes what it shows."""

import base64
import hashlib
import re

from made_report import Page, build

from eval.report import figures, html_page, html_table, markdown_table, table1_quality
from eval.scoring.results import Results


def test_the_page_is_well_formed_loads_nothing_and_names_what_a_reader_must_know(results, tmp_path):
    text = build(results, tmp_path / "report")
    found = Page(text)
    assert found.open == [] and found.loads and all(load.startswith(("data:", "#")) for load in found.loads)
    assert "@import" not in text and "url(" not in text.replace("url(#", "")
    assert len(found.names) == len(set(found.names))
    assert {load for load in found.loads if load[0] == "#"} <= {f"#{name}" for name in found.names}
    said = " ".join(" ".join(found.text).split())
    for due in ("synthetic", "stand-in", "cd" * 32, "ab" * 32, "4.12 %", "3.33 %", "dlib68", "0.890 [0.840, 0.940]", "p1",
                "finder7", "finder.dat efefefefefef", "ef" * 32, "inception.pth", "not measured"):
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


def test_the_page_takes_the_papers_columns_apart_under_its_name(results):
    shown = html_table.view(table1_quality.quality(results))
    assert shown.groups[-2:] == [("the paper on VoxCeleb1", 4), ("the paper on VoxCeleb2", 4)]
    assert [column.name for column in shown.columns[-4:]] == ["FID", "SSIM", "CSIM", "USER"]
    assert shown.title == "Table 1. Quality: sample"
    assert [cell.value for cell in shown.rows[3].cells[-4:]] == [42.2, 0.68, 0.42, 0.39]
    assert {len(row.cells) for row in shown.rows} == {len(shown.columns)} == {sum(span for _, span in shown.groups)}


def test_an_empty_benchmark_still_has_its_tables_and_page(tmp_path):
    nothing = Results(tmp_path / "d", tmp_path / "m", tmp_path / "r", ["sample"], ["ff"], [1])
    assert table1_quality.quality(nothing).rows == [["sample", "ff", "1", *["–"] * 6, "46.1 / 0.61 / 0.42 / 0.43"]]
    text = build(nothing, tmp_path / "report")
    assert Page(text).open == [] and "46.1" in text


def test_a_second_data_set_stands_beside_the_first_and_one_without_results_says_so(results, tmp_path):
    import shutil

    shutil.copytree(results.results / "sample", results.results / "folder")
    more = Results(results.data, results.models, results.results, ["sample", "folder", "large"], results.methods, results.shots)
    found = Page(build(more, tmp_path / "report"))
    assert found.open == [] and len(found.names) == len(set(found.names))
    assert {"person-sample-p1", "person-folder-p1"} <= set(found.names)
    assert re.search(r"\blarge\b", " ".join(found.text))
