"""Real frames in the place of generated ones: known scores, a table's rows, derived and verified as any cell."""

import json
import re
import shutil
from pathlib import Path

import made_params
import made_world
import numpy as np
import pandas as pd
import pytest

from eval.report import figures, html_page
from eval.report import table1_quality as printed
from eval.report.table4_cross_reenactment import calibration_notes
from eval.scoring import csim_calibration
from eval.scoring.results import Results
from pipeline.core.errors import InputError
from stages import floors, tables, use, verify


@pytest.fixture
def root(tmp_path, monkeypatch):
    made_world.bench(tmp_path, monkeypatch)
    return tmp_path


def summary(folder):
    return json.loads((folder / "metrics" / "metrics.json").read_text())


def test_real_frames_of_the_same_person_have_their_identity_and_anothers_have_the_next_ones(root, monkeypatch):
    made = made_world.floors_of(root, monkeypatch)
    same, other = summary(made / "same"), summary(made / "other")
    assert same["csim_dlib128"]["value"] == 1 and same["iderr_dlib128"]["value"] == pytest.approx(0, abs=1e-6)
    # 60° between neighbours, 120° from the last to the first.
    assert other["csim_dlib128"]["value"] == pytest.approx((0.5 + 0.5 - 0.5) / 3, abs=1e-6)
    assert other["iderr_dlib128"]["value"] == pytest.approx(1 - 0.5 / 3, abs=1e-6)
    # Neighbours in the list are 7 tenths of a pixel apart.
    assert same["nme_interocular_dlib68"]["value"] == pytest.approx(0.7 / made_world.EYES, rel=1e-4)
    assert (same["l1"]["n_frames"], other["l1"]["n_frames"]) == (9, 18)


def test_each_frame_of_the_same_person_is_used_once_and_the_halves_are_those_of_a_methods_floor(root, monkeypatch):
    made = made_world.floors_of(root, monkeypatch)
    cell = made_world.scored(root, monkeypatch, "copy", lambda own, driver: made_world.truth(own))
    assert pd.read_parquet(made / "same/metrics/per_frame.parquet")["row"].tolist() == [0, 2, 4, 10, 12, 14, 20, 22, 24]
    assert summary(made / "same")["fd_efflite0"]["value"] == summary(cell)["fd_efflite0"]["floor"] > 0


def test_a_distance_between_sets_has_no_other_person_and_the_reason_is_kept(root, monkeypatch):
    made = made_world.floors_of(root, monkeypatch)
    assert "fd_efflite0" not in summary(made / "other")
    manifest = json.loads((made / "other/metrics/manifest.json").read_text())
    assert manifest["not_measured"] .keys() == {"fd_efflite0"}
    assert "fd_efflite0" not in manifest["order"]


def test_the_frames_are_at_the_largest_size_that_a_method_draws_at(root, monkeypatch):
    made = made_world.floors_of(root, monkeypatch)
    assert json.loads((made / "same/metrics/manifest.json").read_text())["size"] == made_world.SIZE


def test_floors_are_verified_from_the_data_and_derived_byte_for_byte(root, monkeypatch, tmp_path):
    made = made_world.floors_of(root, monkeypatch)
    before = {path: path.read_bytes() for path in made.rglob("*.*")}
    wrong, said = verify.verify(root / "results" / "sample", None, 0)
    assert wrong == [] and re.findall(r"\d+", said) == ["2", "45", "15"]  # cells, frames, frames scored again
    for which in ("same", "other"):
        folder = made / which / "metrics"
        assert tables.derive(folder, tmp_path / "c") == []
        for name in ("metrics.json", "cross.json"):
            (folder / name).write_text("{}")
        assert len(tables.derive(folder, tmp_path / "c")) == 2
    assert {path: path.read_bytes() for path in made.rglob("*.*")} == before


@pytest.mark.parametrize("which, label", [("same", "real, same person"), ("other", "real, another person")])
def test_a_tampered_floor_is_found_from_the_data_and_named(root, monkeypatch, tmp_path, which, label):
    folder = made_world.floors_of(root, monkeypatch) / which / "metrics"
    table = pd.read_parquet(folder / "per_frame.parquet")
    table["csim_dlib128"] -= 0.1
    table.to_parquet(folder / "per_frame.parquet", index=False)
    made_world.resigned(folder)
    tables.derive(folder, tmp_path / "c")
    wrong, _ = verify.verify(root / "results" / "sample", None, 0)
    assert len(wrong) == 1 and f"per_frame.parquet: {label}: csim_dlib128 of p" in wrong[0]


def test_of_two_people_the_one_pair_counts_once_and_has_no_interval(tmp_path, monkeypatch):
    made_world.bench(tmp_path, monkeypatch, people=2)
    other = summary(made_world.floors_of(tmp_path, monkeypatch) / "other")["csim_dlib128"]
    assert (other["n_people"], other["n_frames"], other["low"]) == (1, 6, None) and other["value"] == 0.5


def test_of_one_person_there_is_no_other_and_no_driver_dashes_not_numbers(tmp_path, monkeypatch):
    made_world.bench(tmp_path, monkeypatch, people=1)
    made = made_world.floors_of(tmp_path, monkeypatch)
    assert summary(made / "other")["csim_dlib128"]["value"] is None
    assert json.loads((made / "same/metrics/cross.json").read_text())["iderr_dlib128"]["value"] is None
    assert verify.verify(tmp_path / "results" / "sample", None, 0)[0] == []
    row = printed.quality(results(tmp_path)).rows[1]
    assert row[1] == "real, another person" and set(row[2:]) == {"–"}


def results(root):
    return Results(root / "data", root / "models", root / "results", ["sample"], ["copy"], [8])


def test_one_hold_out_frame_is_refused_with_the_way_out(root, monkeypatch):
    monkeypatch.setattr(made_world, "FRAMES", 1)
    with pytest.raises(InputError, match=r"split\.holdout: p1 .*\b2\b"):
        made_world.floors_of(root, monkeypatch)


def test_no_method_may_be_called_what_the_folder_of_the_floors_is_called(root):
    path = made_params.write(root, {"methods": ["floors"]})
    with pytest.raises(InputError, match="floors"):
        use.check(path)


def test_the_calibration_stands_under_table_1_and_is_left_out_without_floors(root, monkeypatch):
    made = made_world.floors_of(root, monkeypatch)
    (note,) = calibration_notes(results(root))
    assert note.startswith("csim_dlib128 ")
    numbers = re.findall(r"-?\d+\.?\d*", note)[1:]
    assert numbers == ["1.00", "1.00", "1.00", "0.167", "-1.000", "1.000", "1.00", "9", "18", "3", "0"]
    shutil.rmtree(made / "other")
    assert calibration_notes(results(root)) == []


def test_frames_without_landmarks_are_counted_in_the_calibration(root, monkeypatch):
    true = made_world.Faces.points
    monkeypatch.setattr(made_world.Faces, "points", lambda self, rows: np.where(
        np.array([int(row) == 2 for row in rows])[:, None, None], np.nan, true(self, rows)).astype(np.float32))
    made_world.floors_of(root, monkeypatch)
    numbers = re.findall(r"\d+", calibration_notes(results(root))[0])
    assert numbers[-4:] == ["8", "17", "3", "2"]  # pairs of one and of two people, people, not scored


def test_auc_of_known_sets():
    assert csim_calibration.auc(np.array([2.0, 3]), np.array([0.0, 1])) == 1
    assert csim_calibration.auc(np.array([0.0, 1]), np.array([2.0, 3])) == 0
    assert csim_calibration.auc(np.array([1.0, 1]), np.array([1.0])) == 0.5
    assert np.isnan(csim_calibration.auc(np.array([]), np.array([1.0])))
    a, b = np.random.default_rng(0).integers(0, 6, (2, 40)).astype(float)
    due = np.mean([(x > y) + (x == y) / 2 for x in a for y in b])
    assert csim_calibration.auc(a, b) == pytest.approx(due, abs=1e-12)


def test_the_stage_takes_the_largest_size_of_the_methods_named():
    params = Path("params.yaml")
    sizes = [floors.pixels(use.config.load(params).methods, use.config.dataset(params, name)) for name in ("sample", "ci")]
    assert sizes == [64, 32]


def test_the_page_has_the_calibration_with_network_and_aligning_detector_by_name_and_hash(root, monkeypatch):
    made_world.floors_of(root, monkeypatch)
    made_world.scored(root, monkeypatch, "copy", lambda own, driver: made_world.truth(own))
    (root / "report").mkdir()
    html_page.write(root / "report", results(root), {"table1": printed.quality(results(root))}, figures.NOTHING, {})
    text = " ".join((root / "report" / "index.html").read_text(encoding="utf-8").split())
    for due in ("1.00 [1.00, 1.00]", "0.167", "AUC 1.00", "net.dat <code>cdcdcdcdcdcd</code>", "dlib68",
                "dlib68.dat <code>abababababab</code>"):
        assert due in text, due
