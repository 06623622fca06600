"""What every column of every file in eval/metrics/ promises: invariances, directions, what it says of itself."""

import cv2
import numpy as np
import pytest
import torch
from made_metrics import COLUMNS, blurred, face, noisy, points_of, smooth, stand_in, value

from eval.scoring import features, metric
from eval.scoring.feature_cache import Cache, key
from eval.scoring.metric import PerFrame
from pipeline.core.errors import InputError

BEST = {"ssim": 1, "csim": 1, "sharpness": 1, "psnr": 100}  # of equal frames; 0 for every other


@pytest.fixture(params=COLUMNS)
def column(request, monkeypatch):
    return stand_in(request.param, monkeypatch)


def test_does_not_depend_on_the_order_of_frames(column):
    real, fake, whose = smooth(4, n=9), smooth(5, n=9), np.arange(9) // 2
    order = np.random.default_rng(0).permutation(9)
    assert value(column, real[order], fake[order], whose[order]) == pytest.approx(value(column, real, fake), rel=1e-6)


def test_does_not_depend_on_batch_size(column):
    real, fake = smooth(4, n=9), smooth(5, n=9)
    points, single = points_of(column, real), [slice(j, j + 1) for j in range(9)]
    if column.name.startswith("iderr"):  # compares with the mean over the person: only the network's batches may differ
        parts = [column.described(real[j], fake[j], points[j])[2] for j in single]
        assert np.concatenate(parts) == pytest.approx(column.described(real, fake, points)[2], rel=1e-6)
    elif isinstance(column, PerFrame):
        parts = [column.per_frame(real[j], fake[j], points[j]) for j in single]
        assert np.concatenate(parts) == pytest.approx(column.per_frame(real, fake, points), rel=1e-6)
    else:
        one = [np.concatenate([column.features(x[j]) for j in single]) for x in (real, fake)]
        assert column.value(*one, np.arange(9) // 2) == pytest.approx(value(column, real, fake), rel=1e-6)


def test_does_not_depend_on_the_number_of_threads(column):
    real, fake, found = smooth(4), smooth(5), []
    before = torch.get_num_threads(), cv2.getNumThreads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            cv2.setNumThreads(threads)
            found.append(value(column, real, fake))
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])
    assert found[0] == pytest.approx(found[1], rel=1e-6)


def some(column):
    """A few frames, or many where the value is a distance between sets: unbiased ones know a direction in the mean only."""
    return smooth(6, n=4) if isinstance(column, PerFrame) else np.concatenate([smooth(seed, n=8) for seed in range(8)])


def test_gets_worse_with_noise_and_is_best_for_equal_frames(column):
    own = column.name.startswith("iderr")  # compares with one person, and its best is the real frames' own spread
    real = noisy(smooth(6, n=1).repeat(4, axis=0), 0.02) if own else some(column)
    values = [value(column, real, noisy(real, sigma, seed=8)) for sigma in (0, 0.05, 0.15, 0.4)]
    if not own:
        assert values[0] == pytest.approx(BEST.get(column.name.split("_")[0], 0), abs=1e-5)
    assert values == sorted(values, reverse=column.better == "higher") and values[0] != values[-1]


@pytest.mark.parametrize("column", ["ssim", "ssim_skimage", "ssim_gray", "psnr", "l1", "sharpness", "lpips_alex", "lpips_vgg"],
                         indirect=True)
def test_gets_worse_with_blur(column):
    real = smooth(6, n=4)
    values = [value(column, real, blurred(real, sigma)) for sigma in (0.5, 1, 2, 4)]
    assert values == sorted(values, reverse=column.better == "higher") and len(set(values)) == 4


# Not the distances between sets: others of the same population are as near in the mean. Sharpness looks at no content.
@pytest.mark.parametrize("column", [name for name in COLUMNS if name.split("_")[0] not in
                                    ("fd", "fid", "kd", "kid", "sharpness", "nme", "akd")], indirect=True)
def test_gets_worse_with_somebody_elses_frames(column):
    real, other = smooth(6, n=4), smooth(60, n=4)
    share = [np.where(np.arange(4)[:, None, None, None] < wrong, other, noisy(real, 0.02)) for wrong in (0, 2, 4)]
    values = [value(column, real, fake) for fake in share]
    assert values == sorted(values, reverse=column.better == "higher") and len(set(values)) == 3


def test_the_real_network_gives_the_same_features_whatever_the_threads_and_the_batch():
    found, images, made = metric.load("fd_efflite0"), smooth(4, n=2), []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            made.append(metric.load("fd_efflite0").features(images))
    finally:
        torch.set_num_threads(before)
    assert made[0] == pytest.approx(made[1], rel=1e-4, abs=1e-5)
    assert found.features(images[1:])[0] == pytest.approx(made[0][1], rel=1e-4, abs=1e-5)


def test_every_column_says_what_it_compares_and_what_it_depends_on(column):
    facts = column.facts()
    assert facts["label"] and facts["compares"] and facts["better"] in ("higher", "lower") and column.range[0] < column.range[1]
    for name in ("FID", "KID"):  # the names are kept for the network they were defined with
        assert (column.name == name.lower()) == (name in facts["label"])


def test_no_two_columns_have_one_name_or_label():
    labels = [metric.load(name).label for name in COLUMNS]
    assert len(set(COLUMNS)) == len(COLUMNS) and len(set(labels)) == len(labels)


def test_table_1_has_the_papers_columns_and_l1_and_no_other():
    first = {name for name in COLUMNS if metric.load(name).main}
    assert first == {"fid", "fd_efflite0", "ssim", "csim_dlib128", "csim_facenet", "l1"}


def test_ssim_sees_swapped_channels_and_a_shift_by_one_pixel():
    real = smooth(8)
    found = metric.load("ssim")
    assert value(found, real, real[:, ::-1].copy()) < 0.97
    assert value(found, real, np.roll(real, 1, axis=3)) < 0.99


@pytest.mark.parametrize("name, window, size", [("ssim", "11x11", 8), ("ssim_gray", "11x11", 10), ("ssim_skimage", "7x7", 6)])
def test_ssim_refuses_frames_smaller_than_its_window(name, window, size):
    small = np.zeros((1, 3, size, size), np.float32)
    with pytest.raises(InputError, match=f"{name}: .*{window}"):
        metric.load(name).per_frame(small, small, np.zeros((1, 68, 2)))


def test_equal_frames_have_100_decibels_and_none_has_more():
    real = smooth(1, n=2)
    fake = real.copy()
    fake[1, 0, 0, 0] += 1e-7
    assert metric.load("psnr").per_frame(real, fake, None).tolist() == [100, 100]


def test_two_flat_frames_are_equally_sharp_and_a_flat_one_is_not_sharp_at_all():
    flat, real = np.full((1, 3, 20, 20), 0.5, np.float32), smooth(1, n=1, size=20)
    found = metric.load("sharpness")
    assert [found.per_frame(*pair, None)[0] for pair in ((flat, flat), (real, flat), (flat, real))] == [1, 0, 0]


@pytest.mark.parametrize("name", ["csim_dlib128", "iderr_dlib128", "nme_interocular_dlib68", "akd_dlib68"])
def test_a_frame_without_usable_landmarks_is_nan_and_not_dropped(name, monkeypatch):
    found, real = stand_in(name, monkeypatch), smooth(9, n=4)
    points = points_of(found, real)
    points[1], points[2] = np.nan, 5
    made = found.per_frame(real, real, points)
    assert np.isnan(made)[[0, 1, 3]].tolist() == [False, True, False]
    assert np.isnan(made[2]) or name == "akd_dlib68"  # which needs no distance of the eyes


@pytest.mark.parametrize("name", ["nme_interocular_dlib68", "akd_dlib68"])
def test_a_generated_frame_without_a_face_is_nan_and_not_dropped(name, monkeypatch):
    found, real = stand_in(name, monkeypatch), smooth(9, n=3)
    seen = face(3)
    seen[1] = np.nan
    monkeypatch.setattr(features, "_landmarker", lambda name: type("", (), {"predict": lambda self, images, boxes: seen})())
    assert np.isnan(found.per_frame(real, real, face(3))).tolist() == [False, True, False]


@pytest.fixture(scope="module")
def portrait():
    """A real face of 128 px, its box by MTCNN, and its landmarks by the detector itself."""
    import skimage.data

    from model.backbones import face_detection, landmark_detection

    image = cv2.resize(skimage.data.astronaut()[:256, 96:352], (128, 128), interpolation=cv2.INTER_AREA)
    box = face_detection.detector("mtcnn").detect(image[None])[0][0, :4]
    return image, box, landmark_detection.landmarker("dlib68").predict([image], box[None])[0]


def test_landmarks_found_again_move_with_the_face_and_the_box_is_the_detectors(portrait):
    image, box, points = portrait
    assert features.box(points) == pytest.approx(box, abs=6)
    real = (image.transpose(2, 0, 1)[None] / 255).astype(np.float32)
    moved = np.roll(real, 4, axis=3)
    eyes = np.linalg.norm(points[36] - points[45])
    nme, akd = metric.load("nme_interocular_dlib68"), metric.load("akd_dlib68")
    assert nme.per_frame(real, real, points[None])[0] < 0.02
    assert nme.per_frame(real, moved, points[None])[0] == pytest.approx(4 / eyes, rel=0.15)
    assert akd.per_frame(real, moved, points[None])[0] == pytest.approx(4, rel=0.25)  # (4 + 0) / 2 pixels of 128
    assert np.isnan(nme.per_frame(real, np.zeros_like(real), points[None])[0])


@pytest.mark.parametrize("name, hint", [("sim", "ssim"), ("csim_dlib", "csim_dlib128"), ("lpips", "lpips_"), ("user", "known")])
def test_an_unknown_metric_is_refused_with_the_nearest_name(name, hint):
    with pytest.raises(InputError, match=hint):
        metric.load(name)


class Counted:
    """A landmark detector that notes each picture it is shown."""

    def __init__(self, net, made):
        self.net, self.made = net, made

    def predict(self, images, boxes):
        self.made.extend(range(len(images)))
        return self.net.predict(images, boxes)


@pytest.mark.parametrize("pair, images, runs", [(("fd_efflite0", "kd_efflite0"), 12, 12),
                                                (("csim_dlib128", "iderr_dlib128"), 12, 12),
                                                (("nme_interocular_dlib68", "akd_dlib68"), 6, 6)])
def test_metrics_of_one_network_run_it_once_a_frame(pair, images, runs, monkeypatch):
    made, shared = [], Cache(None)
    real, fake = smooth(1), smooth(2)
    for name in pair:
        found = stand_in(name, monkeypatch)
        found.cache = shared
        describe, landmarks = features._descriptor, features._landmarker
        monkeypatch.setattr(features, "_descriptor", lambda name, net=describe: made.append(name) or net(name))
        monkeypatch.setattr(features, "_landmarker", lambda name, net=landmarks: Counted(net(name), made))
        if not isinstance(found, PerFrame):
            forward = type(found).forward
            monkeypatch.setattr(type(found), "forward", lambda self, x, forward=forward: made.append(1) or forward(self, x))
        value(found, real, fake)
        if name == pair[0]:
            assert len(made) == runs
    assert len(made) == runs


def test_cached_vectors_come_back_and_a_torn_record_is_computed_again(tmp_path):
    made = []

    def compute(missing):
        for j in missing:
            made.append(j)
            yield np.full(3, j, np.float32)

    keys = [key("recipe", np.array([j])) for j in (0, 1, 0)]
    first = Cache(tmp_path).vectors("net", keys, 3, compute)
    assert made == [0, 1] and first[:, 0].tolist() == [0, 1, 0]
    file = tmp_path / "net.bin"
    file.write_bytes(file.read_bytes()[:-1])
    again = Cache(tmp_path).vectors("net", keys, 3, compute)
    assert made == [0, 1, 1] and (again == first).all()
    Cache(tmp_path).vectors("net", keys, 3, compute)
    assert made == [0, 1, 1]


def test_the_cache_key_depends_on_recipe_values_and_shape():
    x = np.arange(4, dtype=np.float32)
    assert len({key("a", x), key("b", x), key("a", x + 1), key("a", x.reshape(2, 2)), key("a", x.astype(np.float64))}) == 5
