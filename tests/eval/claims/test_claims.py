import csv
import json
import shutil
from dataclasses import replace

import made_results
import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML

from eval.claims import claims
from eval.claims import verdicts as verdict_rules
from eval.report import claims_table, table3_differences, write_tables
from eval.statistics import ranking
from eval.statistics.comparison import Compared
from pipeline.core.errors import InputError
from pipeline.core.manifest import write_manifest

STEP = {"copy": 0.0, "ff": 0.1, "ft": 0.2, "x2face": 0.3}


def better_by_method(column, method, t):
    """SSIM 0.5 + step, the same at every T; FD the further off the larger the step."""
    return {"ssim": 0.4, "l1": 0.3, "fd_efflite0": 0.2}[column] + STEP[method]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("made")
    return root, made_results.results(root, better_by_method, seconds={"ff": 0.01, "ft": 2.0})


@pytest.fixture
def results(made, tmp_path):
    """A copy to change."""
    shutil.copytree(made[0] / "results", tmp_path / "results")
    return replace(made[1], results=tmp_path / "results")


def stated(tmp_path, *parts, metrics=None, **changes):
    """A data file with one claim."""
    claim = {"id": "c", "says": "s", "source": "t", "block": "none", "parts": list(parts), **changes}
    body = {"metrics": metrics or {"ssim": ["ssim"], "fid": ["fid", "fd_efflite0"], "user": [], "csim": ["csim_dlib128"]},
            "claims": [claim]}
    (tmp_path / "claims.yaml").write_text(json.dumps(body))
    return claims.load(tmp_path / "claims.yaml")


def verdict(results, tmp_path, *parts):
    return verdict_rules.judge(stated(tmp_path, *parts), Compared(results, "sample", None))[0]


def times(slow, fast, at_least, shots):
    return {"kind": "times", "metric": "few_shot_seconds", "slow": slow, "fast": fast, "at_least": at_least, "shots": shots}


def less(left, right, metric="ssim"):
    return {"kind": "less", "metric": metric, "left": left, "right": right}


def test_all_four_verdicts_come_from_the_results(results, tmp_path):
    assert verdict(results, tmp_path, less({"ff": 8}, {"ft": 8})).verdict == "supported"
    assert verdict(results, tmp_path, less({"ft": 8}, {"ff": 8})).verdict == "contradicted"
    assert verdict(results, tmp_path, less({"ft": 1}, {"ft": 8})).verdict == "undecided"  # the same quality at both
    assert verdict(results, tmp_path, less({"x2face": 1}, {"ft": 1})).verdict == "not measured"
    assert verdict(results, tmp_path, less({"ff": 1}, {"ft": 1}, "user")).verdict == "not measured"
    assert verdict(results, tmp_path, less({"ff": 1}, {"ft": 1}, "csim")).verdict == "not measured"


def test_a_verdict_has_its_difference_interval_p_and_people(results, tmp_path):
    finding = verdict(results, tmp_path, less({"ff": 8}, {"ft": 8})).findings[0]
    d = finding.difference
    assert d.value == pytest.approx(-0.1, abs=0.01) and d.low < d.value < d.high < 0
    assert (d.n_people, d.n_frames, d.p) == (8, 32, 2 / 2**8) and finding.column == "ssim"


@pytest.mark.parametrize("verdicts, whole", [
    (["supported", "supported"], "supported"), (["supported", "contradicted", "not measured"], "contradicted"),
    (["supported", "undecided"], "undecided"), (["supported", "not measured"], "undecided"),
    (["not measured", "not measured"], "not measured"), (["undecided"], "undecided")])
def test_a_whole_is_supported_by_all_its_parts_and_contradicted_by_one(verdicts, whole):
    assert verdict_rules.together(verdicts) == whole


@pytest.mark.parametrize("part, due", [
    ({"kind": "highest", "metric": "ssim", "method": "ft", "among": ["ff", "copy"], "shots": [1, 8, 32]}, "supported"),
    ({"kind": "highest", "metric": "ssim", "method": "ff", "among": ["ft", "copy"], "shots": [1]}, "contradicted"),
    ({"kind": "lowest", "metric": "ssim", "method": "copy", "among": ["ft", "ff"], "shots": [1]}, "supported"),
    ({"kind": "lowest", "metric": "fid", "method": "copy", "among": ["ff", "ft"], "shots": [8]}, "supported"),
    ({"kind": "greater", "metric": "fid", "left": {"ft": 1}, "right": {"ff": 32}}, "supported"),
    ({"kind": "at_most", "metric": "ssim", "cell": {"ff": 1}, "number": 0.7}, "supported"),
    ({"kind": "at_most", "metric": "ssim", "cell": {"ff": 1}, "number": 0.3}, "contradicted"),
    ({"kind": "at_most", "metric": "ssim", "cell": {"ff": 1}, "number": 0.5}, "undecided"),
    (times("ft", "ff", 200.0, [1, 32]), "supported"), (times("ft", "ff", 201.0, [1]), "contradicted"),
    (times("ft", "copy", 2.0, [1]), "not measured"),
    ({"kind": "lowest", "metric": "frame_seconds", "method": "ff", "among": ["ft"], "shots": [1]}, "undecided")])
def test_each_kind_of_part_compares_what_it_says(made, tmp_path, part, due):
    assert verdict(made[1], tmp_path, part).verdict == due


def test_rising_and_falling_go_from_each_T_to_the_next(tmp_path):
    found = made_results.results(tmp_path, lambda column, method, t: 0.5 + (0.1 if t == 8 else 0.2 if t == 32 else 0),
                                 methods=["ft"], columns=["ssim"], each=2)
    part = {"kind": "rises", "metric": "ssim", "methods": ["ft"], "shots": [32, 1, 8]}
    assert verdict(found, tmp_path, part).verdict == "supported" and len(verdict(found, tmp_path, part).findings) == 2
    assert verdict(found, tmp_path, {**part, "kind": "falls"}).verdict == "contradicted"


def rewrite(folder, change):
    """Edits the stored per-frame table of a cell, as one who writes the manifest anew would."""
    table = pd.read_parquet(folder / "per_frame.parquet")
    change(table)
    table.to_parquet(folder / "per_frame.parquet", index=False)
    manifest = json.loads((folder / "manifest.json").read_text())
    write_manifest(folder, "score", {k: v for k, v in manifest.items() if k not in ("schema", "kind", "files")})


def test_editing_a_per_frame_file_flips_the_verdict(results, tmp_path):
    part = less({"ff": 8}, {"ft": 8})
    assert verdict(results, tmp_path, part).verdict == "supported"
    rewrite(results.folder("sample", "ft", 8), lambda table: table.update(table["ssim"] - 0.2))
    assert verdict(results, tmp_path, part).verdict == "contradicted"


def test_editing_the_times_flips_the_verdict(results, tmp_path):
    part = times("ft", "ff", 100.0, [8])
    assert verdict(results, tmp_path, part).verdict == "supported"
    made_results.timing(results.results / "sample" / "ft" / "timing", 0.5, [1, 8, 32])
    assert verdict(results, tmp_path, part).verdict == "contradicted"
    made_results.timing(results.results / "sample" / "ft" / "timing", 2.0, [1, 8, 32], device="GPU")
    assert verdict(results, tmp_path, part).verdict == "not measured"  # another device


@pytest.mark.parametrize("part, said", [
    (less({"ff": 1}, {"ft": 1}, "fit"), "'fit'.*'fid'"),
    (less({"xface": 1}, {"ft": 1}), "'xface'.*'x2face'"),
    ({**less({"ff": 1}, {"ft": 1}), "kind": "lesser"}, "'lesser'.*'less'"),
    ({**less({"ff": 1}, {"ft": 1}), "shots": [1]}, "shots"),
    (less({"ff": "one"}, {"ft": 1}), "'one'"),
    (less({}, {"ft": 1}), "claim 'c'"),
    ({"kind": "highest", "metric": "ssim", "method": "ft", "among": ["ft"], "shots": [1]}, "claim 'c'"),
    ({"kind": "rises", "metric": "ssim", "methods": ["ft"], "shots": [8]}, "claim 'c'")])
def test_a_mistake_in_the_data_file_is_refused_in_one_sentence_that_names_the_claim(tmp_path, part, said):
    with pytest.raises(InputError, match=said) as refused:
        stated(tmp_path, part)
    assert "claim 'c', part 1" in str(refused.value) and "\n" not in str(refused.value)


def test_a_column_that_no_metric_offers_and_a_claim_without_parts_are_refused(tmp_path):
    with pytest.raises(InputError, match="ssmi"):
        stated(tmp_path, less({"ff": 1}, {"ft": 1}), metrics={"ssim": ["ssmi"]})
    with pytest.raises(InputError, match="claim 'c'"):
        stated(tmp_path)


def test_the_data_file_says_what_the_papers_own_tables_show():
    checked = 0
    for claim, parts in claims.load().claims:
        for part, atoms in parts:
            for atom in atoms:
                small, large = (claims_table.paper_value(claim.block, part.metric, place) for place in (atom.small, atom.large))
                if claim.block == "none":
                    continue
                assert small and (large or atom.number), f"{claim.id}: the paper has no number for {atom}"
                assert float(small) * atom.times < float(large or atom.number), f"{claim.id}: {atom}"
                checked += 1
    assert checked > 90


def test_no_number_of_ours_stands_in_the_data_file():
    body = YAML(typ="safe").load(claims.FILE.read_text())
    assert {key for claim in body["claims"] for key in claim} == {"id", "says", "source", "block", "parts"}


def test_the_tables_of_claims_name_stand_ins_and_show_the_papers_numbers_beside(made):
    tables = write_tables.tables_of(made[1], None)
    rows = list(csv.DictReader(tables["claims"].csv().splitlines()))
    found = {(row["claim"], row["part"]): row for row in rows}
    row = found["ft-fid-below-ff-32", "1"]
    assert [row[key] for key in ("claim_verdict", "column", "paper_small", "paper_large")] == [
        "contradicted", "fd_efflite0", "30.6", "40.4"]
    assert float(row["low"]) > 0 and row["people"] == "8" and row["p"] == ""  # too many people for swaps of sets
    assert found["ff-learns-100-times-faster", "1"]["verdict"] == "supported"
    assert {row["claim_verdict"] for row in rows if row["claim"] == "ours-lowest-user"} == {"not measured"}
    text = tables["claims"].markdown()
    assert all(due in text for due in ("fd_efflite0", "30.6", "40.4", "200", "100"))


def test_table_3_has_ft_minus_every_other_method_and_a_dash_for_what_cannot_be_compared(results):
    found = {(row[1], row[2]): row for row in write_tables.tables_of(results, None)["table3"].rows}
    assert set(found) == {(label, t) for label in ("FF", "COPY") for t in ("1", "8", "32")}
    value, low, high = (float(x.strip("[],")) for x in found["FF", "8"][3].split()[:3])
    assert 0.08 < low < value < high < 0.12 and found["FF", "8"][-1] == "8"
    shutil.rmtree(results.folder("sample", "ff", 8))
    stored = made_results.frames("copy", 8, better_by_method, ["ssim", "fd_efflite0"], 8, 4)
    made_results.cell(results.folder("sample", "copy", 8), stored, method="copy", t=8, order=["ssim", "fd_efflite0"], size=128)
    rows = {(row[1], row[2]): row for row in write_tables.tables_of(results, None)["table3"].rows}
    assert rows["FF", "8"][3:] == ["–"] * 3
    assert rows["COPY", "8"][3:] == ["–"] * 3  # 128 px against 64


def test_cells_of_other_frames_are_refused_not_paired(results):
    stored = made_results.frames("ff", 8, better_by_method, ["ssim"], 7, 4)
    made_results.cell(results.folder("sample", "ff", 8), stored, method="ff", t=8, order=["ssim"])
    with pytest.raises(InputError, match=r"results/sample/f[ft]/8"):
        Compared(results, "sample", None).difference("ssim", ("ft", 8), ("ff", 8))


def test_the_difference_text_has_as_many_digits_in_all_three_numbers():
    from eval.statistics.intervals import Difference

    assert table3_differences.text(Difference(0.0004, -0.021, 0.02, 0.03125, 6, 9)) == "0.0004 [-0.0210, 0.0200] p 0.0312"
    assert table3_differences.text(Difference(-12.3, np.nan, np.nan, np.nan, 1, 9)) == "-12.3"
    assert table3_differences.text("not there") == "–"


def test_the_order_of_methods_far_apart_is_the_same_in_every_resample_and_of_equal_ones_is_not(tmp_path):
    found = ranking.stability(Compared(made_results.results(tmp_path / "far", better_by_method, shots=[8]), "sample", None))
    assert [(s.column, s.order, s.same, s.share) for s in found] == [
        ("ssim", ["ft", "ff", "copy"], True, 1.0), ("fd_efflite0", ["copy", "ff", "ft"], True, 1.0)]
    equal = made_results.results(tmp_path / "equal", lambda column, method, t: 0.5, shots=[8], columns=["ssim"])
    assert 0 < ranking.stability(Compared(equal, "sample", None))[0].share < 0.9


def test_a_variant_of_a_metric_is_held_against_the_order_of_its_familys_first_column(tmp_path, monkeypatch):
    monkeypatch.setattr("eval.metrics.csim.COLUMNS", ("csim_dlib128", "csim_facenet"))
    monkeypatch.setitem(made_results.LABELS, "csim_facenet", ("CSIM (FaceNet)", "higher"))
    turned = {"csim_dlib128": STEP, "csim_facenet": {"copy": 0.2, "ff": 0.1, "ft": 0.0}}
    found = made_results.results(tmp_path, lambda column, method, t: 0.5 + turned[column][method], shots=[8],
                                 columns=["csim_dlib128", "csim_facenet"])
    rows = ranking.stability(Compared(found, "sample", None))
    assert [(s.table, s.column, s.same, s.share) for s in rows] == [
        ("csim_dlib128", "csim_dlib128", True, 1.0), ("csim_dlib128", "csim_facenet", False, 0.0)]


def test_results_without_per_frame_files_leave_every_claim_not_measured_or_timed(results):
    for folder in results.results.rglob("metrics"):
        manifest = json.loads((folder / "manifest.json").read_text())
        for name in ("per_frame.parquet", "features.safetensors"):
            (folder / name).unlink()
        write_manifest(folder, "score", {k: v for k, v in manifest.items() if k not in ("schema", "kind", "files")})
    judged = verdict_rules.judge(claims.load(), Compared(results, "sample", None))
    assert {j.verdict for j in judged if j.claim.block != "seconds"} == {"not measured"}
    assert all(f.why for j in judged if j.claim.block != "seconds" for f in j.findings)
