"""Facts that an honest pipeline fulfils, and defects planted in it: each moves the numbers and breaks the fact that names it.

A fact is a function that raises AssertionError. It holds for the code as it is, and fails once the defect is planted.
"""

import io

import made_bench
import numpy as np
import pytest
from made_bench import FRAMES, PEOPLE, PICTURES, SIZE, Faces, describe, forward
from PIL import Image

from eval.scoring import features, protocol
from eval.statistics import intervals


@pytest.fixture
def bench(tmp_path, monkeypatch):
    yield from made_bench.bench(tmp_path, monkeypatch)


def values(score, drawn=None):
    return {name: column["value"] for name, column in score(drawn)[0].items()}


def imperfect():
    """What a fair method might draw."""
    return {row: np.clip(0.8 * picture + 0.2 * PICTURES[row // FRAMES * FRAMES], 0, 1).astype(np.float32)
            for row, picture in PICTURES.items()}


# DataInfo


def frames_drawn_exactly_right_score_best(score):
    found = values(score)
    assert found["l1"] == 0 and found["psnr"] == 100 and found["fd_efflite0"] < 1e-6
    assert found["ssim"] == pytest.approx(1, abs=1e-9) and found["csim_dlib128"] == pytest.approx(1, abs=1e-9)


def red():
    """Every frame red."""
    picture = np.zeros((3, SIZE, SIZE), np.float32)
    picture[0] = 1
    return dict.fromkeys(PICTURES, picture)


def red_is_the_first_channel_of_what_is_scored(score):
    _, _, cell = score(red())
    pairs = protocol.pairs(cell, "p1")
    assert (pairs.fake == red()[0]).all()
    assert np.allclose(pairs.real, Faces(*[None] * 4).images(pairs.rows), atol=1 / 500)


def networks_are_shown_red_as_red(score):
    faces, pictures = [], []
    true = features._descriptor, features.EffLite0.forward
    features._descriptor = lambda name: lambda image, points: faces.append(image) or describe(image, points)
    features.EffLite0.forward = lambda self, x: pictures.append(x) or forward(self, x)
    try:
        score(red())
    finally:
        features._descriptor, features.EffLite0.forward = true
    assert sum((image == [255, 0, 0]).all() for image in faces) == len(PICTURES) - 1  # each that has landmarks
    assert sum((image == red()[0]).all() for image in pictures) == len(PEOPLE)  # equal frames of a person: once


def what_is_scored_lies_in_0_to_1_and_is_8_bits(score):
    _, _, cell = score(imperfect())
    for side in protocol.pairs(cell, "p1")[2:4]:
        assert side.min() >= 0 and 0.5 < side.max() <= 1 and np.abs(side * 255 - np.rint(side * 255)).max() < 1e-4


def what_is_scored_is_what_was_drawn_to_the_last_bit(score):
    drawn = imperfect()
    _, _, cell = score(drawn)
    for person in PEOPLE:
        pairs = protocol.pairs(cell, person)
        assert (np.rint(pairs.fake * 255) == np.rint(np.stack([drawn[row] for row in pairs.rows]) * 255)).all()


def every_frame_is_scored_or_counted_as_failed(score):
    summary, found, _ = score(imperfect())
    total = len(PEOPLE) * FRAMES
    for name in ("l1", "csim_dlib128"):
        assert summary[name]["n_frames"] + summary[name]["n_failed"] == total, name
        assert all(len(one.columns[name]) == len(one.rows) for one in found), name
    assert summary["csim_dlib128"]["n_failed"] == 1


def frames_seen_twice_are_no_more_evidence(score):
    del score
    rng = np.random.default_rng(0)
    whose = np.repeat(np.arange(8), 4)
    scores = rng.normal(size=8)[whose] + 0.1 * rng.normal(size=32)
    once, often = (intervals.of_mean(np.repeat(scores, count), np.repeat(whose, count), level=0.95, resamples=500, seed=0)
                   for count in (1, 25))
    assert (often.low, often.high) == pytest.approx((once.low, once.high), rel=1e-9)


def sets_seen_twice_are_no_more_evidence(score):
    del score
    whose = np.repeat(np.arange(8), 4)
    counts = intervals.counts(whose, resamples=50, seed=0)
    assert all((row.reshape(8, 4) == row.reshape(8, 4)[:, :1]).all() for row in counts)


# Defects


def swap_generated(patch):
    true = protocol.Generated.frames
    patch(protocol.Generated, "frames", lambda self, person, rows: true(self, person, rows)[:, ::-1].copy())


def swap_both(patch):
    true = protocol.pairs
    patch(protocol, "pairs", lambda cell, person: (p := true(cell, person))._replace(
        real=p.real[:, ::-1].copy(), fake=p.fake[:, ::-1].copy()))


def swap_for_features(patch):
    true = features.Pooled.features
    patch(features.Pooled, "features", lambda self, images: true(self, images[:, ::-1]))


def swap_for_descriptors(patch):
    true = features.Described._describe
    patch(features.Described, "_describe", lambda self, images, points: true(self, images[:, ::-1], points))


def range_of_generated(patch):
    true = protocol.Generated.frames
    patch(protocol.Generated, "frames", lambda self, person, rows: true(self, person, rows) * 255)


def range_of_both(patch):
    true = protocol.pairs
    patch(protocol, "pairs", lambda cell, person: (p := true(cell, person))._replace(real=p.real * 255, fake=p.fake * 255))


def crop_off_by_one(patch):
    true = protocol.Generated.frames

    def moved(self, person, rows):
        x = true(self, person, rows)
        return np.concatenate([x[..., 1:], x[..., -1:]], axis=-1)

    patch(protocol.Generated, "frames", moved)


def jpeg_between(patch):
    true = Image.Image.save

    def save(self, file, kind, **settings):
        true(self, squeezed := io.BytesIO(), "JPEG", quality=90)
        true(Image.open(squeezed), file, kind)

    patch(Image.Image, "save", save)


def failures_dropped(patch):
    true = protocol.score

    def score(person, **settings):
        found = true(person, **settings)
        kept = np.isfinite(list(found.columns.values())).all(axis=0)
        columns = {name: column[kept] for name, column in found.columns.items()}
        sides = {name: tuple(side[kept] for side in pair) for name, pair in found.features.items()}
        return found._replace(rows=found.rows[kept], columns=columns, features=sides)

    patch(protocol, "score", score)


def failures_counted_as_worst(patch):
    true = protocol.score

    def score(person, **settings):
        found = true(person, **settings)
        return found._replace(columns={name: np.nan_to_num(column) for name, column in found.columns.items()})

    patch(protocol, "score", score)


def frames_resampled(patch):
    true = intervals.of_mean
    patch(intervals, "of_mean", lambda x, person, **settings: true(x, np.arange(len(x)), **settings))


def frames_of_sets_resampled(patch):
    true = intervals.counts
    patch(intervals, "counts", lambda person, **settings: true(np.arange(len(person)), **settings))


PERFECT, FAIR = None, imperfect()


def worse():
    """FAIR, but worst where there are no landmarks: where failures are."""
    return FAIR | {5: 1 - PICTURES[5]}


def width(score, name):
    column = score(FAIR)[0][name]
    return column["high"] - column["low"]


# Defect, the fact that names it, a number of the bench that it moves and by how much at least (relative).
MUTATIONS = [
    (swap_generated, frames_drawn_exactly_right_score_best, lambda score: values(score, FAIR)["l1"], 0.5),
    (swap_generated, red_is_the_first_channel_of_what_is_scored, lambda score: values(score, FAIR)["ssim"], 0.2),
    (swap_both, red_is_the_first_channel_of_what_is_scored, lambda score: values(score, FAIR)["fd_efflite0"], 0.02),
    (swap_for_descriptors, networks_are_shown_red_as_red, lambda score: 1 - values(score, FAIR)["csim_dlib128"], 0.02),
    (swap_for_features, networks_are_shown_red_as_red, lambda score: values(score, FAIR)["fd_efflite0"], 0.02),
    (range_of_generated, frames_drawn_exactly_right_score_best, lambda score: values(score, FAIR)["l1"], 10),
    (range_of_both, what_is_scored_lies_in_0_to_1_and_is_8_bits, lambda score: values(score, FAIR)["l1"], 10),
    (crop_off_by_one, frames_drawn_exactly_right_score_best, lambda score: values(score, PERFECT)["ssim"], 0.02),
    (crop_off_by_one, what_is_scored_is_what_was_drawn_to_the_last_bit, lambda score: values(score, FAIR)["l1"], 0.05),
    (jpeg_between, frames_drawn_exactly_right_score_best, lambda score: values(score, PERFECT)["psnr"], 0.2),
    (jpeg_between, what_is_scored_is_what_was_drawn_to_the_last_bit, lambda score: values(score, PERFECT)["ssim"], 0.002),
    (failures_dropped, every_frame_is_scored_or_counted_as_failed, lambda score: values(score, worse())["l1"], 0.1),
    (failures_counted_as_worst, every_frame_is_scored_or_counted_as_failed,
     lambda score: values(score, FAIR)["csim_dlib128"], 0.05),
    (frames_resampled, frames_seen_twice_are_no_more_evidence, lambda score: width(score, "l1"), 0.2),
    (frames_of_sets_resampled, sets_seen_twice_are_no_more_evidence, lambda score: width(score, "fd_efflite0"), 0.1),
]
FACTS = list(dict.fromkeys(fact for _, fact, _, _ in MUTATIONS))


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.__name__)
def test_the_fact_holds(bench, fact):
    fact(bench)


@pytest.mark.parametrize("defect, fact, moved, least", MUTATIONS, ids=[f"{d.__name__}-{f.__name__}" for d, f, *_ in MUTATIONS])
def test_a_planted_defect_breaks_the_fact_that_names_it_and_moves_the_numbers(bench, monkeypatch, defect, fact, moved, least):
    before = moved(bench)
    defect(monkeypatch.setattr)
    with pytest.raises(AssertionError):
        fact(bench)
    assert abs(moved(bench) - before) > least * abs(before)
