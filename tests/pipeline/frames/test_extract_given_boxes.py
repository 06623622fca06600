"""Crops of clips whose faces' boxes are given, or that are crops of faces themselves."""

import re
from pathlib import Path

import made_clips as clips
import numpy as np
import pytest
from made_clips import CONFIG, talking

from pipeline.core import image_ops
from pipeline.frames import extract, tracks
from pipeline.frames.clips import Shelves
from pipeline.media import video
from pipeline.parallel.sharded_map import Record

GIVEN = CONFIG.model_copy(update={"faces": "given"})


def boxes(n: int, x: float = 80, step: float = .3) -> np.ndarray:
    """The boxes of the faces of `talking`, as a tracker would give them."""
    return np.array([[x + step * k - 20, 40, x + step * k + 20, 80] for k in range(n)], np.float32)


class Looks:
    """The discs' detector, counting how many pictures it sees."""

    def __init__(self) -> None:
        self.seen = 0

    def __call__(self, images: np.ndarray) -> list[np.ndarray]:
        self.seen += len(images)
        return clips.detect(images)


def given(root: Path, pictures: list[np.ndarray], table: np.ndarray | None, looks: Looks,
          config: extract.Config = GIVEN) -> Record:
    """The record of one clip with these boxes."""
    clips.write(root / "a.mp4", pictures)
    if table is not None:
        np.save(root / "a.npy", table)
    return extract.pack(("p", "v", "a.mp4", "" if table is None else "a.npy"), Shelves(root), config, looks)


def test_given_boxes_cost_no_look_at_the_pictures_and_give_the_crop_of_the_detector(tmp_path: Path) -> None:
    looks = Looks()
    record = given(tmp_path, talking(40), boxes(40), looks)
    assert looks.seen == 0 and str(record["status"]) == "ok" and str(record["reason"]) == ""
    plain = extract.pack(("p", "v", "a.mp4", "a.npy"), Shelves(tmp_path), CONFIG, looks)
    assert looks.seen == 8 and (record["numbers"] == plain["numbers"]).all()
    assert np.abs(record["box"] - plain["box"]).max() < 4 and np.abs(record["faces"] - plain["faces"]).max() < 2


def test_only_the_chosen_pictures_are_decoded(tmp_path: Path, monkeypatch) -> None:
    asked = []
    decode = video.decode
    monkeypatch.setattr(video, "decode", lambda path, numbers, *rest: asked.extend(numbers) or decode(path, numbers, *rest))
    given(tmp_path, talking(40), boxes(40), Looks())
    assert len(asked) == GIVEN.per_clip


def test_the_detector_sees_only_chosen_pictures_without_a_box(tmp_path: Path) -> None:
    table, looks = boxes(60, 70), Looks()
    table[20:40] = np.nan  # longer than a gap that is filled
    record = given(tmp_path, talking(60, 70), table, looks)
    chosen = [int(n) for n in record["numbers"]]
    assert len(chosen) == 8 and looks.seen == sum(20 <= n < 40 for n in chosen) > 0
    looks.seen = 0
    table[:] = boxes(60, 70)
    table[30:40] = np.nan
    assert len(given(tmp_path, talking(60, 70), table, looks)["numbers"]) == 8 and looks.seen == 0


def test_a_jump_of_the_given_box_is_a_cut_and_only_one_shot_is_used(tmp_path: Path) -> None:
    pictures = talking(26, 50, 0) + talking(14, 120, 0)
    table = np.concatenate([boxes(26, 50, 0), boxes(14, 120, 0)])
    record = given(tmp_path, pictures, table, Looks())
    assert str(record["status"]) == "ok" and record["numbers"].max() < 26 and len(record["numbers"]) == 8
    assert re.findall(r"\d+", str(record["reason"])) == ["26", "0", "25"]  # the jump, the first and last picture used
    flicker = np.concatenate([boxes(2, 50 + 70 * (k % 2), 0) for k in range(10)])
    record = given(tmp_path, talking(20), flicker, Looks())
    assert str(record["status"]) == "too-short" and re.findall(r"\d+", str(record["reason"]))[:2] == ["2", "4"]


@pytest.mark.parametrize("pictures, table, status, numbers", [
    ([clips.picture([])] * 20, np.full((20, 4), np.nan, np.float32), "no-face", ["8"]),
    (talking(20), np.tile(np.float32([70, 50, 84, 66]), (20, 1)), "too-small", ["14", "20"]),
    ([clips.picture([(50, 60, 20), (120, 60, 15)])] * 20, np.full((20, 4), np.nan, np.float32), "multi-face", ["8", "8"]),
    (talking(20), np.zeros((20, 5), np.float32), "corrupt", []),
    (talking(20), np.tile(np.float32([-28, 40, 12, 80]), (20, 1)), "face-leaves", ["0", "8", "4"]),
])
def test_statuses_keep_their_meaning_where_they_can_be_known(tmp_path: Path, pictures, table, status: str,
                                                              numbers: list[str]) -> None:
    record = given(tmp_path, pictures, table, Looks())
    assert str(record["status"]) == status
    assert re.findall(r"\d+", str(record["reason"]))[:len(numbers)] == numbers


def test_a_second_face_beside_a_given_one_is_not_looked_for(tmp_path: Path) -> None:
    pictures = [clips.picture([(50, 60, 20), (120, 60, 15)])] * 20
    record = given(tmp_path, pictures, boxes(20, 50, 0), Looks())
    assert str(record["status"]) == "ok" and len(record["numbers"]) == 8


def test_given_boxes_are_in_pixels_of_the_clip_also_when_it_is_scaled_down(tmp_path: Path) -> None:
    pictures = [clips.picture([(200, 120, 60)], width=400, height=300)] * 12
    table = np.tile(np.float32([140, 60, 260, 180]), (12, 1))
    record = given(tmp_path, pictures, table, Looks(), GIVEN.model_copy(update={"longest": 200}))
    assert str(record["status"]) == "ok" and np.allclose(record["box"], [80, 0, 320, 240], atol=1)


def test_a_clip_without_boxes_is_a_face_crop_and_is_stored_as_it_is(tmp_path: Path) -> None:
    pictures = [clips.picture([(112, 112, 56)], width=224, height=224, tone=60 + k) for k in range(12)]
    looks = Looks()
    record = given(tmp_path, pictures, None, looks, GIVEN.model_copy(update={"size": 224}))
    assert looks.seen == 0 and str(record["status"]) == "ok" and record["box"].tolist() == [0, 0, 224, 224]
    stored = image_ops.from_png(record["data"][:record["lengths"][0]].tobytes())
    assert (stored == video.decode(tmp_path / "a.mp4", record["numbers"][:1], GIVEN.limits, 1280).images[0]).all()
    assert (record["faces"][:, 2] - record["faces"][:, 0] == 112).all()


def test_a_tighter_crop_of_a_face_crop_stays_within_it(tmp_path: Path) -> None:
    pictures = [clips.picture([(112, 80, 56)], width=224, height=224, tone=60 + k) for k in range(12)]
    for name in ("fomm", "x2face", "vgg224"):
        box = given(tmp_path, pictures, None, Looks(), GIVEN.model_copy(update={"crop": name, "inside": .7}))["box"]
        assert box.min() > -3 and box.max() < 227, name  # x2face is 229 pixels wide there


def test_the_ledgers_boxes_are_not_read_where_faces_are_detected(tmp_path: Path) -> None:
    clips.write(tmp_path / "a.mp4", talking())
    record = extract.pack(("p", "v", "a.mp4", "not-there.npy"), Shelves(tmp_path), CONFIG, clips.detect)
    assert str(record["status"]) == "ok"


def test_in_real_face_crops_the_face_is_about_where_it_is_assumed(shared_data: Path) -> None:
    faces = pytest.importorskip("model.backbones.face_detection", reason="the face networks are not there")
    detector = faces.Detector()
    for path in sorted((shared_data / "clips/voxceleb2_style").glob("*.mp4")):
        config = GIVEN.model_copy(update={"size": 224, "per_clip": 4})
        clip = extract.read(path, config, Looks(), None)
        assert clip.box == (0, 0, 224, 224) and len(clip.crops) == 4
        for image, given in zip(clip.crops, clip.faces):
            seen = detector.detect(image[None])[0][:1, :4].astype(float)
            assert tracks._overlap(seen, given[None])[0] > .6
