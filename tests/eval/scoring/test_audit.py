"""`verify` finds what was tampered with, `make tables` derives the same bytes again."""

import io
import json
import re
import shutil
import sys
from dataclasses import replace
from types import SimpleNamespace

import made_params
import made_results
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from eval.metrics import fd
from eval.scoring import per_frame, protocol
from pipeline.core import fileio, stage
from pipeline.core.errors import InputError
from pipeline.core.manifest import read_manifest, write_manifest
from pipeline.core.shards import ShardWriter
from stages import score, tables, verify

SIZE, PEOPLE = 24, ("p1", "p2", "p3")
ROWS = {person: [10 * j + k for k in range(6)] for j, person in enumerate(PEOPLE)}


def truth(row):
    return np.random.default_rng(row).random((3, SIZE, SIZE)).astype(np.float32)


class Faces:
    def __init__(self, frames, landmarks, split, size):
        self.subjects = [SimpleNamespace(person=p, video="v", sources=[], holdout=rows) for p, rows in ROWS.items()]

    def images(self, rows):
        return np.stack([truth(row) for row in rows])

    def points(self, rows):
        return np.random.default_rng(0).random((len(rows), 68, 2)).astype(np.float32) * SIZE


def draw(folder):
    """The generated frames: the real ones, noisier for each further person."""
    folder.mkdir(parents=True)
    writer, index = ShardWriter(folder), []
    for j, (person, rows) in enumerate(ROWS.items()):
        for row in rows:
            pixels = np.clip(truth(row) + 0.1 * (j + 1) * np.random.default_rng(row + 1).normal(size=(3, SIZE, SIZE)), 0, 1)
            Image.fromarray(np.rint(pixels * 255).astype(np.uint8).transpose(1, 2, 0)).save(png := io.BytesIO(), "PNG")
            index.append({"person": person, "row": row, **writer.add(f"{person}-{row:06d}.png", png.getvalue())})
    writer.close()
    pd.DataFrame(index).to_parquet(folder / "index.parquet", index=False)
    write_manifest(folder, "images", {"label": "Ours-FT"})


@pytest.fixture
def networks(monkeypatch):
    """A stand-in for the image network: pixels. The first pixels of the picture are its features."""
    monkeypatch.setitem(sys.modules, "pipeline.episodes", SimpleNamespace(Faces=Faces))
    monkeypatch.setattr(fd.Frechet, "backbones", {})
    monkeypatch.setattr(fd.Frechet, "missing", lambda self: None)
    monkeypatch.setattr(fd.EffLite0, "forward", lambda self, x: x.reshape(len(x), -1)[:, :20] * 10)
    monkeypatch.setattr(fd.EffLite0, "width", 20)


@pytest.fixture
def scored(networks, tmp_path, monkeypatch):
    """The root of one benchmark with one cell, scored by the stage itself."""
    monkeypatch.setattr(stage, "ROOT", tmp_path)
    monkeypatch.setattr(stage, "die_with_parent", lambda parent: None)
    protocol.opened.cache_clear()
    made_params.write(tmp_path, {"score": {"metrics": ["ssim", "l1", "fd_efflite0"], "resamples": 100, "set_resamples": 50}})
    cell = tmp_path / "results" / "sample" / "ft" / "8"
    draw(cell / "images")
    words = ["score", "--dataset", "sample", "--method", "ft", "--shots", "8", "--images", str(cell / "images"), "--out",
             str(cell / "metrics"), "--params", str(tmp_path / "params.yaml"), "--cache", str(tmp_path / "cache")]
    for part in ("frames", "landmarks", "split"):
        (tmp_path / "data" / "sample" / part).mkdir(parents=True)
        write_manifest(tmp_path / "data" / "sample" / part, part, {})
        words += [f"--{part}", str(tmp_path / "data" / "sample" / part)]
    monkeypatch.setattr(sys, "argv", words)
    score.main()
    protocol.opened.cache_clear()
    yield tmp_path
    protocol.opened.cache_clear()


def checked(root, seed=0):
    protocol.opened.cache_clear()
    return verify.verify(root / "results" / "sample", None, seed)


def resigned(folder):
    """Writes the manifest anew: what somebody does who tampers with care."""
    manifest = json.loads((folder / "manifest.json").read_text())
    write_manifest(folder, manifest["kind"], {k: v for k, v in manifest.items() if k not in ("schema", "kind", "files")})


def test_the_stage_leaves_per_frame_values_features_and_the_hashes_of_what_it_scored(scored):
    folder = scored / "results" / "sample" / "ft" / "8" / "metrics"
    assert sorted(path.name for path in folder.iterdir()) == [
        "features.safetensors", "manifest.json", "metrics.json", "per_frame.parquet"]
    kept, manifest = per_frame.read(folder), read_manifest(folder, "score")
    assert kept.features["fd_efflite0"][0].shape == (18, 20) and kept.lengths() == [6, 6, 6]
    assert manifest["order"] == ["ssim", "l1", "fd_efflite0"]
    assert manifest["inputs"]["images"] == fileio.sha256(folder.parent / "images" / "manifest.json")


def counted(root):
    """Of a folder that matches: cells, frames, frames scored again."""
    wrong, said = checked(root)
    assert wrong == []
    return re.findall(r"\d+", said)


def test_an_untouched_folder_matches_and_says_what_was_looked_at(scored, monkeypatch, capsys):
    assert counted(scored) == ["1", "18", "6"]
    monkeypatch.setattr(sys, "argv", ["verify", str(scored / "results" / "sample")])
    with pytest.raises(SystemExit) as ended:
        verify.main()
    assert ended.value.code == 0 and re.findall(r"\d+", capsys.readouterr().out) == ["1", "18", "6"]


def edit_metrics(folder):
    text = (folder / "metrics.json").read_text()
    said = json.loads(text)
    said["l1"]["value"] = round(said["l1"]["value"] * 0.9, 6)
    fileio.write_json(folder / "metrics.json", said)


def edit_frame(folder):
    table = pd.read_parquet(folder / "per_frame.parquet")
    table.loc[7, "ssim"] += 0.05
    table.to_parquet(folder / "per_frame.parquet", index=False)


def edit_feature(folder):
    kept = per_frame.read(folder)
    kept.features["fd_efflite0"][1][7, 3] += 1.5
    per_frame.write(folder, kept)


def edit_image(folder):
    path = folder.parent / "images" / "00000.tar"
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("edit, said", [(edit_metrics, "metrics.json"), (edit_frame, "per_frame.parquet"),
                                        (edit_feature, "features.safetensors"), (edit_image, "00000.tar")])
def test_a_tampered_number_or_picture_is_found_in_one_line_that_names_its_file(scored, edit, said, monkeypatch, capsys):
    edit(scored / "results" / "sample" / "ft" / "8" / "metrics")
    assert any(said in line for line in checked(scored)[0])
    monkeypatch.setattr(sys, "argv", ["verify", str(scored / "results" / "sample")])
    with pytest.raises(SystemExit) as ended:
        verify.main()
    assert ended.value.code == 1 and said in capsys.readouterr().out


def test_a_number_changed_with_its_hash_is_recomputed_and_named_with_both_values(scored):
    folder = scored / "results" / "sample" / "ft" / "8" / "metrics"
    due = json.loads((folder / "metrics.json").read_text())["l1"]["value"]
    edit_metrics(folder)
    resigned(folder)
    (line,) = checked(scored)[0]
    assert line.startswith(f"{folder / 'metrics.json'}: ft T=8: l1.value")
    assert str(round(due * 0.9, 6)) in line and str(due) in line


@pytest.mark.parametrize("edit, said", [
    (edit_frame, "per_frame.parquet: ft T=8: ssim of p2 row 11"),
    (edit_feature, "features.safetensors: ft T=8: fd_efflite0.fake, number 3, of p2 row 11")])
def test_per_frame_results_changed_with_all_that_follows_from_them_are_found_from_the_images(scored, edit, said, tmp_path):
    folder = scored / "results" / "sample" / "ft" / "8" / "metrics"
    edit(folder)
    resigned(folder)
    tables.derive(folder, tmp_path / "c")
    found = [line for seed in range(6) for line in checked(scored, seed)[0]]
    assert found and all(said in line for line in found)


def test_other_pictures_than_the_scored_ones_are_found_even_when_their_manifest_fits_them(scored):
    images = scored / "results" / "sample" / "ft" / "8" / "images"
    manifest = json.loads((images / "manifest.json").read_text())
    write_manifest(images, "images", {**manifest, "label": "another"})
    assert len(found := checked(scored)[0]) == 1 and "sha256" in found[0]


def test_missing_foreign_and_unreadable_files_are_mismatches_and_never_a_traceback(scored):
    folder = scored / "results" / "sample" / "ft" / "8" / "metrics"
    (folder / "extra.txt").write_text("?")
    (folder / "features.safetensors").unlink()
    found = checked(scored)[0]
    assert all(any(name in line for line in found) for name in ("extra.txt", "features.safetensors"))
    manifest = json.loads((folder / "manifest.json").read_text())
    for spoilt in ({**manifest, "files": {"../../../../secret": {"bytes": 1}}}, {"kind": "score", "files": {}},
                   {**manifest, "resamples": 3}, {**manifest, "inputs": "x", "order": ["nonsense"]}):
        (folder / "manifest.json").write_text(json.dumps(spoilt))
        found = checked(scored)[0]
        assert found and all("\n" not in line for line in found)


def test_a_copy_without_images_is_verified_as_far_as_it_goes_and_a_folder_without_cells_is_refused(scored, tmp_path):
    shutil.rmtree(scored / "results" / "sample" / "ft" / "8" / "images")
    assert counted(scored) == ["1", "18", "0"]
    with pytest.raises(InputError, match=str(tmp_path / "data")):
        verify.verify(tmp_path / "data", None, 0)


def test_a_metric_whose_network_is_not_here_is_named_as_left_out(scored, monkeypatch):
    monkeypatch.setattr(fd.Frechet, "missing", lambda self: "net.pth is not here: fetch it")
    assert "fd_efflite0" in checked(scored)[1]


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    root = tmp_path_factory.mktemp("three")
    return made_results.results(root, lambda column, method, t: 0.4 + len(method) / 20, shots=[1, 8], people=4, each=4)


@pytest.fixture
def results(three, tmp_path):
    shutil.copytree(three.results, tmp_path / "results")
    return replace(three, results=tmp_path / "results")


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*.*"))}


def test_all_tables_are_derived_again_byte_for_byte(results, tmp_path):
    cells, report = contents(results.results), tmp_path / "report"
    said = tables.make(results, report, tmp_path / "c1")
    first = contents(report)
    due = ("table1", "table1b", "table2", "table3", "table4", "claims", "ranking", "provenance", "tradeoff")
    assert {path.name for path in first} == {f"{name}.{end}" for name in due for end in ("md", "csv")}
    assert re.findall(r"\b\d+ ", said[-1]) == ["6 ", "18 "]
    (said,) = tables.make(results, report, tmp_path / "c2")
    assert re.findall(r"\b\d+ ", said) == ["6 ", "0 "]
    shutil.rmtree(report)
    tables.make(results, report, tmp_path / "c3")
    assert contents(report) == first and contents(results.results) == cells


def test_an_edited_score_is_replaced_by_what_its_per_frame_results_give(results, tmp_path):
    before = contents(results.results)
    folder = results.folder("sample", "ft", 8)
    edit = json.loads((folder / "metrics.json").read_text())
    edit["ssim"]["value"] = 0.999
    fileio.write_json(folder / "metrics.json", edit)
    said = tables.make(results, tmp_path / "report", tmp_path / "c")
    assert said[0].startswith(str(folder / "metrics.json"))
    assert contents(results.results) == before


def test_tables_are_not_made_from_per_frame_results_that_are_not_the_listed_ones(results, tmp_path):
    edit_frame(results.folder("sample", "ft", 8))
    with pytest.raises(InputError, match=r"per_frame\.parquet.*(sha256|\d+ bytes)"):
        tables.make(results, tmp_path / "report", tmp_path / "c")


def test_a_report_whose_tables_changed_is_no_longer_whole(results, tmp_path):
    tables.make(results, report := tmp_path / "report", tmp_path / "c")
    write_manifest(report, "report", {})
    tables.make(results, report, tmp_path / "c")
    assert (report / "manifest.json").exists()  # nothing changed
    (report / "table1.md").write_text("old")
    assert any("index.html" in line for line in tables.make(results, report, tmp_path / "c"))
    assert not (report / "manifest.json").exists()


def test_nothing_scored_is_refused(tmp_path):
    nothing = made_results.Results(tmp_path, tmp_path, tmp_path, ["sample"], ["ff"], [1])
    with pytest.raises(InputError, match="sample"):
        tables.make(nothing, tmp_path / "report", tmp_path / "c")
