"""Facts about given boxes: what is odd is not believed, a jump cuts the clip, only short gaps are filled."""

import io

import numpy as np
import pytest

from pipeline.core.ledger import RejectedItem
from pipeline.frames import tracks

SIZE = (160, 120)


def steady(n: int = 40, step: float = .5) -> np.ndarray:
    """A face 40 pixels wide that wanders to the right."""
    return np.array([[40 + step * k, 30, 80 + step * k, 80] for k in range(n)])


def packed(boxes: object) -> bytes:
    file = io.BytesIO()
    np.save(file, boxes)
    return file.getvalue()


def test_boxes_come_back_from_their_file() -> None:
    assert (tracks.parse(packed(steady().astype(np.float32))) == steady()).all()


@pytest.mark.parametrize("data", [b"", b"PK\3\4", packed(steady()), packed(np.zeros((4, 5), np.float32)), packed(np.float32(1)),
                                  packed(steady().astype(np.float32))[:-3], packed(np.array(["x"])), packed(
                                      np.asfortranarray(steady().astype(np.float32)))])
def test_a_file_that_is_no_float32_table_of_four_columns_is_refused(data: bytes) -> None:
    with pytest.raises(RejectedItem) as problem:
        tracks.parse(data)
    assert problem.value.status == "corrupt"


def test_a_header_that_promises_a_terabyte_allocates_nothing() -> None:
    data = packed(steady().astype(np.float32)).replace(b"(40, 4), }" + b" " * 7, b"(999999999, 4), }")
    with pytest.raises(RejectedItem, match=r"\.npy of float32"):
        tracks.parse(data)


def test_damaged_files_of_boxes_are_read_or_refused_and_nothing_else() -> None:
    good, rng = packed(steady().astype(np.float32)), np.random.default_rng(0)
    for _ in range(3000):
        data = bytearray(good[:int(rng.integers(len(good)))] if rng.random() < .1 else good)
        for place in rng.integers(0, min(128, len(data) + 1), 4):
            data[place:place + 1] = bytes([rng.choice(list(b"(){}[]',:\n \x00\\09Tf4#"))])
        try:
            assert tracks.parse(bytes(data)).shape[1] == 4
        except RejectedItem as problem:
            assert problem.status == "corrupt"


def test_a_good_track_is_used_as_it_is() -> None:
    track = tracks.track(steady(), 40, SIZE)
    assert (track.boxes == steady()).all() and (track.start, track.stop, track.reason) == (0, 40, "")


def test_short_gaps_are_filled_along_a_line_and_long_ones_are_not() -> None:
    boxes = steady(60)
    boxes[10:10 + tracks.GAP] = np.nan
    boxes[30:31 + tracks.GAP] = np.nan
    track = tracks.track(boxes, 60, SIZE)
    assert np.allclose(track.boxes[:30], steady(60)[:30]) and np.allclose(track.boxes[43:], steady(60)[43:])
    assert np.isnan(track.boxes[30:31 + tracks.GAP]).all() and (track.start, track.stop, track.reason) == (0, 60, "")


def test_the_ends_are_not_made_up() -> None:
    boxes = steady()
    boxes[:3] = boxes[-3:] = np.nan
    track = tracks.track(boxes, 40, SIZE)
    assert np.isnan(track.boxes[[0, 1, 2, 37, 38, 39]]).all() and (track.start, track.stop) == (0, 40)


@pytest.mark.parametrize("box", [[np.inf, 0, 40, 40], [np.nan, 30, 80, 80], [80, 30, 40, 80], [40, 30, 44, 80],
                                 [-500, 30, -460, 80], [0, 0, 900, 900], [1e30, 1e30, 2e30, 2e30], [-35, 30, 5, 80]])
def test_a_box_that_cannot_be_a_face_counts_as_not_given(box: list[float]) -> None:
    boxes = steady()
    boxes[20] = box
    track = tracks.track(boxes, 40, SIZE)
    assert np.allclose(track.boxes, steady()) and track.reason == "1 of the given boxes are not usable"


def test_a_box_that_leaves_the_picture_in_part_is_believed() -> None:
    boxes = steady() - [60, 0, 60, 0]
    assert (tracks.track(boxes, 40, SIZE).boxes == boxes).all()


def test_a_jump_cuts_the_clip_and_the_longest_piece_is_used() -> None:
    boxes = steady()
    boxes[25:] += [60, 0, 60, 0]
    track = tracks.track(boxes, 40, SIZE)
    assert (track.start, track.stop) == (0, 25)
    assert "jumps at frame 25: frames 0 to 24" in track.reason
    late = tracks.track(boxes[::-1].copy(), 40, SIZE)
    assert (late.start, late.stop) == (15, 40)


def test_a_gap_in_the_piece_that_is_not_used_is_not_filled_across_the_jump() -> None:
    boxes = steady()
    boxes[25:] += [60, 0, 60, 0]
    boxes[22:28] = np.nan
    track = tracks.track(boxes, 40, SIZE)
    assert track.stop == 22 and np.isnan(track.boxes[22:28]).all()


def test_a_fast_nod_is_no_jump() -> None:
    boxes = steady(30, step=2.0)
    boxes[::2] += [0, 8, 0, 8]
    assert tracks.track(boxes, 30, SIZE).reason == ""


def test_rows_beyond_the_clip_are_left_out_and_pictures_beyond_the_rows_have_none() -> None:
    assert len(tracks.track(steady(50), 40, SIZE).boxes) == 40
    assert np.isnan(tracks.track(steady(30), 40, SIZE).boxes[30:]).all()


def test_no_box_at_all_leaves_the_whole_clip_to_the_detector() -> None:
    for given in (np.full((40, 4), np.nan), np.zeros((0, 4))):
        track = tracks.track(given, 40, SIZE)
        assert np.isnan(track.boxes).all() and (track.start, track.stop, track.reason) == (0, 40, "")


def test_in_a_clip_that_is_a_face_crop_the_face_is_half_as_wide_and_above_the_middle() -> None:
    track = tracks.whole(5, (224, 224))
    assert track.boxes.shape == (5, 4) and (track.start, track.stop) == (0, 5)
    x0, y0, x1, y1 = track.boxes[0] / 224
    assert (x1 - x0, (x0 + x1) / 2) == (.5, .5) and y1 - y0 > .6 and .3 < (y0 + y1) / 2 < .5
