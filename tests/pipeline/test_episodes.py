"""Facts about episodes: what training sees."""

import os
import resource
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import made_faces
import numpy as np
import pytest

from pipeline import episodes
from pipeline.core.errors import InputError
from pipeline.episodes import Augment, Faces, episode, videos
from pipeline.landmarks import landmark_image

OFF = Augment(flip=False, gain=0., hue=0., stretch=0.)


def load(root: Path, size: int = 64) -> Faces:
    return Faces(root / "frames", root / "landmarks", root / "split", size)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_faces.write(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def faces(root: Path) -> Faces:
    return load(root)


def rows(x: np.ndarray) -> np.ndarray:
    """The row that each frame shows, from its red channel."""
    return np.rint(x[..., 0, 0, 0] * 255).astype(int)


def test_shapes_types_and_ranges(faces: Faces) -> None:
    made = episode(faces, 3, slots=range(5), K=2, seed=0, augment=OFF)
    shapes = {name: (value.shape, str(value.dtype)) for name, value in made.items()}
    image = (3, 64, 64)
    assert shapes == {"x_t": ((5, *image), "float32"), "y_t": ((5, *image), "float32"), "x_s": ((5, 2, *image), "float32"),
                      "y_s": ((5, 2, *image), "float32"), "i": ((5,), "int64")}
    assert all(made[name].min() >= 0 and made[name].max() <= 1 for name in ("x_t", "y_t", "x_s", "y_s"))
    assert made["x_t"].max() > .5 and made["y_t"].max() > .9


def test_all_frames_of_an_episode_are_of_its_video_and_the_target_is_no_source(faces: Faces) -> None:
    for step in range(40):
        made = episode(faces, step, slots=range(4), K=3, seed=0, augment=OFF)
        for target, sources, i in zip(rows(made["x_t"]), rows(made["x_s"]), made["i"]):
            assert len({target, *sources}) == 4
            assert {target, *sources} <= set(faces.train_rows(i).tolist())


def test_frames_without_landmarks_are_never_sampled_and_all_others_are(faces: Faces) -> None:
    seen = set()
    for step in range(150):
        seen |= set(rows(episode(faces, step, slots=range(4), K=2, seed=1, augment=OFF)["x_t"]).tolist())
    assert seen == {int(row) for i in range(faces.num_videos) for row in faces.train_rows(i)}


def test_an_episode_depends_on_seed_step_and_slot_only(root: Path, faces: Faces) -> None:
    on = Augment(flip=True, gain=.2, hue=10., stretch=.1)
    one = episode(faces, 7, slots=range(6), K=2, seed=5, augment=on)
    fresh = episode(load(root), 7, slots=range(3), K=2, seed=5, augment=on)
    assert all((one[name][:3] == fresh[name]).all() for name in one)
    for step, seed in ((8, 5), (7, 6)):
        other = episode(faces, step, slots=range(6), K=2, seed=seed, augment=on)
        assert not np.array_equal(other["x_t"], one["x_t"])
    assert len({one["x_t"][slot].tobytes() for slot in range(6)}) == 6


def test_each_of_several_processes_and_threads_makes_its_slots_of_the_same_batch(root: Path, faces: Faces) -> None:
    given = {"K": 2, "seed": 5, "augment": Augment(flip=True, gain=.2, hue=10., stretch=.1)}
    whole = [episode(faces, step, slots=range(6), **given) for step in range(8)]
    for world in (2, 3):
        shares = [range(n * 6 // world, (n + 1) * 6 // world) for n in range(world)]
        parts = [episode(faces, 4, slots=slots, **given) for slots in shares]
        assert all(np.array_equal(np.concatenate([part[name] for part in parts]), whole[4][name]) for name in whole[4])
    fresh = load(root)
    with ThreadPoolExecutor(4) as pool:
        again = list(pool.map(lambda step: episode(fresh, step, slots=range(6), **given), range(8)))
    assert all(np.array_equal(one[name], two[name]) for one, two in zip(whole, again) for name in one)


def test_the_videos_of_a_batch_have_names_in_the_order_of_its_slots(faces: Faces) -> None:
    given = {"slots": range(12), "K": 2, "seed": 5, "augment": OFF.model_copy(update={"flip": True})}
    numbers, names = episode(faces, 7, **given)["i"].tolist(), videos(faces, 7, **given)
    n = faces.num_videos
    assert names == [faces.videos[i] if i < n else f"{faces.videos[i - n]} mirrored" for i in numbers]
    assert 0 < sum(name.endswith(" mirrored") for name in names) < 12


def test_a_mirrored_episode_is_a_new_video_with_mirrored_frames_and_landmarks(faces: Faces) -> None:
    plain = episode(faces, 0, slots=range(40), K=1, seed=0, augment=OFF)
    flipped = episode(faces, 0, slots=range(40), K=1, seed=0, augment=OFF.model_copy(update={"flip": True}))
    mirrored = flipped["i"] >= faces.num_videos
    assert 8 < mirrored.sum() < 32
    assert (flipped["i"] % faces.num_videos == plain["i"]).all()
    assert (flipped["x_t"][~mirrored] == plain["x_t"][~mirrored]).all()
    assert (flipped["x_t"][mirrored] == plain["x_t"][mirrored][..., ::-1]).all()
    ours, seen = flipped["y_s"][mirrored].max(2), plain["y_s"][mirrored][..., ::-1].max(2)
    assert np.abs(ours - seen).max() < .05  # same lines; sides keep their colours
    assert not np.allclose(flipped["y_s"][mirrored], plain["y_s"][mirrored][..., ::-1])


def test_colour_changes_are_the_same_for_all_frames_of_an_episode_and_leave_landmarks(faces: Faces) -> None:
    plain = episode(faces, 0, slots=range(8), K=2, seed=0, augment=OFF)
    made = episode(faces, 0, slots=range(8), K=2, seed=0, augment=OFF.model_copy(update={"gain": .25}))
    ratio = made["x_t"][:, 1:].mean((2, 3)) / plain["x_t"][:, 1:].mean((2, 3))  # red holds the row number
    others = made["x_s"][:, :, 1:].mean((3, 4)) / plain["x_s"][:, :, 1:].mean((3, 4))
    assert np.allclose(ratio[:, None], others, atol=.01)
    assert ((ratio > .7) & (ratio < 1.3)).all() and np.ptp(ratio) > .1
    assert (made["y_s"] == plain["y_s"]).all()


def test_turning_the_hue_keeps_greys() -> None:
    turn = episodes._hue(40)
    assert np.allclose(turn @ [1, 1, 1], 1) and np.allclose(turn @ turn.T, np.eye(3))
    assert np.allclose(episodes._hue(120) @ [1, 0, 0], [0, 1, 0])


def test_stretching_moves_pixels_and_landmarks_alike() -> None:
    marks = made_faces.face(64)
    image = landmark_image.draw(marks, 64)
    moved = episodes._stretch(image, 1.15, .9)
    drawn = landmark_image.draw(episodes._about_centre(marks[None], 1.15, .9, 64)[0], 64)

    def ends(picture: np.ndarray, axis: int) -> np.ndarray:
        return np.flatnonzero(picture.max((axis, 2)) > 60)[[0, -1]]

    for axis, factor in ((0, 1.15), (1, .9)):
        assert np.abs(ends(moved, axis) - ends(drawn, axis)).max() <= 1
        assert np.allclose(ends(moved, axis) - 31.5, (ends(image, axis) - 31.5) * factor, atol=1.2)


def test_smaller_images_are_area_averages_and_their_points_follow(root: Path, faces: Faces) -> None:
    small = load(root, 32)
    assert np.abs(small.images([5])[0] - faces.images([5])[0].reshape(3, 32, 2, 32, 2).mean((2, 4))).max() < 1.01 / 255
    assert np.allclose(small.points([5]), (faces.points([5]) + .5) / 2 - .5)
    assert small.poses([5]).shape == (1, 3, 32, 32)


def test_poses_are_drawn_from_the_points(faces: Faces) -> None:
    assert (faces.poses([4])[0] * 255 == landmark_image.draw(faces.points([4])[0], 64).transpose(2, 0, 1)).all()


def test_subjects_are_the_split_s(faces: Faces) -> None:
    assert [len(s.sources) for s in faces.subjects] == [4] and len(faces.subjects[0].holdout) == 3
    assert faces.subjects[0].video not in faces.videos


def test_a_listed_video_is_not_sampled_and_keeps_its_column(tmp_path: Path) -> None:
    root = made_faces.write(tmp_path)
    before = load(root)
    (root / "takedown.txt").write_text(f"{before.videos[0]}\n{before.subjects[0].person}  # asked\n")
    after = load(root)
    assert after.num_videos == before.num_videos and after.videos == before.videos and after.subjects == []
    assert len(after.train_rows(0)) == 0
    seen = {int(i) for step in range(40) for i in episode(after, step, slots=range(4), K=2, seed=0, augment=OFF)["i"]}
    assert seen == set(range(1, after.num_videos))
    with pytest.raises(InputError, match="take-down list"):
        after.images(before.train_rows(0))


def test_too_few_frames_for_k_and_too_large_a_size_are_refused(root: Path, faces: Faces) -> None:
    with pytest.raises(InputError, match=r"K = 7: no training video has 8 frames"):
        episode(faces, 0, slots=range(1), K=7, seed=0, augment=OFF)
    with pytest.raises(InputError, match="64 pixels, 128"):
        load(root, 128)


def test_there_may_be_more_shards_than_files_that_are_open_by_default(tmp_path: Path) -> None:
    root = made_faces.write(tmp_path, people=20, videos=4, size=16)
    before, shards = resource.getrlimit(resource.RLIMIT_NOFILE), len(list((root / "frames").glob("*.tar")))
    few = len(os.listdir("/proc/self/fd")) + shards // 2
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (few, before[1]))
        many = load(root, 16)
        assert shards > 30 and len(many.images(range(640))) == 640
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_the_cache_is_bounded(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(episodes, "CACHE", 3 * 64 * 64 * 3)
    few = load(root)
    first = few.images(range(10))
    assert len(few._cache) == 3 and (few.images(range(10)) == first).all()

