"""Facts about crops: each preset is what its source says, nothing is squashed, and another crop comes out of a stored one."""

import re
import subprocess
import sys
from pathlib import Path

import made_clips as clips
import made_crops as made
import made_faces
import numpy as np
import pandas as pd
import pytest

from pipeline.core import image_ops
from pipeline.core.config import parse
from pipeline.core.errors import InputError
from pipeline.core.manifest import write_manifest
from pipeline.frames import crops, extract
from pipeline.landmarks import detect_landmarks

ROOT = Path(__file__).resolve().parents[3]
NAMES = list(crops.load())
BOXED = [name for name in NAMES if isinstance(crops.preset(name), crops.Boxed)]
BOX = np.array([[130., 80, 210, 180]])  # 80 wide, 100 high


def where(name: str, faces: np.ndarray = BOX, shape: tuple[int, ...] = (240, 320),
          marks: np.ndarray | None = None) -> crops.Frame:
    return crops.frame(crops.preset(name), faces, marks, shape)


@pytest.mark.parametrize("name", NAMES)
def test_each_preset_gives_its_golden_picture_of_a_drawn_person(name: str) -> None:
    golden = image_ops.from_png((made.GOLDEN / f"{name}.png").read_bytes())
    assert golden.shape == (made.SIZE, made.SIZE, 3)
    assert np.abs(made.crop(name, made.SIZE).astype(int) - golden).max() <= 1


def test_there_is_a_golden_picture_for_each_preset_and_they_differ() -> None:
    pictures = {path.stem: path.read_bytes() for path in made.GOLDEN.glob("*.png")}
    assert sorted(pictures) == sorted(NAMES) and len(set(pictures.values())) == len(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_circle_stays_a_circle(name: str) -> None:
    marks = made.points()
    image = clips.picture([(*marks[27:36].mean(0), 20)], width=320, height=240)
    frame = where(name, made.box()[None], image.shape, marks)
    crop = crops.cut(image, frame, 96).astype(int)
    red = (crop[..., 0] - crop[..., 1]) > 85
    assert red.sum() > 200 and abs(red.any(1).sum() - red.any(0).sum()) <= 1
    across = np.sqrt(red.sum() * 4 / np.pi)
    assert across == pytest.approx(41 / (frame.box[2] - frame.box[0]) * 96, rel=.03)  # OpenCV's disc is 41 pixels wide


@pytest.mark.parametrize("name, share", [("fsth", .5), ("fomm", 80 / 120), ("vgg224", 256 / 224 / 1.3), ("x2face", 80 / 140),
                                         ("vox1", 1 / 1.6), ("aspect", 80 / 120), ("padded", .5 * 224 / 256)])
def test_the_face_takes_the_share_of_the_width_that_the_preset_says(name: str, share: float) -> None:
    box = where(name).box
    assert 80 / (box[2] - box[0]) == pytest.approx(share, rel=2e-3)  # boxes are rounded to a tenth of a pixel
    assert box[2] - box[0] == pytest.approx(box[3] - box[1])


def test_fsth_is_the_still_square_with_the_face_at_half_its_width_to_the_last_bit() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        low = rng.uniform(0, 200, (9, 2))
        faces = np.concatenate([low, low + rng.uniform(20, 90, (9, 2))], 1)
        half = round(float(np.median(faces[:, 2] - faces[:, 0])) / .5 / 2, 1)
        centre = [round(float(value), 1) for value in np.median((faces[:, :2] + faces[:, 2:]) / 2, axis=0)]
        for axis, length in ((0, 320), (1, 240)):
            low_, high_ = min(half, length / 2), max(length - half, length / 2)
            move = np.clip(np.clip(centre[axis], low_, high_) - centre[axis], -.2 * half, .2 * half)
            centre[axis] = round(centre[axis] + float(move), 1)
        box = (centre[0] - half, centre[1] - half, centre[0] + half, centre[1] + half)
        assert where("fsth", faces).box == box and where("fsth", faces).shown == box


def test_fsth_shows_what_the_plain_crop_of_its_square_shows() -> None:
    image = made.person()
    for faces in (BOX, BOX - [110, 60, 110, 60]):
        frame = where("fsth", faces)
        assert (crops.cut(image, frame, 64) == image_ops.crop(image, frame.box, 64)).all()


def test_fomms_square_holds_all_boxes_of_the_clip_and_a_tenth_around() -> None:
    faces = np.array([[100., 60, 180, 160], [120, 70, 200, 170], [110, 50, 190, 150]])
    assert where("fomm", faces).box == (150 - 72, 110 - 72, 150 + 72, 110 + 72)  # joined: 100 wide, 120 high
    assert where("x2face", faces).box == pytest.approx((150 - 70, 110 - 70, 150 + 70, 110 + 70))  # of the median box


def test_aspect_shows_the_box_in_its_own_aspect_on_black() -> None:
    image = np.full((240, 320, 3), 200, np.uint8)
    crop = crops.cut(image, where("aspect"), 120)
    seen = (crop > 0).any(2)
    assert seen.any(1).sum() == 120 and seen.any(0).sum() == 96  # 80 x 100 times 1.2, on the same scale
    assert (crop[:, :12] == 0).all() and (crop[:, 12:108] == 200).all() and (crop[:, 108:] == 0).all()


def test_padded_is_fsth_at_224_in_the_middle_of_256_black_pixels() -> None:
    image = made.person()
    padded = crops.cut(image, where("padded"), 256)
    for edge in (padded[:16], padded[-16:], padded[:, :16], padded[:, -16:]):
        assert (edge == 0).all()
    inner = crops.cut(image, where("fsth"), 224)
    assert np.abs(padded[16:-16, 16:-16].astype(int) - inner).mean() < .5


@pytest.mark.parametrize("name, black", [("fomm", False), ("x2face", False), ("vgg224", False), ("aspect", True),
                                         ("padded", True)])
def test_what_leaves_the_picture_is_padded_as_the_preset_says(name: str, black: bool) -> None:
    image = np.full((240, 320, 3), 200, np.uint8)
    image[:, 0] = 90
    crop = crops.cut(image, where(name, BOX - [150, 0, 150, 0]), 64)  # the face's box begins 20 pixels left of the picture
    left = crop[24:40, 10]
    assert (left == (0 if black else 90)).all()


def test_ffhq_levels_the_eyes_and_puts_them_where_its_source_does() -> None:
    frame = where("ffhq", marks=made.points())
    assert frame.angle == pytest.approx(made.TILT, abs=1e-6)
    inside = crops.to_crop(made.points(), frame, 1024)
    left, right, mouth = inside[36:42].mean(0), inside[42:48].mean(0), (inside[48] + inside[54]) / 2
    assert left[1] == pytest.approx(right[1], abs=1e-6)
    eyes, down = right[0] - left[0], mouth[1] - left[1]
    assert max(2 * eyes, 1.8 * down) == pytest.approx(512)  # half of the side
    assert (left + right) / 2 + .1 * (mouth - (left + right) / 2) == pytest.approx([511.5, 511.5])


def test_points_go_where_the_picture_goes_also_when_turned() -> None:
    spot = np.array([150.0, 100.0])
    frame = where("ffhq", marks=made.points())
    crop = crops.cut(clips.picture([(*spot, 5)], width=320, height=240), frame, 128)
    weight = np.clip(crop[..., 0].astype(float) - crop[..., 1], 0, None)
    seen = [(weight * np.arange(128)).sum() / weight.sum(), (weight * np.arange(128)[:, None]).sum() / weight.sum()]
    assert crops.to_crop(spot, frame, 128) == pytest.approx(seen, abs=.3)
    level = where("fsth")
    assert crops.to_crop(spot, level, 64) == pytest.approx(image_ops.to_crop(spot, level.box, 64))


@pytest.mark.parametrize("name", NAMES)
def test_a_crop_out_of_a_stored_one_is_the_crop_out_of_the_video(name: str) -> None:
    image, marks, face = made.person(), made.points(), made.box()
    frame = where("fsth", face[None])
    stored = crops.cut(image, frame, 256)
    inside = (face.reshape(2, 2) - frame.box[:2]) * 256 / (frame.box[2] - frame.box[0])
    again = crops.recrop(stored, inside.ravel(), crops.to_crop(marks, frame, 256), crops.preset(name), 64)
    direct = crops.cut(image, where(name, face[None], image.shape, marks), 64)
    assert np.abs(again.astype(int) - direct).mean() < 1.5


def test_a_crop_that_the_stored_one_has_no_room_for_is_refused() -> None:
    tight = np.zeros((100, 100, 3), np.uint8)
    with pytest.raises(InputError, match=r"\d\d% of this crop lies outside"):
        crops.recrop(tight, np.array([20., 10, 80, 90]), None, crops.preset("fsth"), 64)
    with pytest.raises(InputError, match="needs all 68 landmarks"):
        crops.recrop(tight, np.array([20., 10, 80, 90]), None, crops.preset("ffhq"), 64)


@pytest.mark.parametrize("box, share", [((-50., 0, 50, 100), .5), ((0., 0, 100, 100), 0), ((-100., -100, 0, 0), 1)])
def test_how_much_of_a_crop_lies_outside_is_its_area(box: crops.Box, share: float) -> None:
    assert crops.outside(crops.Frame(box, 0.0, box, False), (100, 100)) == pytest.approx(share, abs=.01)


def test_every_preset_names_its_source_and_which_numbers_it_states() -> None:
    for name, preset in crops.load().items():
        assert preset.source and preset.stated and set(preset.stated) <= set(type(preset).model_fields), name


def test_the_documentation_has_a_row_for_each_preset_with_its_numbers() -> None:
    text = (ROOT / "docs/crops.md").read_text()
    for name, preset in crops.load().items():
        row = re.search(rf"^\| `{name}` \|.*$", text, re.M)
        assert row, f"docs/crops.md has no row for {name}"
        numbers = [preset.times] if isinstance(preset, crops.Boxed) else [preset.eyes, preset.mouth, preset.down]
        assert all(f"{number:.4g}" in row[0] for number in [*numbers, preset.size]), name
    assert made.STRIP.stat().st_size <= 100_000 and "crops.png" in text


@pytest.mark.parametrize("crop, words", [("fsht", "did you mean 'fsth'"), ("ffhq", "needs landmarks.*store fsth and cut ffhq")])
def test_a_crop_that_cannot_be_stored_is_refused_before_anything_runs(crop: str, words: str) -> None:
    with pytest.raises(InputError, match=rf"data.x.frames.crop: found '{crop}'.*{words}"):
        parse(extract.Config, clips.CONFIG.model_dump() | {"crop": crop}, "data.x.frames")


def test_frames_can_be_stored_in_each_preset_that_needs_no_landmarks(tmp_path: Path) -> None:
    path = clips.write(tmp_path / "a.mp4", [clips.picture([(80 + k, 60, 15)]) for k in range(9)])
    for name in BOXED:
        config = clips.CONFIG.model_copy(update={"crop": name, "inside": .5})
        clip = extract.read(path, config, clips.detect, None)
        seen = clips.detect(np.stack(clip.crops))
        assert len(clip.crops) == 8
        for face, boxes in zip(clip.faces, seen):
            assert np.abs(boxes[0][:4] - face).max() < 3.5, name


def test_the_command_shows_stored_frames_and_crops_of_them_side_by_side(tmp_path: Path) -> None:
    root = made_faces.write(tmp_path / "data")  # 6 clips
    index = pd.read_parquet(root / "frames/index.parquet")
    index[detect_landmarks.FACE] = [16.0, 12, 48, 52]
    index.to_parquet(root / "frames/index.parquet", index=False)
    write_manifest(root / "frames", "frames", {"size": 64})
    (root / "takedown.txt").write_text("p0\np1/v0\n")
    command = [sys.executable, "-m", "stages.crops", "--frames", str(root / "frames"), "--out", str(tmp_path / "out")]
    done = subprocess.run([*command, "--preset", "fomm", "ffhq", "--landmarks", str(root / "landmarks")], cwd=ROOT,
                          capture_output=True, text=True)
    assert done.returncode == 0 and "3 clips, 2 crops of each" in done.stdout, done.stderr
    sheet = image_ops.from_png((tmp_path / "out/crops.png").read_bytes())
    assert sheet.shape == (3 * 146, 3 * 132, 3)
    wrong = subprocess.run([*command, "--preset", "fom"], cwd=ROOT, capture_output=True, text=True)
    assert wrong.returncode == 1 and wrong.stderr == "error: crops.yaml: no entry 'fom'; did you mean 'fomm'?\n"
