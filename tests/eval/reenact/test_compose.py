"""A drawn face in its picture: pasted, labelled, on a still."""

from __future__ import annotations

import numpy as np
import pytest
from made_faces import face

from eval.reenact import compose
from pipeline.frames import crops


def test_the_label_is_in_the_lower_right_corner_and_nowhere_else():
    image = np.full((240, 320, 3), 120, np.uint8)
    out = compose.labelled(image)
    rows, columns = np.nonzero((out != image).any(2))
    assert rows.min() > 200 and columns.min() >= 160
    assert out.max() == 255 and (image == 120).all()


def test_a_pasted_face_leaves_every_pixel_outside_the_face_as_it_was():
    chance = np.random.default_rng(0)
    picture = chance.integers(0, 256, (240, 320, 3), dtype=np.uint8)
    points = face(64)
    frame = crops.Frame((100.3, 60.7, 200.3, 160.7), 0.0, (0, 0, 0, 0), False)
    out = compose.paste(compose.Drawn(np.full((64, 64, 3), 255, np.uint8), picture, frame, picture[:64, :64], points))
    places = (points + .5) * (100 / 64) + (100.3, 60.7)
    (x0, y0), (x1, y1) = np.floor(places.min(0)), np.ceil(places.max(0))
    forehead = compose.FOREHEAD * (y1 - y0)
    changed = (out != picture).any(2)
    inside = np.zeros_like(changed)
    inside[int(y0 - forehead) - 2:int(y1) + 2, int(x0) - 2:int(x1) + 2] = True
    assert changed[inside].mean() > .4
    assert not changed[~inside].any()


def test_a_pasted_face_takes_the_light_of_its_place():
    chance = np.random.default_rng(0)
    face_, there = (chance.normal(mean, spread, (64, 64, 3)).clip(0, 255).astype(np.uint8)
                    for mean, spread in ((180, 20), ([90, 110, 70], 25)))
    mask = compose.face_mask(face(64), 64)
    out = compose.toned(face_, there, mask)
    assert out[mask > .5].mean(0) == pytest.approx([90, 110, 70], abs=2)
    assert out[mask > .5].std(0) == pytest.approx([25, 25, 25], abs=2)
    assert np.corrcoef(out[mask > .5].ravel(), face_[mask > .5].ravel())[0, 1] > .8


def test_a_driver_s_picture_without_a_face_stays_as_it_is():
    picture = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    assert np.array_equal(compose.paste(compose.Drawn(picture[:32, :32], picture, None, picture, None)), picture)


def test_a_crop_that_leaves_the_still_changes_what_is_in_it():
    whole = np.zeros((50, 50, 3), np.uint8)
    drawn = compose.Drawn(np.full((64, 64, 3), 200, np.uint8), None, None, whole, None)
    out = compose.still(whole, (20., -20., 80., 40.), drawn)
    assert (out[5:30, 35:] == 200).all()
    assert not out[40:].any() and not out[:, :20].any()
