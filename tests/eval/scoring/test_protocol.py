import io
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from eval.metrics import fd
from eval.scoring import cell_summary, metric, per_frame, protocol, set_distances
from pipeline.core.errors import InputError
from pipeline.core.shards import ShardWriter

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
    protocol.opened.cache_clear()
    writer, index = ShardWriter(tmp_path), []
    for person, rows in ROWS.items():
        for row in rows:
            frame = np.rint(truth(row) * 255 * (person != "p2")).astype(np.uint8).transpose(1, 2, 0)
            Image.fromarray(frame).save(png := io.BytesIO(), "PNG")
            index.append({"person": person, "row": row, **writer.add(f"{person}-{row:06d}.png", png.getvalue())})
    writer.close()
    pd.DataFrame(index).to_parquet(tmp_path / "index.parquet", index=False)
    yield protocol.Cell(tmp_path, tmp_path, tmp_path, tmp_path)
    protocol.opened.cache_clear()


def scored(cell, **changes):
    config = protocol.Config(**{**CONFIG, **changes})
    return [protocol.score(person, cell=cell, config=config, cache=None) for person in protocol.people(cell)]


def summary(found, order=("l1", "ssim", "fd_efflite0")):
    return cell_summary.summary(per_frame.gather(found), per_frame.Recipe(order, level=0.95, means=100, sets=50, seed=0))


def test_frames_drawn_exactly_right_score_exactly_best_after_both_went_through_8_bits(cell):
    found = scored(cell)
    assert (found[0].columns["l1"] == 0).all() and found[0].columns["ssim"] == pytest.approx(1, abs=1e-12)
    assert found[1].columns["l1"].min() > 0.4


def test_the_summary_is_the_mean_over_people_with_counts_in_the_order_asked_for(cell):
    said = summary(scored(cell))
    assert list(said) == CONFIG["metrics"]
    black = np.mean([np.rint(truth(row) * 255).mean() / 255 for row in ROWS["p2"]])
    assert said["l1"]["value"] == pytest.approx(black / 3, rel=1e-4)
    assert (said["l1"]["n_people"], said["l1"]["n_frames"], said["l1"]["n_failed"]) == (3, 18, 0)
    assert said["l1"]["low"] >= 0 and "floor" not in said["l1"]


def test_the_floor_of_a_set_distance_is_real_against_real_and_no_method_enters_it(cell):
    real = np.concatenate([protocol.pairs(cell, person).real for person in PEOPLE]).reshape(18, -1)[:, :30] * 10
    half = np.arange(18) % 2 == 0
    due = metric.load("fd_efflite0").value(real[half], real[~half], np.repeat(np.arange(3), 3))
    assert summary(scored(cell))["fd_efflite0"]["floor"] == pytest.approx(due, rel=1e-4)


def test_a_metric_without_its_network_is_left_out_and_the_reason_is_kept(cell, monkeypatch):
    monkeypatch.setattr(fd.EffLite0, "missing", lambda self: "net.pth is not here: fetch it")
    found = scored(cell)
    assert found[0].missing == {"fd_efflite0": "net.pth is not here: fetch it"}
    assert list(per_frame.gather(found).columns) == ["l1", "ssim"] and not per_frame.gather(found).features
    with pytest.raises(InputError, match="fd_efflite0"):
        summary(found)


def test_the_table_has_a_row_a_frame_with_its_person_and_index_row(cell):
    frames = per_frame.gather(scored(cell))
    assert list(frames.columns) == ["l1", "ssim"] and frames.lengths() == [6, 6, 6]
    assert (frames.columns["ssim"] == frames.columns["ssim"].round(6)).all()  # as metrics.json is derived from them
    assert frames.row.tolist() == [row for rows in ROWS.values() for row in rows] and len(frames.person) == 18


def test_what_is_read_back_is_what_was_stored_and_gives_the_same_summary_bit_for_bit(cell, tmp_path):
    found = scored(cell)
    found[0].columns["l1"][2] = np.nan
    per_frame.write(tmp_path, per_frame.gather(found))
    again = per_frame.read(tmp_path)
    recipe = per_frame.Recipe(CONFIG["metrics"], level=0.95, means=100, sets=50, seed=0)
    assert cell_summary.summary(again, recipe) == summary(found) and summary(found)["l1"]["n_failed"] == 1
    assert again.person.tolist() == np.repeat(PEOPLE, 6).tolist() and again.features["fd_efflite0"][0].dtype == np.float32


@pytest.mark.parametrize("spoil", [lambda folder: (folder / "features.safetensors").unlink(),
                                   lambda folder: (folder / "features.safetensors").write_bytes(b"no tensors at all"),
                                   lambda folder: (folder / "per_frame.parquet").write_bytes(b"PAR1 no table PAR1"),
                                   lambda folder: pd.DataFrame({"l1": [0.0]}).to_parquet(folder / "per_frame.parquet"),
                                   lambda folder: pd.read_parquet(folder / "per_frame.parquet")[:-1].to_parquet(
                                       folder / "per_frame.parquet")])
def test_per_frame_results_that_are_not_whole_are_refused_in_one_sentence_that_names_them(cell, tmp_path, spoil):
    per_frame.write(tmp_path, per_frame.gather(scored(cell)))
    spoil(tmp_path)
    with pytest.raises(InputError, match=str(tmp_path)) as refused:
        per_frame.read(tmp_path)
    assert "dvc" in str(refused.value) and "\n" not in str(refused.value)


def test_each_different_resample_is_computed_once_and_the_cache_gives_the_same_numbers(cell, tmp_path, monkeypatch):
    from eval.scoring.feature_cache import Cache

    frames, recipe = per_frame.gather(scored(cell)), per_frame.Recipe((), level=0.95, means=100, sets=50, seed=0)
    plain = set_distances.resampled(metric.load("fd_efflite0"), frames, recipe)
    asked, true = [], fd.Frechet.resampled

    def counted(self, real, fake, whose, counts):
        asked.append(len(counts))
        return true(self, real, fake, whose, counts)

    monkeypatch.setattr(fd.Frechet, "resampled", counted)
    kept = [set_distances.resampled(metric.load("fd_efflite0", Cache(tmp_path / "c")), frames, recipe) for _ in range(2)]
    assert asked == [10]  # three people drawn three times: 10 different resamples, not 50
    assert (kept[0] == plain).all() and (kept[1] == plain).all() and plain.shape == (50,)
