"""The face of the driver in time: a still crop, a cut, two faces."""

from __future__ import annotations

import made_clips
import made_reenact as made
import numpy as np
import pytest
from made_faces import face

from eval.reenact import face_tracking
from pipeline.frames import crops


def test_the_crop_of_the_driver_stands_still_while_the_face_moves_a_little():
    boxes = [made.in_box(np.array([100. + 3 * np.sin(k), 100, 200, 240])) for k in range(120)]
    frames = [one.frame for one in face_tracking.still(face_tracking.seen((None, points) for points in boxes),
                                                       crops.stored("fsth"))]
    assert len(frames) == 120
    assert np.ptp([frame.box[0] for frame in frames if frame]) < 1.5


def test_of_a_driver_without_end_a_few_seconds_are_held_at_most():
    asked = []

    def endless():
        while True:
            asked.append(0)
            yield None, face(200)

    frames = face_tracking.still(face_tracking.seen(endless()), crops.stored("fsth"))
    for k in range(200):
        assert next(frames).frame
        assert len(asked) <= k + 1 + face_tracking.AROUND


def test_after_a_cut_the_crop_is_where_the_face_is_at_once():
    places = [np.array([100., 100, 200, 240])] * 30 + [np.array([500., 300, 600, 440])] * 30
    seen = list(face_tracking.still(face_tracking.seen((None, made.in_box(box)) for box in places), crops.stored("fsth")))
    for one, box in zip(seen, places):
        assert one.frame
        middle = (np.array(one.frame.box[:2]) + one.frame.box[2:]) / 2
        assert np.abs(middle - (box[:2] + box[2:]) / 2).max() < 15
    assert seen[-1].shot == 1


def test_the_tracker_follows_one_of_two_faces_and_says_that_there_is_another():
    follow = face_tracking.Tracker(made.EYES.detect, made.EYES.predict, made.EYES.config)
    for k in range(60):
        points = follow(made_clips.picture([(40 + .5 * k, 60, 20), (120, 60, 18 + 4 * (k > 5))]))
        assert points is not None
        if k < 30:
            assert points[:, 0].mean() == pytest.approx(40 + .5 * k, abs=3)
    assert follow.rivals >= 2
