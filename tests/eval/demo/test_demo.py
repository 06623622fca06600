"""The page of `make demo`: from trained models to what a browser shows at each place of the sliders."""

import base64
import re
import shutil
import subprocess
import sys
from io import BytesIO
from types import SimpleNamespace

import made_faces
import made_params
import numpy as np
import pandas as pd
import pytest
import torch
from made_params import published
from PIL import Image
from small import FT_ONLY, NETWORKS, SETTINGS, Eyes

from eval import generation
from eval.demo import demo_page, pose_grid
from pipeline.core import stage as core_stage
from pipeline.core.errors import InputError
from pipeline.sources import sample
from stages import demo, train

S, M, Y = 16, 5, 9
GREY = np.full((M, Y, S, S, 3), 90, np.uint8)
CHROMIUM = shutil.which("chromium")


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A made data set, FF and FT trained on it for two steps."""
    monkeypatch.setattr("model.backbones.perceptual.efflite0", Eyes)
    monkeypatch.setattr(core_stage, "ROOT", tmp_path)
    monkeypatch.setattr(core_stage, "die_with_parent", lambda _: None)
    threads = torch.get_num_threads()
    made_faces.write(tmp_path / "data" / "made", people=4, tested=2)
    ff = {**SETTINGS, "steps": 2, "batch": 2, "K": 2, "networks": NETWORKS,
          "augment": {"flip": True, "gain": 0.1, "hue": 0.0, "stretch": 0.0}}
    made_params.write(tmp_path, {"methods": ["ff"], "shots": [1, 4, 32], "train": {"readers": 2}, "cross": {"frames": 2}},
                      made={"data": published("folder")["data"], "learn": {"ff": ff, "ft": {**ff, **FT_ONLY}}})
    yield tmp_path
    torch.set_num_threads(threads)
    generation.opened.cache_clear()


def call(stage, root, *more):
    sys.argv = ["stage", "--dataset", "made", "--params", str(root / "params.yaml"), *more]
    stage.main()


def sprites(html):
    """Name -> picture, as the page holds them."""
    found = dict(re.findall(r'"([a-z0-9-]+)": "data:image/webp;base64,([^"]+)"', html))
    return {name: Image.open(BytesIO(base64.b64decode(data))) for name, data in found.items()}


def test_the_trained_models_draw_a_page_that_loads_nothing_and_marks_what_is_synthetic(root, capsys):
    data = [word for name in ("frames", "landmarks", "split") for word in (f"--{name}", str(root / "data/made" / name))]
    where = ("--data", str(root / "data"), "--models", str(root / "models"), "--out", str(root / "demo"))
    with pytest.raises(InputError, match=r"models/made/ff.*make repro"):
        call(demo, root, *where)
    for method in ("ff", "ft"):
        call(train, root, *data, "--method", method, "--out", str(root / "models/made" / method))
    call(demo, root, *where)
    assert "demo/index.html: 0." in capsys.readouterr().out
    html = (root / "demo/index.html").read_text()
    bare = re.sub(r"data:image/webp;base64,[^\"]+", "data:", html)
    assert not re.search(r"https?:|src=[^\"]|src=\"(?!data:)|@import|<link|fetch\(|XMLHttp", bare)
    found = sprites(html)
    assert set(found) == {"pose", "truth", "ff-1", "ff-4", "ft-1", "ft-4"}  # T = 32: there are no 32 photos
    assert {picture.size for picture in found.values()} == {(Y * S, M * S)}
    marked = {name for name, picture in found.items() if b"synthetic: true" in picture.info.get("xmp", b"")}
    assert marked == set(found) - {"truth"}  # these people's frames were not drawn by a network
    assert np.abs(np.asarray(found["ff-4"], int) - np.asarray(found["ft-4"], int)).max() > 10
    with pytest.raises(InputError, match=r"'nobody'.*\bp\d"):
        call(demo, root, *where, "--person", "nobody")


def test_a_sprite_holds_mouths_in_rows_and_yaws_in_columns():
    cells = GREY.copy()
    cells[3, 7] = (250, 10, 10)
    data = base64.b64decode(demo_page.sprite(cells, exact=True).partition(",")[2])
    picture = np.asarray(Image.open(BytesIO(data)).convert("RGB"))
    red = np.argwhere(picture[..., 0] > 200)
    assert red.min(0).tolist() == [3 * S, 7 * S] and red.max(0).tolist() == [4 * S - 1, 8 * S - 1]


def test_seconds_are_said_in_a_unit_that_fits():
    assert [demo_page.spoken(value) for value in (.0123, .9994, 1.04, 99.9, 99.96, 600)] == [
        "12 ms", "999 ms", "1.0 s", "99.9 s", "1.7 min", "10.0 min"]


@pytest.mark.skipif(not CHROMIUM, reason="Chromium is not installed")
def test_the_sliders_show_their_own_cell_of_their_own_sprite(tmp_path):
    def seen(place):
        """Which of the planted colours the browser shows at a place of the sliders."""
        command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
                   f"--user-data-dir={tmp_path / place}", "--window-size=900,600", f"--screenshot={tmp_path / place}.png",
                   f"{(tmp_path / 'index.html').as_uri()}#{place}"]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        picture = np.asarray(Image.open(tmp_path / f"{place}.png").convert("RGB"), int)
        return {name for name, colour in planted.items() if (np.abs(picture - colour).max(-1) < 30).sum() > 2000}

    planted = {"truth": (250, 0, 0), "ff-8": (0, 250, 0), "ft-8": (0, 0, 250), "ft-32": (250, 0, 250)}
    cells = {name: GREY.copy() for name in planted}
    for name, colour in planted.items():
        cells[name][3, 7] = colour
    learnt = {method: {T: demo_page.Learnt(cells.get(f"{method}-{T}", GREY), .5, np.zeros((M, Y))) for T in (1, 8, 32)}
              for method in ("ff", "ft")}
    grid = pose_grid.Grid(np.zeros((M, Y, 68, 2)), cells["truth"], ["y"] * Y, ["m"] * M, "made", True)
    demo_page.write(tmp_path, demo_page.Demo("p0", "made", "", grid, GREY, GREY[0, :4], learnt))
    assert seen("yaw=7&mouth=3&T=8") == {"truth", "ff-8", "ft-8"}
    assert seen("yaw=7&mouth=3&T=32") == {"truth", "ft-32"}
    assert seen("yaw=6&mouth=3&T=8") == seen("yaw=7&mouth=2&T=8") == set()


def test_a_rendered_person_turns_and_opens_the_mouth_as_the_sliders_say_in_the_framing_of_the_video(tmp_path):
    config = sample.Config(seed=0, identities=3, videos=1, frames=4, seconds=2.0, test_people=1, test_frames=6, pixels=64,
                           supersample=1)
    sample.fetch(config, "p002", tmp_path)
    true = np.load(tmp_path / "p002/v0.points.npy")
    box, size = np.array([8., 8., 56., 56.]), 32
    detected = (true + .5 - box[:2]) * size / 48 - .5 + (1.5, 0)  # by a detector that puts all points to the right
    faces = SimpleNamespace(size=size, stored=48, points=lambda rows: detected[rows])
    rows = pd.DataFrame({"frame": range(6), **dict(zip(("x0", "y0", "x1", "y1"), box))})
    subject = SimpleNamespace(person="p002", video="p002/v0", sources=[0, 1, 2, 3], holdout=[4, 5])
    grid = pose_grid.rendered(config, faces, subject, rows.iloc[subject.sources], (2, 3), tmp_path)
    found = grid.points.reshape(-1, 68, 2)
    turned, opened = pose_grid.turn(found).reshape(2, 3), pose_grid.opening(found)
    assert (np.diff(turned, axis=1) > .15).all() and np.abs(turned[:, 1]).max() < .15
    assert (opened.reshape(2, 3)[1] - opened.reshape(2, 3)[0] > .1).all()
    assert np.abs(grid.points[0, 1].mean(0) - detected.mean((0, 1))).max() < 3  # where the detector would have put them
    assert grid.truth.shape == (2, 3, size, size, 3) and grid.rendered
    assert grid.yaws == ["28° to the left", "to the camera", "28° to the right"] and grid.mouths == ["closed", "100% open"]


def test_of_other_people_the_hold_out_frame_nearest_in_yaw_and_mouth_stands_in_each_cell():
    def posed(turn, gap):
        points = made_faces.face(64.)
        points[30, 0] = (points[0, 0] + points[16, 0]) / 2 + turn * (points[16, 0] - points[0, 0]) / 2
        points[66, 1] = points[62, 1] + gap * np.linalg.norm(points[45] - points[36])
        return points

    places = [(turn, gap) for gap in (0, .2, .4) for turn in (-.4, -.2, 0, .2, .4)]
    given = np.concatenate([np.arange(len(places)), np.random.default_rng(0).permutation(len(places))])
    points = np.array([posed(*places[k]) for k in given], np.float32)
    pictures = np.repeat(given, S * S * 3).reshape(-1, S, S, 3).astype(np.uint8)  # a frame is as bright as its place,
    pictures[:15] = 255  # but for those learnt from
    faces = SimpleNamespace(points=lambda rows: points[rows], raw=lambda row: pictures[row])
    subject = SimpleNamespace(sources=list(range(15)), holdout=list(range(15, 30)))
    grid = pose_grid.nearest(faces, subject, (3, 5))
    assert grid.truth[:, :, 0, 0, 0].tolist() == np.arange(15).reshape(3, 5).tolist() and not grid.rendered
