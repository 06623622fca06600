"""Driven by another person: who drives, known errors, what is derived and what `verify` finds."""

import csv
import json
import re
from types import SimpleNamespace

import made_world
import pandas as pd
import pytest
from made_world import EYES, shift, truth

from eval.report import table4_cross_reenactment
from eval.scoring.results import Results
from pipeline import driving_pairs
from pipeline.core import fileio
from pipeline.core.errors import InputError
from pipeline.core.manifest import write_manifest
from stages import tables, verify


@pytest.fixture
def root(tmp_path, monkeypatch):
    made_world.bench(tmp_path, monkeypatch)
    return tmp_path


def people(*counts):
    return [SimpleNamespace(person=f"p{j}", holdout=[100 * j + k for k in range(n)]) for j, n in enumerate(counts)]


def test_the_next_people_drive_by_evenly_spaced_frames_and_nobody_drives_themselves():
    config = driving_pairs.Config(drivers=2, frames=3)
    assert driving_pairs.drivers(people(6, 6, 6, 6), 2, config) == [("p3", 300), ("p3", 302), ("p3", 304),
                                                           ("p0", 0), ("p0", 2), ("p0", 4)]
    assert [driver for driver, _ in driving_pairs.drivers(people(6, 6), 1, config)] == ["p0"] * 3  # of few people fewer drive
    assert driving_pairs.drivers(people(6), 0, config) == []
    assert driving_pairs.drivers(people(6, 2), 0, config) == [("p1", 100), ("p1", 101)]  # no frame twice
    assert driving_pairs.drivers(people(6, 6), 0, driving_pairs.Config(drivers=0, frames=3)) == []


def of(cell):
    return {name: found["value"] for name, found in json.loads((cell / "metrics" / "cross.json").read_text()).items()}


def copies_driver(own, driver):
    return truth(driver)


def stays(own, driver):
    return truth(own)


def puppet(own, driver):
    """The person's looks, the driver's landmarks."""
    return made_world.pixels(truth(own)[0, 0, 0], shift(driver))


def test_who_copies_the_driver_follows_perfectly_as_somebody_else_and_who_ignores_it_the_reverse(root, monkeypatch):
    names = {"copies": copies_driver, "stays": stays, "puppet": puppet}
    found = {name: of(made_world.scored(root, monkeypatch, name, drawn)) for name, drawn in names.items()}
    other = 1 - (0.5 + 0.5 - 0.5) / 3  # 60° to the next person, 120° from the last to the first
    # Each own first frame beside the driver's frames 0, 2, 4: so many tenths of a pixel apart.
    away = sum(abs(shift(10 * j) - shift(10 * ((j + 1) % 3) + k)) for j in range(3) for k in (0, 2, 4)) / 90 / EYES
    assert found["copies"] == pytest.approx({"iderr_dlib128": other, "nme_interocular_dlib68": 0}, abs=2e-6)
    assert found["stays"] == pytest.approx({"iderr_dlib128": 0, "nme_interocular_dlib68": away}, abs=2e-6)
    assert found["puppet"] == pytest.approx({"iderr_dlib128": 0, "nme_interocular_dlib68": 0}, abs=2e-6)
    floors = made_world.floors_of(root, monkeypatch)
    assert of(floors / "other") == found["copies"]
    same = of(floors / "same")
    assert same["iderr_dlib128"] == pytest.approx(0, abs=2e-6) and same["nme_interocular_dlib68"] > away / 2


def test_self_reenactment_does_not_change_with_what_others_drive(root, monkeypatch):
    cells = [made_world.scored(root, monkeypatch, name, drawn) for name, drawn in (("a", stays), ("b", copies_driver))]
    assert len({(cell / "metrics" / "metrics.json").read_bytes() for cell in cells}) == 1


def test_only_metrics_of_identity_and_landmarks_are_stored_with_person_driver_and_the_drivers_row(root, monkeypatch):
    table = pd.read_parquet(made_world.scored(root, monkeypatch, "copy", stays) / "metrics" / "cross_per_frame.parquet")
    assert list(table) == ["person", "driver", "row", "iderr_dlib128", "nme_interocular_dlib68"]
    assert table[["person", "driver", "row"]].to_numpy().tolist() == [
        ["p1", "p2", 10], ["p1", "p2", 12], ["p1", "p2", 14], ["p2", "p3", 20], ["p2", "p3", 22], ["p2", "p3", 24],
        ["p3", "p1", 0], ["p3", "p1", 2], ["p3", "p1", 4]]


def checked(root):
    return verify.verify(root / "results" / "sample", None, 0)


def edit_summary(folder):
    said = json.loads((folder / "cross.json").read_text())
    said["iderr_dlib128"]["value"] = 0.1
    fileio.write_json(folder / "cross.json", said)


def edit_value(folder):
    table = pd.read_parquet(folder / "cross_per_frame.parquet")
    table["nme_interocular_dlib68"] += 0.05
    table.to_parquet(folder / "cross_per_frame.parquet", index=False)


def edit_driver(folder):
    table = pd.read_parquet(folder / "cross_per_frame.parquet")
    table["driver"] = table["driver"].to_numpy()[::-1]
    table.to_parquet(folder / "cross_per_frame.parquet", index=False)


def test_an_untouched_cell_matches_frames_driven_by_others_included(root, monkeypatch):
    made_world.scored(root, monkeypatch, "copy", copies_driver)
    wrong, said = checked(root)
    assert wrong == [] and re.findall(r"\d+", said) == ["1", "27", "9"]  # cells, frames, frames scored again


@pytest.mark.parametrize("edit, said", [
    (edit_summary, "cross.json: copy T=8: iderr_dlib128.value"),
    (edit_value, "cross_per_frame.parquet: copy T=8: nme_interocular_dlib68 of p"),
    (edit_driver, "cross_per_frame.parquet: copy T=8: ")])
def test_a_tampered_value_is_found_even_when_its_hash_and_all_that_follows_fit(root, monkeypatch, tmp_path, edit, said):
    folder = made_world.scored(root, monkeypatch, "copy", copies_driver) / "metrics"
    edit(folder)
    assert any(said.split(":")[0] in line for line in checked(root)[0])  # by its hash
    made_world.resigned(folder)
    if edit is not edit_summary:
        tables.derive(folder, tmp_path / "c")
    wrong, _ = checked(root)
    assert len(wrong) == 1 and said in wrong[0]


def test_a_spoilt_entry_of_the_manifest_is_a_mismatch_and_never_a_traceback(root, monkeypatch):
    folder = made_world.scored(root, monkeypatch, "copy", copies_driver) / "metrics"
    manifest = json.loads((folder / "manifest.json").read_text())
    for spoilt in (3, {}, {**manifest["cross"], "order": ["nonsense"]}, {**manifest["cross"], "drivers": "x"}):
        (folder / "manifest.json").write_text(json.dumps({**manifest, "cross": spoilt}))
        wrong, _ = checked(root)
        assert wrong and all("\n" not in line for line in wrong)


def test_an_edited_summary_is_written_anew_from_the_per_frame_values(root, monkeypatch, tmp_path):
    folder = made_world.scored(root, monkeypatch, "copy", copies_driver) / "metrics"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    edit_summary(folder)
    (said,) = tables.derive(folder, tmp_path / "c")
    assert str(folder / "cross.json") in said
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_missing_frame_is_refused(root, monkeypatch):
    cell = made_world.scored(root, monkeypatch, "copy", stays)
    index = pd.read_parquet(cell / "images" / "cross.parquet")
    index[:-1].to_parquet(cell / "images" / "cross.parquet", index=False)
    made_world.resigned(cell / "images")
    words = ("--method", "copy", "--shots", 8, "--images", cell / "images", "--out", cell / "metrics")
    with pytest.raises(InputError, match=r"\b1 of 9\b.*\b0\b.*p3, row 4"):
        made_world.call(root, made_world.score, monkeypatch, *words)


def test_table_4_has_the_floors_first_the_drivers_and_dashes_where_nothing_was_driven(root, monkeypatch):
    made_world.floors_of(root, monkeypatch)
    cell = made_world.scored(root, monkeypatch, "copy", copies_driver)
    results = Results(root / "data", root / "models", root / "results", ["sample"], ["copy"], [1, 8])
    table = table4_cross_reenactment.table(results)
    rows = [dict(zip(table.head, row)) for row in table.rows]
    assert [(row["method"], row["T"]) for row in rows] == [("real, same person", "–"), ("real, another person", "–"),
                                                          ("COPY", "1"), ("COPY", "8")]
    assert rows[3]["identity error (dlib) ↓"] == rows[1]["identity error (dlib) ↓"] and rows[3]["people"] == "3"
    assert rows[3]["drivers × frames"] == "1 × 3" and set(table.rows[2][3:]) == {"–"}
    assert any(all(pair in note for pair in ("p1 by p2", "p2 by p3", "p3 by p1")) for note in table.notes)
    lines = list(csv.DictReader(table.csv().splitlines()))
    assert float(lines[3]["iderr_dlib128"]) == of(cell)["iderr_dlib128"] and lines[2]["iderr_dlib128"] == ""
    manifest = json.loads((cell / "metrics" / "manifest.json").read_text())
    write_manifest(cell / "metrics", "score", {k: v for k, v in manifest.items() if k not in ("cross", "schema", "kind")})
    assert set(table4_cross_reenactment.table(results).rows[3][3:]) == {"–"}  # scored before others drove
