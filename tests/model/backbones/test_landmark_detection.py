"""Landmarks on one public photograph: where a face has them, whatever should not matter."""

import re

import cv2
import dlib
import numpy as np
import pytest
from made_fan import one, pictures

from model.backbones import registry
from model.backbones.windows import window
from pipeline.core.errors import InputError

LEFT_EYE, RIGHT_EYE, NOSE, MOUTH = slice(36, 42), slice(42, 48), slice(27, 36), slice(48, 68)


def apart(a, b):
    """Mean distance of two sets of points, as a part of the face's size."""
    return np.linalg.norm(a - b, axis=1).mean() / np.sqrt(np.prod(np.ptp(b, axis=0)))


def test_eyes_nose_and_mouth_are_where_a_face_has_them(points, box):
    left, right, nose, mouth = (points[part].mean(0) for part in (LEFT_EYE, RIGHT_EYE, NOSE, MOUTH))
    assert points.shape == (68, 2) and points.dtype == np.float32
    assert box[0] < left[0] < nose[0] < right[0] < box[2]
    assert box[1] < left[1] < nose[1] < mouth[1] < box[3]


def test_the_points_in_mtcnns_box_are_those_in_dlibs_own_box(astronaut, points):
    hog = dlib.get_frontal_face_detector()(astronaut, 0)[0]
    trees = dlib.shape_predictor(str(registry.require("dlib68")))
    direct = np.array([(part.x, part.y) for part in trees(astronaut, hog).parts()])
    assert apart(points, direct) < 0.02


def test_a_face_of_a_quarter_the_size_keeps_its_points_between_the_pixels(landmarker, astronaut, box, points):
    small = cv2.resize(astronaut, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    found = one(landmarker, small, (box + 0.5) / 4 - 0.5)
    assert apart((found + 0.5) * 4 - 0.5, points) < 0.025
    assert (found != np.rint(found)).mean() > 0.5


def test_the_points_of_the_mirrored_picture_are_mirrored(landmarker, astronaut, box, points):
    mirrored = np.ascontiguousarray(astronaut[:, ::-1])
    found = one(landmarker, mirrored, [511 - box[2], box[1], 511 - box[0], box[3]])
    found[:, 0] = 511 - found[:, 0]
    for a, b in ((LEFT_EYE, RIGHT_EYE), (RIGHT_EYE, LEFT_EYE), (NOSE, NOSE), (MOUTH, MOUTH)):
        assert np.linalg.norm(found[a].mean(0) - points[b].mean(0)) < 0.03 * (box[2] - box[0])


def test_a_face_at_the_edge_of_the_picture_keeps_its_points(landmarker, astronaut, box, points):
    x0, y0 = int(box[0]) - 2, int(box[1]) - 2
    cut = np.ascontiguousarray(astronaut[y0:y0 + 200, x0:x0 + 200])
    assert apart(one(landmarker, cut, box[:4] - [x0, y0, x0, y0]) + np.array([x0, y0]), points) < 0.03


@pytest.mark.parametrize("box", [(300, 300, 420, 420), (600, 0, 700, 100), (10, 10, 10, 50), (0, np.nan, 50, 50),
                                 (-1e9, -1e9, 1e9, 1e9)], ids=["suit", "outside", "empty", "nan", "huge"])
def test_a_box_that_holds_no_face_gets_no_points(landmarker, astronaut, box):
    assert np.isnan(one(landmarker, astronaut, box)).all()


def test_points_do_not_hang_on_the_neighbours(landmarker, astronaut, box):
    images, boxes = pictures(astronaut, box)
    together = landmarker.predict(images, boxes)
    assert together.shape == (6, 68, 2) and together.dtype == np.float32
    assert np.isnan(together).any((1, 2)).tolist() == [False, False, True, False, True, False]
    alone = np.stack([one(landmarker, image, at) for image, at in zip(images, boxes)])
    assert np.array_equal(together, alone, equal_nan=True)
    assert np.array_equal(landmarker.predict(images[::-1], boxes[::-1])[::-1], together, equal_nan=True)
    assert landmarker.predict([], np.zeros((0, 4))).shape == (0, 68, 2)


@pytest.mark.parametrize("images, boxes", [(1, (2, 4)), (1, (4,)), (2, (2, 3))])
def test_other_than_one_box_a_picture_is_refused(landmarker, images, boxes):
    with pytest.raises(InputError, match=r"\(n, 4\).*" + re.escape(str(boxes))):
        landmarker.predict([np.zeros((64, 64, 3), np.uint8)] * images, np.zeros(boxes))


def test_points_come_back_from_a_window_where_they_were():
    image = np.zeros((40, 50, 3), np.uint8)
    image[13, 27] = 255
    cut, there, back = window(image, np.array([27.0, 13.0]), 21, enlarge=8)
    brightest = np.array(np.unravel_index(cut[..., 0].argmax(), cut.shape[:2]))[::-1]
    assert np.abs(there(np.array([[27.0, 13.0]])) - brightest).max() <= 1
    np.testing.assert_allclose(back(there(np.array([[3.25, 4.5]]))), [[3.25, 4.5]])
