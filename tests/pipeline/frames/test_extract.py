"""Choosing pictures and crops: every fault is a row with a status, and the good video beside it is processed."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import made_clips as clips
import numpy as np
import pandas as pd
import pytest
from made_clips import CONFIG, talking

from pipeline.core import image_ops
from pipeline.core.errors import InputError
from pipeline.core.ledger import STATUSES
from pipeline.core.shards import ShardReader
from pipeline.frames import crops, extract
from pipeline.frames.clips import Shelves

ROOT = Path(__file__).resolve().parents[3]
FSTH = crops.stored("fsth")


ANY = None  # a reason without numbers


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


@pytest.mark.parametrize("name, status, numbers", [  # numbers: those that its reason states
    ("good", "ok", ""),
    ("empty_room", "no-face", "8"),
    ("two", "multi-face", "8 8"),
    ("leaves", "face-leaves", "2 8 4"),
    ("wanders", "ok", "6 8"),
    ("far", "too-small", "13 20"),
    ("one", "too-short", "1 4"),
    ("sound", "no-stream", ANY),
    ("cut", "corrupt", ANY),
    ("cut_late", "ok", ANY),
    ("zero", "empty", ANY),
    ("noise", "corrupt", ANY),
    ("phone", "ok", ""),
    ("vfr", "ok", ""),
])
def test_each_fault_is_a_row_with_a_reason_and_stops_nothing(done, name: str, status: str, numbers: str | None) -> None:
    row = done[3].loc[f"a/{name}"]
    assert row["status"] == status and status in STATUSES
    assert bool(row["reason"]) == (numbers != "")
    assert not numbers or re.findall(r"\d+", row["reason"])[:len(numbers.split())] == numbers.split()
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
from pipeline.core import stage
from pipeline.frames import clips
stage.ROOT = Path({str(tmp_path)!r})
items = {items!r}
with stage.run("frames", out=Path({str(tmp_path / 'out')!r}), inputs={{}}, config="c") as job:
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
    with pytest.raises(InputError, match="a/zero"):
        run(tmp_path, tmp_path / "out", [("a", "zero", "a/zero.mp4", "")], 1)


def test_a_passing_second_face_costs_its_pictures_only() -> None:
    face, far = np.array([40., 40, 80, 80]), np.full(4, np.nan)
    found = [(face, False)] * 18 + [(face, True)] + [(far, False)]
    choice = extract.choose(found, (120, 160), 1.0, CONFIG, FSTH)
    assert choice.keep.sum() == 18 and re.findall(r"\d+", choice.reason).count("1") >= 2
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


def test_real_clips_give_faces_of_voxceleb_width(shared_data: Path, tmp_path: Path) -> None:
    faces = pytest.importorskip("model.backbones.face_detection", reason="the face networks are not there")
    config = CONFIG.model_copy(update={"size": 128, "min_face": 30.0})
    clip = extract.read(shared_data / "clips/registry/single_face.mp4", config, faces.Detector().detect, None)
    width = (clip.faces[:, 2] - clip.faces[:, 0]) / 128
    assert len(clip.crops) == 8 and ((width > .42) & (width < .58)).all()
