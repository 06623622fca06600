"""Facts about drawing, mirroring and storing the 68 points."""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import cv2
import made_faces
import made_params
import numpy as np
import pandas as pd
import pytest
from made_faces import face
from made_params import published

from pipeline.core import stage
from pipeline.core.errors import InputError
from pipeline.core.manifest import read_manifest, write_manifest
from pipeline.landmarks import detect_landmarks
from pipeline.landmarks.landmark_image import FLIP, draw, mirror
from pipeline.media import video
from stages import landmarks as landmarks_stage


@pytest.mark.parametrize("size", [64, 128, 256])
@pytest.mark.parametrize("point, colour", [
    (0, (255, 255, 255)), (8, (255, 255, 255)), (19, (255, 0, 0)), (24, (0, 255, 0)), (28, (0, 0, 255)), (33, (0, 0, 255)),
    (37, (255, 0, 255)), (46, (0, 255, 255)), (48, (255, 255, 0)), (57, (255, 255, 0)), (62, (255, 255, 0))])
def test_each_part_has_its_colour_where_its_points_are(size: int, point: int, colour: tuple[int, int, int]) -> None:
    x, y = np.rint(face(size)[point]).astype(int)
    around = draw(face(size), size)[y - 1:y + 2, x - 1:x + 2].reshape(-1, 3).max(0).astype(int)
    assert (around[np.array(colour) == 255] > 100).all()
    assert (around[np.array(colour) == 0] < 10).all()


def test_the_left_eye_of_the_picture_lands_left_and_closed() -> None:
    image = draw(face(256), 256)
    magenta = (image[..., 0] > 200) & (image[..., 2] > 200) & (image[..., 1] < 50)
    assert np.flatnonzero(magenta.any(0)).max() < 128
    filled, _ = cv2.connectedComponents((~magenta).astype(np.uint8))
    assert filled == 3  # outside and inside: the ring is closed


def test_the_jaw_is_open_and_the_canvas_black() -> None:
    image = draw(face(256), 256)
    assert (image[20, :] == 0).all() and (image[115, 128 - 10:128 + 10, 0] == 0).all()
    assert np.unique(image.reshape(-1, 3).max(1))[0] == 0


@pytest.mark.parametrize("size", [64, 128, 224, 256, 512])
def test_lines_keep_their_share_of_the_picture(size: int) -> None:
    ink = draw(face(size), size).max(2).astype(float).mean() / 255
    assert ink == pytest.approx(draw(face(256), 256).max(2).astype(float).mean() / 255, rel=.12)


@pytest.mark.parametrize("size", [64, 256])
def test_a_point_half_a_pixel_away_moves_the_drawing_half_a_pixel(size: int) -> None:
    def middle(shift: float) -> float:
        image = draw(face(size) + np.array([shift, 0]), size).max(2).astype(float)
        return float((image * np.arange(size)).sum() / image.sum())

    assert middle(.5) - middle(0) == pytest.approx(.5, abs=.08)
    assert middle(0) == pytest.approx((size - 1) / 2, abs=.2)  # a symmetric face stands in the middle


@pytest.mark.parametrize("size", [64, 128, 256])
def test_the_mirrored_drawing_is_the_drawing_of_the_mirrored_points(size: int) -> None:
    marks = face(size) + np.random.default_rng(1).normal(0, size / 80, (68, 2))
    ours = draw(mirror(marks, size), size).astype(int)
    seen = draw(marks, size)[:, ::-1].astype(int)
    assert np.abs(ours.max(2) - seen.max(2)).max() <= 16
    red, green = (255, 0, 0), (0, 255, 0)  # the brow on the left of the picture stays red
    for image, left, right in ((ours, red, green), (seen, green, red)):
        for colour, half in ((left, image[:, :size // 2]), (right, image[:, size // 2:])):
            assert ((half == colour).all(2) if size > 64 else (half.argmax(2) == np.argmax(colour)) & (half.min(2) < 5)).any()


def test_mirroring_twice_changes_nothing_and_left_becomes_right() -> None:
    assert (FLIP[FLIP] == np.arange(68)).all()
    assert FLIP[[0, 17, 36, 48, 60, 27, 33]].tolist() == [16, 26, 45, 54, 64, 27, 33]
    marks = face(64)
    assert np.allclose(mirror(marks, 64), marks, atol=1e-6)  # this face is symmetric: FLIP pairs the right points
    aside = marks + np.array([1, 0])
    assert not np.allclose(mirror(aside, 64), aside)


def test_no_face_is_a_black_image() -> None:
    marks = face(64)
    marks[5] = np.nan
    assert not draw(marks, 64).any()


def test_points_far_outside_do_not_break_the_drawing() -> None:
    marks = face(64)
    marks[8] = [1e9, -1e9]
    assert draw(marks, 64).any()


def test_other_shapes_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"\(68, 2\).*\(51, 2\)"):
        draw(np.zeros((51, 2)), 64)


def test_an_open_mouth_is_seen_at_64_pixels() -> None:
    closed = face(64)
    closed[60:68, 1] = closed[60:68, 1].mean()
    assert np.abs(draw(face(64), 64).astype(int) - draw(closed, 64)).max() > 60


def test_points_are_stored_by_shard_in_the_order_of_the_index(tmp_path: Path) -> None:
    root = made_faces.write(tmp_path)
    index = pd.read_parquet(root / "frames/index.parquet")
    shards = [np.load(path) for path in sorted((root / "landmarks").glob("*.npy"))]
    assert [len(shard) for shard in shards] == index.groupby("shard").size().tolist()
    ledger = pd.read_parquet(root / "landmarks/ledger.parquet")
    missing = np.isnan(np.concatenate(shards)).any((1, 2))
    assert ((ledger["status"] == "no-face") == missing).all() and missing.sum() == 6


def test_finding_hands_each_frame_and_its_face_box_to_the_detector(tmp_path: Path) -> None:
    root = made_faces.write(tmp_path)
    index = pd.read_parquet(root / "frames/index.parquet")

    def predict(images: Sequence[np.ndarray], boxes: np.ndarray) -> np.ndarray:
        assert boxes.tolist() == [[0, 0, 0, 0]] * len(images)
        rows = np.array([int(image[0, 0, 0]) for image in images])
        return np.where(rows % 3 == 0, np.nan, rows)[:, None, None] * np.ones((68, 2), np.float32)

    plan = detect_landmarks.plan(index)
    items = [item for shard in range(len(plan.sizes)) for item in plan.items(shard)]
    assert sum(plan.sizes) == len(items) and [item[3] - item[2] for item in items] == [8, 8, 4, 4, 8, 8, 8]
    made = np.concatenate([detect_landmarks.find(item, root / "frames", predict)["points"] for item in items])
    rows = np.arange(len(index))
    assert np.isnan(made[rows % 3 == 0]).all() and (made[rows % 3 > 0, 0, 0] == rows[rows % 3 > 0]).all()


def test_a_renderers_points_land_where_the_crop_puts_them(tmp_path: Path) -> None:
    index = pd.DataFrame([{"person": "a", "video": "v", "frame": 3, "x0": 10., "y0": -6., "x1": 42., "y1": 26.}])
    (tmp_path / "a").mkdir()
    whole = np.zeros((5, 68, 2), np.float32)
    whole[3] = [25.5, 9.5]  # the middle of the box
    np.save(tmp_path / "a/v.points.npy", whole)
    truth = detect_landmarks.oracle(index, tmp_path, 64)
    assert truth is not None and np.allclose(truth, 31.5)
    assert detect_landmarks.oracle(index.assign(person="b"), tmp_path, 64) is None


def test_the_error_is_in_distances_of_the_outer_eye_corners() -> None:
    truth = np.stack([face(64)] * 3)
    moved = truth + np.array([0, .1 * (truth[0, 45, 0] - truth[0, 36, 0])])
    moved[:, :17] = truth[:, :17]
    moved[2] = np.nan
    parts = [detect_landmarks.error(moved[part], truth[part]) for part in (slice(0, 1), slice(1, 3))]
    error = detect_landmarks.mean([part for part in parts if part])
    assert error == {"all": pytest.approx(.1 * 51 / 68, abs=1e-6), "inner": pytest.approx(.1, abs=1e-6), "n": 2}


def test_real_points_land_on_the_face(shared_data: Path) -> None:
    faces = pytest.importorskip("model.backbones.face_detection", reason="the face networks are not there")
    landmark_detection = pytest.importorskip("model.backbones.landmark_detection")
    path = shared_data / "clips/registry/single_face.mp4"
    limits = video.Limits(seconds=20, memory=2048, pixels=10**7, frames=1000)
    image = video.decode(path, [10], limits, 640).images[0]
    box = faces.Detector().detect(image[None])[0][0, :4]
    marks = landmark_detection.landmarker("dlib68").predict([image], box[None])[0]
    assert marks.shape == (68, 2) and marks[36, 0] < marks[45, 0] and marks[27, 1] < marks[8, 1]
    inside = (marks[17:] > box[:2]).all(1) & (marks[17:] < box[2:]).all(1)
    assert inside.mean() > .9


@pytest.fixture
def begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, list[str]]:
    """A small data set, and the landmarks stage in this process: it finds what `turns` says, clip by clip."""
    root = made_faces.write(tmp_path / "data/tiny")
    shutil.rmtree(root / "landmarks")
    (root / "videos").mkdir()
    write_manifest(root / "videos", "videos", {})
    turns: list[str] = []

    def landmarker(name: str) -> SimpleNamespace:
        files = turns.pop(0) if turns else name
        return SimpleNamespace(sha256={files: "0" * 64}, predict=lambda images, boxes: np.stack([face(64)] * len(images)))

    monkeypatch.setattr(landmarks_stage, "_landmarker", landmarker)
    monkeypatch.setattr(stage, "ROOT", tmp_path)
    monkeypatch.setattr(stage, "die_with_parent", lambda parent: None)
    engine = {"kind": "local", "workers": 1, "slurm": {}}
    tiny = published("ci")["data"] | {"engine": engine, "landmarks": {"detector": "dlib68"}}
    made_params.write(tmp_path, {}, tiny={"data": tiny})
    words = ["--dataset", "tiny", "--params", str(tmp_path / "params.yaml"), "--videos", str(root / "videos"), "--frames",
             str(root / "frames"), "--out", str(root / "landmarks")]
    monkeypatch.setattr(sys, "argv", ["landmarks", *words])
    return root / "landmarks", turns


def test_the_manifest_names_the_one_detector_and_its_files(begun) -> None:
    landmarks_stage.main()
    assert read_manifest(begun[0])["detector"] == {"name": "dlib68", "sha256": {"dlib68": "0" * 64}}


def test_points_of_two_detectors_are_never_in_one_data_set(begun) -> None:
    out, turns = begun
    turns += ["dlib68", "fan"]
    with pytest.raises(InputError, match=r"dlib68.*landmarks"):
        landmarks_stage.main()
    assert not out.exists()


def test_landmarks_of_another_stage_are_not_taken_for_ours(tmp_path: Path) -> None:
    root = made_faces.write(tmp_path)
    with pytest.raises(InputError, match=r"landmarks.*frames"):
        read_manifest(root / "landmarks", "frames")
