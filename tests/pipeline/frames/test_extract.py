"""Facts about choosing pictures and crops: every fault is a row with a reason, and the good video beside it is processed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import made_clips as clips
import numpy as np
import pandas as pd
import pytest
from made_clips import CONFIG

from pipeline.core import image_ops
from pipeline.core.errors import InputError
from pipeline.core.ledger import STATUSES
from pipeline.core.shards import ShardReader
from pipeline.frames import crops, extract, tracks
from pipeline.frames.clips import Shelves
from pipeline.media import video
from pipeline.parallel.sharded_map import Record

ROOT = Path(__file__).resolve().parents[3]
FSTH = crops.stored("fsth")


def talking(n: int = 20, x: float = 80, step: float = .3) -> list[np.ndarray]:
    return [clips.picture([(x + step * k, 60, 20)], tone=40 + 3 * (k % 40)) for k in range(n)]


def made(root: Path) -> list[extract.Item]:
    """A folder with one good video and one of each fault."""
    good = clips.write(root / "a/good.mp4", talking())
    clips.write(root / "a/empty_room.mp4", [clips.picture([])] * 12)
    clips.write(root / "a/two.mp4", [clips.picture([(50, 60, 20), (120, 60, 15)])] * 12)
    clips.write(root / "a/leaves.mp4", [clips.picture([(80, 60, 20)] if k < 5 else []) for k in range(20)])
    clips.write(root / "a/wanders.mp4", [clips.picture([(80 if k < 14 else 140, 60, 12)]) for k in range(20)])
    clips.write(root / "a/far.mp4", [clips.picture([(80, 60, 6)])] * 12)
    clips.write(root / "a/one.mp4", talking(1))
    clips.sound(root / "a/sound.m4a")
    clips.cut(good, root / "a/cut.mp4", .6)  # its table of contents stood at the end
    long = clips.write(root / "a/whole.mkv", talking(60, 70))
    clips.cut(long, root / "a/cut_late.mkv", .6)
    (root / "a/zero.mp4").touch()
    (root / "a/noise.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    side = [np.rot90(clips.picture([(60, 70, 20)], width=120, height=160), 1).copy()] * 12
    clips.write(root / "a/phone.mp4", side, rotation=-90)
    ticks = [*range(0, 400, 20), *range(400, 4000, 300)]
    clips.write(root / "a/vfr.mkv", talking(len(ticks)), ticks=ticks)
    return sorted(("a", path.stem, f"a/{path.name}", "") for path in (root / "a").iterdir())


def run(root: Path, out: Path, items: list[extract.Item], workers: int) -> pd.DataFrame:
    return clips.publish(out, out.with_suffix(".work"), items, Shelves(root), workers).set_index("id")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, list[extract.Item], pd.DataFrame]:
    root = tmp_path_factory.mktemp("clips")
    items = made(root)
    out = root / "one"
    return root, out, items, run(root, out, items, 1)


@pytest.mark.parametrize("name, status, words", [
    ("good", "ok", ""),
    ("empty_room", "no-face", "no face in any of 8"),
    ("two", "multi-face", "a second face in 8 of 8"),
    ("leaves", "face-leaves", "in 2 of 8 frames, 4 needed"),
    ("wanders", "ok", "6 of 8 frames kept"),
    ("far", "too-small", "13 pixels wide, 20 needed"),
    ("one", "too-short", "1 frame, 4 needed"),
    ("sound", "no-stream", "no video stream"),
    ("cut", "corrupt", "not a readable video"),
    ("cut_late", "ok", "the file ends after"),
    ("zero", "empty", "no bytes"),
    ("noise", "corrupt", "not a readable video"),
    ("phone", "ok", ""),
    ("vfr", "ok", ""),
])
def test_each_fault_is_a_row_with_a_reason_and_stops_nothing(done, name: str, status: str, words: str) -> None:
    row = done[3].loc[f"a/{name}"]
    assert row["status"] == status and status in STATUSES
    assert words in row["reason"] and bool(row["reason"]) == bool(words)
    assert (row["frames"] >= CONFIG.least) == (status == "ok")


def test_the_index_leads_to_the_pictures_and_is_sorted(done) -> None:
    _, out, _, ledger = done
    index = pd.read_parquet(out / "index.parquet")
    assert {name: str(kind) for name, kind in index.dtypes.items()} == extract.INDEX
    assert index.equals(index.sort_values(["person", "video", "frame"], ignore_index=True))
    assert len(index) == ledger["frames"].sum()
    reader = ShardReader(out)
    for row in index.to_dict("records"):
        image = image_ops.from_png(reader.read(row["shard"], row["offset"], row["length"], row["crc"]))
        assert image.shape == (64, 64, 3)
        face = clips.detect(image[None])[0][0][:4]
        assert np.allclose(face, [row["face_x0"], row["face_y0"], row["face_x1"], row["face_y1"]], atol=2)
        assert row["x1"] - row["x0"] == pytest.approx(row["y1"] - row["y0"])


def test_one_still_box_a_clip_with_the_face_at_half_its_width(done) -> None:
    index = pd.read_parquet(done[1] / "index.parquet")
    assert (index.groupby("clip")[["x0", "y0", "x1", "y1"]].nunique() == 1).all(axis=None)
    good = index[index["clip"] == "a/good"]
    assert np.allclose((good["face_x1"] - good["face_x0"]) / 64, .5, atol=.04)
    assert good["x1"].iloc[0] - good["x0"].iloc[0] == pytest.approx(82, abs=4)


def test_two_workers_give_the_same_bytes_as_one(done) -> None:
    root, out, items, _ = done
    run(root, root / "two", items, 2)
    names = sorted(path.name for path in out.iterdir())
    assert names == sorted(path.name for path in (root / "two").iterdir())
    for name in names:
        assert (out / name).read_bytes() == (root / "two" / name).read_bytes(), name


def test_a_stage_killed_on_the_way_ends_with_the_same_bytes(done, tmp_path: Path) -> None:
    root, out, items, _ = done
    code = f"""
import sys
from pathlib import Path
import made_clips
from pipeline import clips, run
run.ROOT = Path({str(tmp_path)!r})
items = {items!r}
with run.stage("frames", out=Path({str(tmp_path / 'out')!r}), inputs={{}}, config="c") as job:
    print(sum(path.stat().st_size > 200 for path in job.shelf.glob("*.journal")), flush=True)
    made_clips.publish(job.out, job.shelf, items, clips.Shelves(Path({str(root)!r})), find=made_clips.detect_slowly)
    job.publish("frames", {{}})
"""
    env = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "SLOW": "30"}
    slow = subprocess.Popen([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE)
    deadline = time.monotonic() + 60  # the first clip with pictures (cut_late) waits in the detector; one before it is done
    while not any(path.stat().st_size > 200 for path in (tmp_path / "work").rglob("*.journal")) and time.monotonic() < deadline:
        time.sleep(.05)
    slow.send_signal(signal.SIGKILL)
    slow.wait()
    assert not (tmp_path / "out").exists()
    again = subprocess.run([sys.executable, "-c", code], env=env | {"SLOW": "0"}, capture_output=True, text=True, check=True)
    assert int(again.stdout) >= 1  # went on from what was done
    for path in out.iterdir():
        assert path.read_bytes() == (tmp_path / "out" / path.name).read_bytes(), path.name


def test_a_data_set_without_a_usable_video_is_refused_with_the_first_reason(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/zero.mp4").touch()
    with pytest.raises(InputError, match=r"none of 1 video is usable.*a/zero: the file has no bytes"):
        run(tmp_path, tmp_path / "out", [("a", "zero", "a/zero.mp4", "")], 1)


def test_a_passing_second_face_costs_its_pictures_only() -> None:
    face, far = np.array([40., 40, 80, 80]), np.full(4, np.nan)
    found = [(face, False)] * 18 + [(face, True)] + [(far, False)]
    choice = extract.choose(found, (120, 160), 1.0, CONFIG, FSTH)
    assert choice.keep.sum() == 18 and "no face in 1, a second face in 1" in choice.reason
    assert choice.frame.box == (20, 20, 100, 100)


@pytest.mark.parametrize("x, centre", [(80., 80.), (35., 40.), (20., 28.), (130., 122.)])
def test_the_crop_moves_a_little_rather_than_leave_the_picture(x: float, centre: float) -> None:
    face = np.array([x - 20, 40, x + 20, 80])  # the crop is 80 wide and may move 8
    box = extract.choose([(face, False)] * 8, (120, 160), 1.0, CONFIG.model_copy(update={"inside": .5}), FSTH).frame.box
    assert (box[0] + box[2]) / 2 == pytest.approx(centre) and box[2] - box[0] == 80


def test_a_crop_wider_than_the_picture_sticks_out_on_both_sides() -> None:
    face = np.array([35., 30, 95, 90])
    box = extract.choose([(face, False)] * 8, (110, 110), 1.0, CONFIG, FSTH).frame.box
    assert box == (-5, 0 - 5, 115, 115)


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
    assert "box jumps at frame 26: frames 0 to 25" in str(record["reason"])
    flicker = np.concatenate([boxes(2, 50 + 70 * (k % 2), 0) for k in range(10)])
    record = given(tmp_path, talking(20), flicker, Looks())
    assert str(record["status"]) == "too-short" and "2 frames, 4 needed (the given box jumps" in str(record["reason"])


@pytest.mark.parametrize("pictures, table, status, words", [
    ([clips.picture([])] * 20, np.full((20, 4), np.nan, np.float32), "no-face", "no face in any of 8"),
    (talking(20), np.tile(np.float32([70, 50, 84, 66]), (20, 1)), "too-small", "14 pixels wide, 20 needed"),
    ([clips.picture([(50, 60, 20), (120, 60, 15)])] * 20, np.full((20, 4), np.nan, np.float32), "multi-face", "in 8 of 8"),
    (talking(20), np.zeros((20, 5), np.float32), "corrupt", ".npy of float32 (n, 4)"),
    (talking(20), np.tile(np.float32([-28, 40, 12, 80]), (20, 1)), "face-leaves", "in 0 of 8 frames, 4 needed"),
])
def test_statuses_keep_their_meaning_where_they_can_be_known(tmp_path: Path, pictures, table, status: str, words: str) -> None:
    record = given(tmp_path, pictures, table, Looks())
    assert str(record["status"]) == status and words in str(record["reason"])


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


def test_real_clips_give_faces_of_voxceleb_width(shared_data: Path, tmp_path: Path) -> None:
    faces = pytest.importorskip("model.backbones.face_detection", reason="the face networks are not there")
    config = CONFIG.model_copy(update={"size": 128, "min_face": 30.0})
    clip = extract.read(shared_data / "clips/registry/single_face.mp4", config, faces.Detector().detect, None)
    width = (clip.faces[:, 2] - clip.faces[:, 0]) / 128
    assert len(clip.crops) == 8 and ((width > .42) & (width < .58)).all()


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
