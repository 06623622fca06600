"""Photos and videos of the source: read upright, with their tones, or refused."""

from __future__ import annotations

import made_clips
import made_reenact as made
import numpy as np
import pytest
from made_reenact import LIMITS

from eval.reenact import driving_video, source_frames
from eval.reenact.media import photo, video_reader
from pipeline.core.errors import InputError
from pipeline.core.ledger import RejectedItem
from pipeline.media import video


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


def test_photos_that_cannot_be_used_are_refused_in_a_sentence(tmp_path):
    cases = {"blank": made_clips.picture([]), "two": made_clips.picture([(40, 60, 20), (110, 60, 19)]),
             "small": made_clips.picture([(80, 60, 7)])}
    paths = {name: made.photo(tmp_path / f"{name}.png", image) for name, image in cases.items()}
    for name, says in (("blank", ""), ("two", "2 .*--face 1 .*--face 2"),
                       ("small", "pixels")):
        with pytest.raises(InputError, match=rf"{name}\.png: .*{says}"):
            source_frames.read([paths[name]], 1, None, made.EYES)
    left, right = (source_frames.read([paths["two"]], 1, k, made.EYES) for k in (1, 2))
    assert left.box[0] < right.box[0]
    with pytest.raises(InputError, match=r"two\.png.*--face.* 3"):
        source_frames.read([paths["two"]], 1, 3, made.EYES)


@pytest.mark.parametrize(("name", "data", "says"), [
    ("a.jpg", b"\xff\xd8\xff\xe0" + b"x" * 500, ""),
    ("a.heic", b"\0\0\0\x18ftypheic" + b"\0" * 90, "HEIC"),
    ("a.zip", b"PK\3\4" + b"\0" * 500, ""), ("a.txt", b"hello " * 50, ""), ("a.mp4", b"\0" * 500, ""),
    ("a.m3u8", b"#EXTM3U\nfile:///etc/passwd\n", ""), ("a.png", b"\x89PNG\r\n\x1a\n", "")])
def test_a_hostile_file_is_refused_as_source_and_as_driver(tmp_path, name, data, says):
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(InputError, match=f"{name}: .*{says}"):
        source_frames.read([path], 1, None, made.EYES)
    with pytest.raises(InputError, match=f"{name}: "):
        driving_video.open_driver(path, 0.0, None, made.EYES)


def test_a_photo_of_more_pixels_than_allowed_is_not_decoded(tmp_path):
    path = made.photo(tmp_path / "a.png", np.zeros((1000, 2001, 3), np.uint8))
    with pytest.raises(InputError, match=r"2001x1000 .*2000000"):
        source_frames.read([path], 1, None, made.EYES)


def test_photos_and_a_video_are_not_mixed_and_a_video_gives_t_pictures(tmp_path):
    picture, talk = made.photo(tmp_path / "a.png", made_clips.picture()), made.talk(tmp_path / "a.mp4", 60)
    with pytest.raises(InputError, match=r"a\.mp4"):
        source_frames.read([picture, talk], 2, None, made.EYES)
    found = source_frames.read([talk], 5, None, made.EYES)
    assert found.crops.shape == (5, 64, 64, 3)
    assert found.points.shape == (5, 68, 2)


def test_a_source_video_that_takes_too_long_to_read_is_refused_with_the_way_out(tmp_path, monkeypatch):
    def slow(*_):
        raise RejectedItem("timeout", "reading it took more than 60 s of processor time")

    monkeypatch.setattr(source_frames.extract, "read", slow)
    with pytest.raises(InputError, match=r"a\.mp4: .*60 s"):
        source_frames.read([made.talk(tmp_path / "a.mp4", 5)], 2, None, made.EYES)


def test_a_cartoon_is_refused_in_a_sentence(tmp_path):
    from model.backbones import face_detection, landmark_detection

    eyes = source_frames.Eyes(face_detection.Detector().detect, landmark_detection.landmarker("dlib68").predict,
                              made_clips.CONFIG)
    with pytest.raises(InputError, match=r"cartoon\.png"):
        source_frames.read([made.photo(tmp_path / "cartoon.png", made.cartoon())], 1, None, eyes)
