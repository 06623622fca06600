"""The film: its pictures, its sound, and what is left where it cannot be made."""

from __future__ import annotations

import subprocess
from itertools import islice

import av
import made_clips
import made_reenact as made
import numpy as np
import pytest
from made_reenact import LIMITS, film_of, job

from eval.reenact import compose, driving_video, face_tracking, render_video, synthetic_mark
from eval.reenact.media import video_writer
from pipeline.core.errors import InputError
from pipeline.media import sandbox, video


@pytest.mark.parametrize(("rate", "count"), [(25, 40), (30, 60), (12, 30)])
def test_a_film_has_25_pictures_a_second_whatever_the_driver_has(tmp_path, rate, count):
    out, report = film_of(tmp_path, job(made.talk(tmp_path / "a.mp4", count, rate)))
    assert len(out) == report.pictures == pytest.approx(count / rate * 25, abs=1)
    assert out.shape[1:] == (compose.LEAST, compose.LEAST, 3)


def test_the_driver_s_sound_keeps_its_length_and_place(tmp_path):
    film_of(tmp_path, job(made.talk(tmp_path / "a.mp4", 75, sound=2.0)))
    start, end = made.tone(tmp_path / "out.mp4")
    assert start == pytest.approx(0, abs=.05)
    assert end == pytest.approx(2.0, abs=.06)
    assert video_writer.about(tmp_path / "out.mp4", LIMITS)["seconds"] == pytest.approx(3.0, abs=.05)


def test_a_part_of_the_driver_keeps_picture_and_sound_together(tmp_path):
    path = made.talk(tmp_path / "a.mp4", 100, sound=3.0)
    of = job(path, "paste")
    part = driving_video.open_driver(path, 2.0, 1.5, made.EYES)
    report = render_video.make(render_video.Job(**{**vars(of), "driver": part}), tmp_path / "out.mp4", synthetic_mark.make())
    assert report.pictures == 38  # 37.5
    assert made.tone(tmp_path / "out.mp4")[1] == pytest.approx(1.0, abs=.06)
    first = made_clips.detect(made.pictures(tmp_path / "out.mp4")[:1])[0][0]
    assert (first[0] + first[2]) / 2 == pytest.approx(60 + .2 * 50, abs=1.5)


def test_a_sound_whose_first_packets_are_damaged_is_a_sound(tmp_path):
    path = made.talk(tmp_path / "a.mp4", 50, sound=2.0)
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        for packet in islice(container.demux(audio=0), 3):
            data[packet.pos:packet.pos + packet.size] = b"\xff" * packet.size
    path.write_bytes(data)
    film_of(tmp_path, job(path))
    assert made.tone(tmp_path / "out.mp4")[1] == pytest.approx(2.0, abs=.06)


@pytest.mark.parametrize("ending", ["mkv", "mp4", "ts"])
@pytest.mark.parametrize(("late", "begins"), [("picture", -1.0), ("sound", 1.0)])
def test_where_sound_and_picture_of_a_file_begin_apart_they_stay_so_and_no_picture_is_lost(tmp_path, ending, late, begins):
    talk, path = made.talk(tmp_path / "a.mp4", 75, sound=3.0), tmp_path / f"apart.{ending}"
    delays = [["-itsoffset", "1" if name == late else "0", "-i", str(talk)] for name in ("picture", "sound")]
    command = [video.program(), "-v", "error", *delays[0], *delays[1], "-map", "0:v", "-map", "1:a", "-c", "copy", str(path)]
    subprocess.run(command, check=True, env=sandbox.environment())
    for start in (0.0, 1.4):
        part = driving_video.open_driver(path, start, None, made.EYES)
        report = render_video.make(render_video.Job(**{**vars(job(path, "paste")), "driver": part}), tmp_path / "out.mp4",
                                   synthetic_mark.make())
        assert report.pictures == pytest.approx(75 - 25 * start, abs=1)
        first, *_, last = made_clips.detect(made.pictures(tmp_path / "out.mp4"))
        for disc, k in ((first, 25 * start), (last, 74)):
            assert (disc[0][0] + disc[0][2]) / 2 == pytest.approx(60 + .2 * k, abs=1.5)
        heard = made.tone(tmp_path / "out.mp4")
        assert heard == pytest.approx((max(begins - start, 0), min(begins + 3, 3) - start), abs=.08)


def test_what_the_driver_s_file_says_of_itself_does_not_reach_the_film(tmp_path):
    made.talk(tmp_path / "plain.mp4", 5, sound=.2)
    subprocess.run([video.program(), "-v", "error", "-i", str(tmp_path / "plain.mp4"), "-c", "copy", "-metadata",
                    "location=+48.1+011.5/", "-metadata", "artist=somebody", str(tmp_path / "a.mp4")], check=True)
    assert "somebody" in str(video_writer.about(tmp_path / "a.mp4", LIMITS)["metadata"])
    film_of(tmp_path, job(tmp_path / "a.mp4"))
    said = str(video_writer.about(tmp_path / "out.mp4", LIMITS)["metadata"])
    assert "somebody" not in said
    assert "48.1" not in said


@pytest.mark.parametrize(("view", "shape"), [("side", (256, 512)), ("paste", (120, 160)), ("still", (120, 160))])
def test_each_view_has_its_size(tmp_path, view, shape):
    out, _ = film_of(tmp_path, job(made.talk(tmp_path / "a.mp4", 4), view, label=True))
    assert out.shape[1:3] == shape


def test_pictures_without_a_face_hold_the_last_pose_and_are_counted(tmp_path):
    out, report = film_of(tmp_path, job(made.talk(tmp_path / "a.mp4", 40, gone=range(10, 22))))
    assert report.pictures == 40
    assert report.lost == [(10, 10 + report.without)]
    assert 12 <= report.without <= 12 + face_tracking.LOST
    held, before = out[12:20].astype(int), out[9].astype(int)
    assert np.abs(held - before).mean() < 2
    assert np.abs(out[39].astype(int) - before).mean() > 2 * np.abs(held - before).mean()


def test_a_driver_without_any_face_leaves_no_film(tmp_path):
    with pytest.raises(InputError, match=r"\b8\b"):
        film_of(tmp_path, job(made.talk(tmp_path / "a.mp4", 8, gone=range(8))))
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_a_film_that_was_there_stays_when_the_next_one_fails(tmp_path):
    (tmp_path / "out.mp4").write_bytes(b"before")
    with pytest.raises(InputError):
        film_of(tmp_path, job(made.talk(tmp_path / "a.mp4", 8, gone=range(8))))
    assert (tmp_path / "out.mp4").read_bytes() == b"before"


def test_two_runs_that_write_one_film_leave_a_whole_one(tmp_path):
    with video_writer.film(tmp_path / "a.mp4", (64, 64), None, {}, 4.0, LIMITS) as one:
        with video_writer.film(tmp_path / "a.mp4", (64, 64), None, {}, 2.0, LIMITS) as other:
            for k in range(100):
                one(np.full((64, 64, 3), 2 * k, np.uint8))
                if k < 50:
                    other(np.full((64, 64, 3), 5 * k, np.uint8))
        assert len(made.pictures(tmp_path / "a.mp4")) == 50
    assert len(made.pictures(tmp_path / "a.mp4")) == 100 and [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_a_driver_that_breaks_off_gives_what_there_was(tmp_path):
    subprocess.run([video.program(), "-v", "error", "-i", str(made.talk(tmp_path / "a.mp4", 100, sound=4.0)), "-c", "copy",
                    str(tmp_path / "a.mkv")], check=True)
    path = made_clips.cut(tmp_path / "a.mkv", tmp_path / "b.mkv", .6)
    out, report = film_of(tmp_path, job(path))
    assert 10 < len(out) == report.pictures < 90
