"""What drives: videos, arrays of landmarks, drivers ranked, and work ahead of the one who waits."""

from __future__ import annotations

import made_reenact as made
import numpy as np
import pytest
from made_faces import face
from made_reenact import film_of, job

from eval.reenact import driving_video, rank_drivers, render_video
from eval.reenact.prefetch import ahead
from pipeline.core.errors import InputError


def test_drivers_are_ranked_by_the_likeness_of_what_they_drive(tmp_path):
    class Describe:
        def __call__(self, image: np.ndarray, points: np.ndarray) -> np.ndarray:
            return np.array([1.0, float(np.ptp(points[:, 0]) / np.ptp(points[:, 1]))])

    jobs = []
    for name, wide in (("far", 1.9), ("near", 1.0), ("between", 1.4)):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "a.npy", np.tile(face(200) * (wide, 1), (63, 1, 1)))
        jobs.append(job(tmp_path / name))
    ranks = rank_drivers.ranked(jobs, Describe())
    assert [one.path.name for one in ranks] == ["near", "between", "far"]
    assert ranks[0].csim == pytest.approx(1, abs=1e-4)
    assert [one.pictures for one in ranks] == [driving_video.LOOKS] * 3  # of 63
    assert "1  " in rank_drivers.table(ranks, "dlib128") and "dlib128" in rank_drivers.table(ranks, "dlib128")


def test_landmark_arrays_drive_in_the_order_of_their_names_and_a_gap_is_held(tmp_path):
    folder = tmp_path / "points"
    folder.mkdir()
    one = face(200).astype(np.float32)
    np.save(folder / "2.npy", np.stack([one + 5, np.full((68, 2), np.nan)]))
    np.save(folder / "1.npy", one)
    assert np.array_equal(np.isnan(driving_video.arrays(folder)).any((1, 2)), [False, False, True])
    assert np.allclose(driving_video.arrays(folder)[0], one)
    out, report = film_of(tmp_path, job(folder, "side"))
    assert len(out) == 3
    assert report.lost == [(2, 3)]


@pytest.mark.parametrize(("data", "says"), [
    (b"", ""), (b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': ", ""),
    (np.zeros((3, 67, 2)), "67"), (np.zeros((68, 2)), ""), (np.full((68, 2), 1e300), ""),
    (np.array([None] * 136, object).reshape(68, 2), ""), (np.zeros((68, 2), complex), "complex"),
    (np.zeros((2, 2, 68, 2)), "")])
def test_a_damaged_landmark_array_is_named_in_a_sentence(tmp_path, data, says):
    if isinstance(data, bytes):
        (tmp_path / "a.npy").write_bytes(data)
    else:
        np.save(tmp_path / "a.npy", data, allow_pickle=True)
    with pytest.raises(InputError, match=rf"a\.npy.*{says}"):
        driving_video.arrays(tmp_path)


def test_a_folder_without_arrays_and_a_view_without_a_picture_are_refused(tmp_path):
    (tmp_path / "points").mkdir()
    with pytest.raises(InputError, match="points"):
        driving_video.open_driver(tmp_path / "points", 0.0, None, made.EYES)
    np.save(tmp_path / "points/a.npy", face(200))
    with pytest.raises(InputError, match="--view paste"):
        render_video.size(job(tmp_path / "points").driver, "paste", 64, job(tmp_path / "points").source)
    with pytest.raises(InputError, match=r"\b9(\.0)? s"):
        driving_video.open_driver(tmp_path / "points", 9.0, None, made.EYES)


@pytest.mark.parametrize("start", [10, 100])
def test_a_driver_that_ends_before_its_start_is_refused(tmp_path, start):
    with pytest.raises(InputError, match=rf"\b1\.0 s.*\b{start} s"):
        driving_video.open_driver(made.talk(tmp_path / "a.mp4", 25), start, None, made.EYES)


def test_work_ahead_keeps_order_and_raises_where_it_is_waited_for():
    def items():
        yield from range(5)
        raise ValueError("the sixth")

    got = []
    with pytest.raises(ValueError, match="the sixth"):
        for one in ahead(items(), 2):
            got.append(one)
    assert got == list(range(5))


def test_work_ahead_is_bounded_and_ends_when_nobody_asks_any_more():
    made_so_far = []

    def items():
        for k in range(1000):
            made_so_far.append(k)
            yield k

    stream_ = ahead(items(), 3)
    assert next(stream_) == 0
    stream_.close()
    assert len(made_so_far) < 10
