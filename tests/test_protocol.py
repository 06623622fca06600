import io
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from eval import metric, protocol
from eval.metrics import fd
from pipeline import store

SIZE, PEOPLE = 24, ("p1", "p2", "p3")
ROWS = {person: [10 * j + k for k in range(6)] for j, person in enumerate(PEOPLE)}
CONFIG = {"metrics": ["l1", "ssim", "fd_efflite0"], "level": 0.95, "resamples": 100, "set_resamples": 50,
          "workers": 1}


def truth(row):
    """The real frame of a row, not a multiple of 1/255."""
    return np.random.default_rng(row).random((3, SIZE, SIZE)).astype(np.float32)


class Faces:
    def __init__(self, frames, landmarks, split, size):
        assert size == SIZE
        self.subjects = [SimpleNamespace(person=p, video="v", sources=[], holdout=rows) for p, rows in ROWS.items()]

    def images(self, rows):
        return np.stack([truth(row) for row in rows])

    def points(self, rows):
        return np.random.default_rng(0).random((len(rows), 68, 2)).astype(np.float32) * SIZE


@pytest.fixture
def cell(tmp_path, monkeypatch):
    """Generated frames that are the real ones, but for p2's, which are black."""
    monkeypatch.setitem(sys.modules, "pipeline.episodes", SimpleNamespace(Faces=Faces))
    monkeypatch.setattr(fd.Frechet, "backbones", {})
    monkeypatch.setattr(fd.Frechet, "missing", lambda self: None)
    monkeypatch.setattr(fd.EffLite0, "forward", lambda self, x: x.reshape(len(x), -1)[:, :30] * 10)
    monkeypatch.setattr(fd.EffLite0, "width", 30)
    protocol._open.cache_clear()
    writer, index = store.ShardWriter(tmp_path), []
    for person, rows in ROWS.items():
        for row in rows:
            frame = np.rint(truth(row) * 255 * (person != "p2")).astype(np.uint8).transpose(1, 2, 0)
            Image.fromarray(frame).save(png := io.BytesIO(), "PNG")
            index.append({"person": person, "row": row, **writer.add(f"{person}-{row:06d}.png", png.getvalue())})
    writer.close()
    pd.DataFrame(index).to_parquet(tmp_path / "index.parquet", index=False)
    yield protocol.Cell(tmp_path, tmp_path, tmp_path, tmp_path)
    protocol._open.cache_clear()


def scored(cell, **changes):
    config = protocol.Config(**{**CONFIG, **changes})
    return [protocol.score(person, cell=cell, config=config, cache=None) for person in protocol.people(cell)], config


def test_frames_drawn_exactly_right_score_exactly_best_after_both_went_through_8_bits(cell):
    found, _ = scored(cell)
    assert (found[0].columns["l1"] == 0).all() and found[0].columns["ssim"] == pytest.approx(1, abs=1e-12)
    assert found[1].columns["l1"].min() > 0.4


def test_the_summary_is_the_mean_over_people_with_counts_in_the_order_asked_for(cell):
    found, config = scored(cell)
    summary = protocol.summary(found, config, seed=0)
    assert list(summary) == CONFIG["metrics"]
    black = np.mean([np.rint(truth(row) * 255).mean() / 255 for row in ROWS["p2"]])
    assert summary["l1"]["value"] == pytest.approx(black / 3, rel=1e-4)
    assert (summary["l1"]["n_people"], summary["l1"]["n_frames"], summary["l1"]["n_failed"]) == (3, 18, 0)
    assert summary["l1"]["low"] >= 0 and "floor" not in summary["l1"]


def test_the_floor_of_a_set_distance_is_real_against_real_and_no_method_enters_it(cell):
    found, config = scored(cell)
    real = np.concatenate([protocol.pairs(cell, person).real for person in PEOPLE]).reshape(18, -1)[:, :30] * 10
    half = np.arange(18) % 2 == 0
    due = metric.load("fd_efflite0").value(real[half], real[~half], np.repeat(np.arange(3), 3))
    assert protocol.summary(found, config, seed=0)["fd_efflite0"]["floor"] == pytest.approx(due, rel=1e-4)


def test_a_metric_without_its_network_is_left_out_and_the_reason_is_kept(cell, monkeypatch):
    monkeypatch.setattr(fd.EffLite0, "missing", lambda self: "net.pth is not here: fetch it")
    found, config = scored(cell)
    assert found[0].missing == {"fd_efflite0": "net.pth is not here: fetch it"}
    assert list(protocol.summary(found, config, seed=0)) == ["l1", "ssim"]


def test_the_table_has_a_row_a_frame_with_its_person_and_index_row(cell):
    table = protocol.table(scored(cell)[0])
    assert list(table) == ["person", "row", "l1", "ssim"]
    assert table["row"].tolist() == [row for rows in ROWS.values() for row in rows] and len(table["person"]) == 18
