"""`make reenact`: what comes in, what moves, what comes out, and what is refused."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from itertools import islice
from pathlib import Path

import av
import made_clips
import made_reenact as made
import numpy as np
import pytest
from made_faces import face

from eval.reenact import (
    compose,
    driving_video,
    face_tracking,
    geometry,
    rank_drivers,
    render_video,
    source_frames,
    synthetic_mark,
    trained_head,
)
from eval.reenact.media import photo, video_reader, video_writer
from eval.reenact.prefetch import ahead
from pipeline.core.errors import InputError
from pipeline.core.ledger import RejectedItem
from pipeline.frames import crops
from pipeline.media import sandbox, video
from stages import reenact

ROOT = Path(__file__).resolve().parents[3]
LIMITS = made_clips.LIMITS


def job(path: Path, view: compose.View = "crop", label: bool = False, adapt: driving_video.Adapt = None) -> render_video.Job:
    of = driving_video.open_driver(path, 0.0, None, made.EYES)
    still = made_clips.picture([(80, 60, 20)], tone=200)
    who = source_frames.Source(still[None, :64, :64], face(64)[None], still, (40., 20., 120., 100.), "0" * 64)
    return render_video.Job(of, made.EYES, made.Head(), 64, "landmarks", who, view, label, adapt)


def film_of(folder: Path, of: render_video.Job) -> tuple[np.ndarray, render_video.Report]:
    report = render_video.make(of, folder / "out.mp4", synthetic_mark.make(method="ff"))
    return made.pictures(folder / "out.mp4"), report


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


def test_the_mark_of_a_film_is_read_back_also_from_a_copy_in_another_container(tmp_path):
    facts = {"method": "ft", "model": "ab" * 32, "source": "cd" * 32, "view": "crop"}
    render_video.make(job(made.talk(tmp_path / "a.mp4", 5)), tmp_path / "out.mp4", synthetic_mark.make(**facts))
    subprocess.run([video.program(), "-v", "error", "-i", str(tmp_path / "out.mp4"), "-c", "copy", str(tmp_path / "out.mkv")],
                   check=True)
    for name in ("out.mp4", "out.mkv"):
        assert synthetic_mark.inspect(tmp_path / name, LIMITS) == {"synthetic": True, "tool": synthetic_mark.TOOL, **facts}


def test_a_file_without_a_mark_is_not_called_real(tmp_path):
    with pytest.raises(InputError, match=r"carries no mark.*does not say that it is real"):
        synthetic_mark.inspect(made.talk(tmp_path / "a.mp4", 5), LIMITS)
    assert synthetic_mark.find({"comment": json.dumps({"synthetic": True})}) is None  # of another tool
    assert synthetic_mark.find({"COMMENT": synthetic_mark.make()["comment"]})
    for deep in (500, 100_000):  # what JSON's own reader, or writer, would end on
        comment = synthetic_mark.make(view="x")["comment"].replace('"x"', "[" * deep + "]" * deep)
        assert synthetic_mark.find({"comment": comment}) is None


def test_what_the_driver_s_file_says_of_itself_does_not_reach_the_film(tmp_path):
    made.talk(tmp_path / "plain.mp4", 5, sound=.2)
    subprocess.run([video.program(), "-v", "error", "-i", str(tmp_path / "plain.mp4"), "-c", "copy", "-metadata",
                    "location=+48.1+011.5/", "-metadata", "artist=somebody", str(tmp_path / "a.mp4")], check=True)
    assert "somebody" in str(video_writer.about(tmp_path / "a.mp4", LIMITS)["metadata"])
    film_of(tmp_path, job(tmp_path / "a.mp4"))
    said = str(video_writer.about(tmp_path / "out.mp4", LIMITS)["metadata"])
    assert "somebody" not in said
    assert "48.1" not in said


def test_the_label_is_in_the_lower_right_corner_and_nowhere_else():
    image = np.full((240, 320, 3), 120, np.uint8)
    out = compose.labelled(image)
    rows, columns = np.nonzero((out != image).any(2))
    assert rows.min() > 200 and columns.min() >= 160
    assert out.max() == 255 and (image == 120).all()


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_a_photo_that_lies_on_its_side_gives_the_crop_of_the_upright_one(tmp_path, orientation):
    image = made_clips.picture([(100, 50, 25)])
    upright, lying = (source_frames.read([made.photo(tmp_path / f"{k}.png", image, k)], 1, None, made.EYES) for k in (1,
                                                                                                                      orientation))
    assert np.array_equal(upright.crops, lying.crops)
    assert np.array_equal(upright.points, lying.points)
    assert upright.box == lying.box


def test_a_video_that_lies_on_its_side_drives_as_the_upright_one(tmp_path):
    part = video_reader.part(made.talk(tmp_path / "a.mp4", 5, rotation=90), 0.0, None, 720, LIMITS)
    assert (part.width, part.height) == (120, 160)
    with video_reader.pictures(part, LIMITS) as pictures:
        assert made_clips.detect(next(pictures)[None])[0][0] == pytest.approx([40, 80, 80, 120, .99], abs=22)


def test_a_photo_of_twelve_megapixels_lying_on_its_side_is_read_upright(tmp_path):
    image = made_clips.picture([(1500, 1000, 500)], width=4000, height=3000)
    seen = photo.read(made.photo(tmp_path / "a.jpg", image, 6), 1280, video.Limits(**{**vars(LIMITS), "pixels": 33554432}))
    assert seen.image.shape == (960, 1280, 3)
    assert seen.scale == .32
    found = made_clips.detect(seen.image[None])[0][0]
    assert found[:4] == pytest.approx([320, 160, 640, 480], abs=3)


def test_colours_with_transparency_stand_on_white(tmp_path):
    from PIL import Image

    Image.new("RGBA", (40, 40), (0, 0, 0, 0)).save(tmp_path / "a.png")
    assert (photo.read(tmp_path / "a.png", 100, LIMITS).image == 255).all()


@pytest.mark.parametrize(("kind", "name"), [("<u2", "a.png"), ("<u2", "a.tif"), (">u2", "b.tif")])
def test_grey_in_sixteen_bits_keeps_its_tones(tmp_path, kind, name):
    from PIL import Image

    grey = np.arange(256).reshape(16, 16)
    Image.fromarray((257 * grey).astype(kind)).save(tmp_path / name)
    assert (photo.read(tmp_path / name, 100, LIMITS).image == grey[..., None]).all()


def test_a_pasted_face_leaves_every_pixel_outside_the_face_as_it_was():
    chance = np.random.default_rng(0)
    picture = chance.integers(0, 256, (240, 320, 3), dtype=np.uint8)
    points = face(64)
    frame = crops.Frame((100.3, 60.7, 200.3, 160.7), 0.0, (0, 0, 0, 0), False)
    out = compose.paste(compose.Drawn(np.full((64, 64, 3), 255, np.uint8), picture, frame, picture[:64, :64], points))
    places = (points + .5) * (100 / 64) + (100.3, 60.7)
    (x0, y0), (x1, y1) = np.floor(places.min(0)), np.ceil(places.max(0))
    forehead = compose.FOREHEAD * (y1 - y0)
    changed = (out != picture).any(2)
    inside = np.zeros_like(changed)
    inside[int(y0 - forehead) - 2:int(y1) + 2, int(x0) - 2:int(x1) + 2] = True
    assert changed[inside].mean() > .4
    assert not changed[~inside].any()


def test_a_pasted_face_takes_the_light_of_its_place():
    chance = np.random.default_rng(0)
    face_, there = (chance.normal(mean, spread, (64, 64, 3)).clip(0, 255).astype(np.uint8)
                    for mean, spread in ((180, 20), ([90, 110, 70], 25)))
    mask = compose.face_mask(face(64), 64)
    out = compose.toned(face_, there, mask)
    assert out[mask > .5].mean(0) == pytest.approx([90, 110, 70], abs=2)
    assert out[mask > .5].std(0) == pytest.approx([25, 25, 25], abs=2)
    assert np.corrcoef(out[mask > .5].ravel(), face_[mask > .5].ravel())[0, 1] > .8


def test_a_driver_s_picture_without_a_face_stays_as_it_is():
    picture = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    assert np.array_equal(compose.paste(compose.Drawn(picture[:32, :32], picture, None, picture, None)), picture)


def test_a_crop_that_leaves_the_still_changes_what_is_in_it():
    whole = np.zeros((50, 50, 3), np.uint8)
    drawn = compose.Drawn(np.full((64, 64, 3), 200, np.uint8), None, None, whole, None)
    out = compose.still(whole, (20., -20., 80., 40.), drawn)
    assert (out[5:30, 35:] == 200).all()
    assert not out[40:].any() and not out[:, :20].any()


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
    with pytest.raises(InputError, match="no face in any of its 8 pictures"):
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


def test_the_crop_of_the_driver_stands_still_while_the_face_moves_a_little():
    boxes = [made.in_box(np.array([100. + 3 * np.sin(k), 100, 200, 240])) for k in range(120)]
    frames = [one.frame for one in face_tracking.still(face_tracking.seen((None, points) for points in boxes),
                                                       crops.stored("fsth"))]
    assert len(frames) == 120
    assert np.ptp([frame.box[0] for frame in frames if frame]) < 1.5


def test_of_a_driver_without_end_a_few_seconds_are_held_at_most():
    asked = []

    def endless():
        while True:
            asked.append(0)
            yield None, face(200)

    frames = face_tracking.still(face_tracking.seen(endless()), crops.stored("fsth"))
    for k in range(200):
        assert next(frames).frame
        assert len(asked) <= k + 1 + face_tracking.AROUND


def test_after_a_cut_the_crop_is_where_the_face_is_at_once():
    places = [np.array([100., 100, 200, 240])] * 30 + [np.array([500., 300, 600, 440])] * 30
    seen = list(face_tracking.still(face_tracking.seen((None, made.in_box(box)) for box in places), crops.stored("fsth")))
    for one, box in zip(seen, places):
        assert one.frame
        middle = (np.array(one.frame.box[:2]) + one.frame.box[2:]) / 2
        assert np.abs(middle - (box[:2] + box[2:]) / 2).max() < 15
    assert seen[-1].shot == 1


def test_the_tracker_follows_one_of_two_faces_and_says_that_there_is_another():
    follow = face_tracking.Tracker(made.EYES.detect, made.EYES.predict, made.EYES.config)
    for k in range(60):
        points = follow(made_clips.picture([(40 + .5 * k, 60, 20), (120, 60, 18 + 4 * (k > 5))]))
        assert points is not None
        if k < 30:
            assert points[:, 0].mean() == pytest.approx(40 + .5 * k, abs=3)
    assert follow.rivals >= 2


def shapes(chance: np.random.Generator, c: np.ndarray, n: int) -> np.ndarray:
    """n pictures of a face of shape c, turned, scaled and placed by chance: (n, 68, 2)."""
    turns = [np.linalg.qr(np.eye(3) + .25 * chance.normal(size=(3, 3)))[0] for _ in range(n)]
    turns = [turn * np.sign(np.diag(turn)) for turn in turns]
    size, place = chance.uniform(50, 150, (n, 1, 1)), chance.uniform(0, 500, (n, 1, 2))
    return np.array([geometry.shape(c) @ turn[:2].T for turn in turns]) * size + place


def test_adapting_a_person_to_the_same_pictures_changes_nothing():
    points = shapes(np.random.default_rng(1), np.zeros(23), 6)
    adapt = geometry.Adaptation(points, points)
    assert np.abs(adapt(points[0]) - points[0]).max() < 1e-9
    assert adapt.size < 1e-9


def test_adaptation_recovers_a_face_s_scale_and_shift_in_other_poses():
    chance = np.random.default_rng(2)
    other = np.zeros(23)
    other[[0, 1, 13, 21]] = .12, -.08, .1, .15  # width, height, the nose's height, the mouth's place
    turned = [np.random.default_rng(seed) for seed in (3, 3)]
    driver_points, truth = shapes(turned[0], np.zeros(23), 20), shapes(turned[1], other, 20)
    adapt = geometry.Adaptation(shapes(chance, other, 12), driver_points)

    def shape(points: np.ndarray) -> np.ndarray:
        """Without place and size, which a crop takes out."""
        left = points - points.mean(1, keepdims=True)
        return np.asarray(left / np.linalg.norm(left, axis=(1, 2), keepdims=True))

    before, after = (np.abs(shape(points) - shape(truth)).mean()
                     for points in (driver_points, np.array([adapt(points) for points in driver_points])))
    assert after < .5 * before


def test_adaptation_keeps_what_the_driver_does():
    points = shapes(np.random.default_rng(4), np.zeros(23), 8)
    c = np.zeros(23)
    c[0] = .1
    adapt = geometry.Adaptation(shapes(np.random.default_rng(5), c, 8), points)
    opened = points[0].copy()
    opened[55:60, 1] += 8  # the lower lip
    moved = adapt(opened) - adapt(points[0])
    assert moved[55:60, 1].mean() == pytest.approx(8, rel=.15)


def test_the_docs_have_the_table_that_the_benchmark_of_adaptation_printed():
    from benchmarks import adaptation

    lines = adaptation.table(json.loads(adaptation.OUT.read_text()))
    table = lines[:lines.index("")]
    assert len(table) == 16 and "\n".join(table) in (ROOT / "docs" / "reenact.md").read_text()


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
    (b"", "cannot be read"), (b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': ", "cannot be read"),
    (np.zeros((3, 67, 2)), "67"), (np.zeros((68, 2)), "within one pixel"), (np.full((68, 2), 1e300), "a million"),
    (np.array([None] * 136, object).reshape(68, 2), "cannot be read"), (np.zeros((68, 2), complex), "complex"),
    (np.zeros((2, 2, 68, 2)), "is due")])
def test_a_damaged_landmark_array_is_named_in_a_sentence(tmp_path, data, says):
    if isinstance(data, bytes):
        (tmp_path / "a.npy").write_bytes(data)
    else:
        np.save(tmp_path / "a.npy", data, allow_pickle=True)
    with pytest.raises(InputError, match=f"a.npy.*{says}"):
        driving_video.arrays(tmp_path)


def test_a_folder_without_arrays_and_a_view_without_a_picture_are_refused(tmp_path):
    (tmp_path / "points").mkdir()
    with pytest.raises(InputError, match="it has none"):
        driving_video.open_driver(tmp_path / "points", 0.0, None, made.EYES)
    np.save(tmp_path / "points/a.npy", face(200))
    with pytest.raises(InputError, match="--view paste"):
        render_video.size(job(tmp_path / "points").driver, "paste", 64, job(tmp_path / "points").source)
    with pytest.raises(InputError, match="end before"):
        driving_video.open_driver(tmp_path / "points", 9.0, None, made.EYES)


def test_photos_that_cannot_be_used_are_refused_in_a_sentence(tmp_path):
    cases = {"blank": made_clips.picture([]), "two": made_clips.picture([(40, 60, 20), (110, 60, 19)]),
             "small": made_clips.picture([(80, 60, 7)])}
    paths = {name: made.photo(tmp_path / f"{name}.png", image) for name, image in cases.items()}
    for name, says in (("blank", "no face is found"), ("two", "2 faces of like size.*--face 1 to --face 2"),
                       ("small", "pixels wide")):
        with pytest.raises(InputError, match=f"{name}.png: .*{says}"):
            source_frames.read([paths[name]], 1, None, made.EYES)
    left, right = (source_frames.read([paths["two"]], 1, k, made.EYES) for k in (1, 2))
    assert left.box[0] < right.box[0]
    with pytest.raises(InputError, match="--face 3"):
        source_frames.read([paths["two"]], 1, 3, made.EYES)


@pytest.mark.parametrize(("name", "data", "says"), [
    ("a.jpg", b"\xff\xd8\xff\xe0" + b"x" * 500, "not a photo that can be read"),
    ("a.heic", b"\0\0\0\x18ftypheic" + b"\0" * 90, "HEIC"),
    ("a.zip", b"PK\3\4" + b"\0" * 500, "zip archive"), ("a.txt", b"hello " * 50, "a text"), ("a.mp4", b"\0" * 500, "zeros"),
    ("a.m3u8", b"#EXTM3U\nfile:///etc/passwd\n", "playlist"), ("a.png", b"\x89PNG\r\n\x1a\n", "not a photo")])
def test_a_hostile_file_is_refused_as_source_and_as_driver(tmp_path, name, data, says):
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(InputError, match=f"{name}: .*{says}"):
        source_frames.read([path], 1, None, made.EYES)
    with pytest.raises(InputError, match=f"{name}: "):
        driving_video.open_driver(path, 0.0, None, made.EYES)


def test_a_photo_of_more_pixels_than_allowed_is_not_decoded(tmp_path):
    path = made.photo(tmp_path / "a.png", np.zeros((1000, 2001, 3), np.uint8))
    with pytest.raises(InputError, match="2001x1000 pixels, more than the 2000000 allowed"):
        source_frames.read([path], 1, None, made.EYES)


def test_photos_and_a_video_are_not_mixed_and_a_video_gives_t_pictures(tmp_path):
    picture, talk = made.photo(tmp_path / "a.png", made_clips.picture()), made.talk(tmp_path / "a.mp4", 60)
    with pytest.raises(InputError, match="any number of photos of one person or one video"):
        source_frames.read([picture, talk], 2, None, made.EYES)
    found = source_frames.read([talk], 5, None, made.EYES)
    assert found.crops.shape == (5, 64, 64, 3)
    assert found.points.shape == (5, 68, 2)


def test_a_source_video_that_takes_too_long_to_read_is_refused_with_the_way_out(tmp_path, monkeypatch):
    def slow(*_):
        raise RejectedItem("timeout", "reading it took more than 60 s of processor time")

    monkeypatch.setattr(source_frames.extract, "read", slow)
    with pytest.raises(InputError, match=r"a.mp4: reading it took more than 60 s of processor time; cut a minute out of it"):
        source_frames.read([made.talk(tmp_path / "a.mp4", 5)], 2, None, made.EYES)


@pytest.mark.parametrize("start", [10, 100])
def test_a_driver_that_ends_before_its_start_is_refused(tmp_path, start):
    with pytest.raises(InputError, match=f"ends at 1.0 s, before the {start} s"):
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


def test_steps_are_chosen_at_the_learning_rate_of_as_many_pictures_as_there_are(tmp_path):
    made.untrained(tmp_path / "ft", "ft")
    chosen, usual = (trained_head.load(tmp_path / "ft", steps, 0).method.config.tuning for steps in (3, None))
    for T in (1, 8, 32):
        assert chosen.budget(T) == usual.budget(T).model_copy(update={"steps": 3})
    with pytest.raises(InputError, match="at least one"):
        trained_head.load(tmp_path / "ft", 0, 0)
    with pytest.raises(InputError, match="no number of fine-tuning steps"):
        trained_head.load(made.untrained(tmp_path / "ff"), 3, 0)


def test_a_model_that_is_not_there_or_not_its_own_is_refused(tmp_path):
    with pytest.raises(InputError, match="`make repro` trains one"):
        trained_head.load(tmp_path / "models/sample/ft", None, 0)
    folder = made.untrained(tmp_path / "ff")
    data = bytearray((folder / "weights.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "weights.safetensors").write_bytes(data)
    with pytest.raises(InputError, match="not the file that its manifest lists"):
        trained_head.load(folder, None, 0)


def test_a_model_of_other_settings_is_to_be_trained_anew(tmp_path):
    folder = made.untrained(tmp_path / "ff")
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["config"]["lr"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=r"ff: trained by another version.*config.lr.*`make repro` trains it anew"):
        trained_head.load(folder, None, 0)


def test_without_consent_nothing_is_made(monkeypatch):
    asked = input
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    with pytest.raises(InputError, match="--i-have-consent"):
        reenact.consent(False)
    reenact.consent(True)
    for answer, fine in (("yes", True), ("no", False), ("", False)):
        monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
        monkeypatch.setattr("builtins.input", lambda _, answer=answer: answer)
        if fine:
            reenact.consent(False)
        else:
            with pytest.raises(InputError, match="nothing is made"):
                reenact.consent(False)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", asked)
    with pytest.raises(InputError, match="nothing is made"):
        reenact.consent(False)  # Ctrl-D


@pytest.mark.parametrize(("answer", "given"), [("yes", True), ("no", False), ("", False)])
def test_make_takes_yes_alone_for_consent(answer, given):
    command = ["make", "-n", "-o", ".venv/ready", "reenact", "SOURCE=a.jpg", "DRIVER=talk.mp4", f"CONSENT={answer}"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "stages.reenact a.jpg --driver talk.mp4" in said and ("--i-have-consent" in said) == given


@pytest.mark.parametrize(("path", "listed", "refused"), [
    ("data/sample/videos/p024/v0.mkv", "p024", True), ("data/sample/videos/p024/v0.mkv", "p024/v0", True),
    ("data/sample/videos/p024/v0.mkv", "p024/v1", False), ("videos/folder/anna/talk.mp4", "anna", True),
    ("id00017/01dfn2spqyE/00001.mp4", "id00017/01dfn2spqyE", True), ("anna.jpg", "anna", True),
    ("bob/talk.mp4", "anna", False)])
def test_who_is_on_the_take_down_list_is_not_used(tmp_path, path, listed, refused):
    if refused:
        with pytest.raises(InputError, match="take-down list"):
            reenact.refuse_listed(tmp_path / path, frozenset([listed]))
    else:
        reenact.refuse_listed(tmp_path / path, frozenset([listed]))


def test_a_link_to_a_file_has_both_names_on_the_take_down_list(tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "ab12").write_bytes(b"")
    (tmp_path / "anna").mkdir()
    (tmp_path / "anna" / "talk.mp4").symlink_to(tmp_path / "cache" / "ab12")
    for listed in ("anna", "anna/talk", "cache"):
        with pytest.raises(InputError, match="take-down list"):
            reenact.refuse_listed(tmp_path / "anna" / "talk.mp4", frozenset([listed]))
    reenact.refuse_listed(tmp_path / "anna" / "talk.mp4", frozenset(["bob"]))


@pytest.mark.parametrize("place", [".", "data/ci"])
def test_the_lists_of_the_checkout_and_of_its_data_sets_count(tmp_path, monkeypatch, place):
    (tmp_path / place).mkdir(parents=True, exist_ok=True)
    (tmp_path / place / "takedown.txt").write_text("anna/talk  # asked us\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr("sys.argv", ["reenact", "bob/a.jpg", "--driver", "videos/anna/talk.mp4", "--i-have-consent", "--params",
                                     str(ROOT / "params.yaml")])
    with pytest.raises(InputError, match=r"talk.mp4: anna is on the take-down list"):
        reenact.main()


def test_a_film_that_cannot_be_written_is_refused_before_anything_is_learnt(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr("sys.argv", ["reenact", "a.jpg", "--driver", "talk.mp4", "--out", str(tmp_path / "no" / "a.mp4")])
    with pytest.raises(InputError, match=r"there is no folder .*no; make it first"):
        reenact.main()  # before source, driver and consent are looked at


def test_an_interrupted_film_is_said_not_to_be_there(monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr("sys.argv", ["reenact", "a.jpg", "--driver", "talk.mp4"])
    monkeypatch.setattr(reenact, "make", interrupted)
    with pytest.raises(SystemExit) as end:
        reenact.main()
    assert end.value.code == 130
    assert capsys.readouterr().err.strip() == "interrupted; no film was written"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_run_that_is_ended_leaves_nothing_half_written(tmp_path, monkeypatch, number):
    def ended(*_):
        with video_writer.film(tmp_path / "a.mp4", (64, 64), None, {}, 4.0, LIMITS) as write:
            for _ in range(80):
                write(np.zeros((64, 64, 3), np.uint8))
            os.kill(os.getpid(), number)

    before = {one: signal.signal(one, signal.SIG_DFL) for one in (signal.SIGTERM, signal.SIGHUP)}
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("sys.argv", ["reenact", "a.jpg", "--driver", "talk.mp4"])
    monkeypatch.setattr(reenact, "make", ended)
    try:
        with pytest.raises(SystemExit) as end:
            reenact.main()
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
    assert end.value.code == 128 + number and list(tmp_path.iterdir()) == []


def test_the_command_makes_a_marked_film_of_a_real_photo_and_says_what_it_is(tmp_path):
    skimage = pytest.importorskip("skimage.data")
    image = np.asarray(skimage.astronaut())
    made.photo(tmp_path / "a.jpg", image, 6)
    made_clips.write(tmp_path / "talk.mp4", [np.roll(image[:360, 60:400], k, 1) for k in range(6)])
    made.untrained(tmp_path / "ff")
    command = [sys.executable, "-m", "stages.reenact", str(tmp_path / "a.jpg"), "--driver", str(tmp_path / "talk.mp4"),
               "--model", str(tmp_path / "ff"), "--view", "side", "--out", str(tmp_path / "out.mp4")]
    refused = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert refused.returncode == 1
    assert refused.stderr.startswith("error: have the people") and refused.stderr.count("\n") == 1
    done = subprocess.run([*command, "--i-have-consent"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "6 pictures, 0.24 s, 512x256, silent" in done.stdout
    assert "32 pixels" in done.stdout
    assert made.pictures(tmp_path / "out.mp4").shape == (6, 256, 512, 3)
    shown = subprocess.run([sys.executable, "-m", "stages.reenact", "--inspect", str(tmp_path / "out.mp4")], cwd=ROOT,
                           capture_output=True, text=True, check=True)
    assert json.loads(shown.stdout)["method"] == "ff"


def test_a_cartoon_is_refused_in_a_sentence(tmp_path):
    from model.backbones import face_detection, landmark_detection

    eyes = source_frames.Eyes(face_detection.Detector().detect, landmark_detection.landmarker("dlib68").predict,
                              made_clips.CONFIG)
    with pytest.raises(InputError, match=r"cartoon.png: (no face is found|no landmarks were found)"):
        source_frames.read([made.photo(tmp_path / "cartoon.png", made.cartoon())], 1, None, eyes)
