"""The comparison with the field's preprocessing, discs for faces: it counts what it says and compares the same pictures."""

from collections.abc import Sequence
from pathlib import Path

import made_clips as clips
import made_faces
import numpy as np

from benchmarks import preprocessing


def predict(images: Sequence[np.ndarray], boxes: np.ndarray) -> np.ndarray:
    """A face's points laid into each box: (n, 68, 2)."""
    return np.array([made_faces.face(1.0) * (box[2:] - box[:2]) + box[:2] for box in boxes], np.float32)


def test_both_ways_are_counted_and_their_landmarks_compared_on_the_same_pictures(tmp_path: Path) -> None:
    clips.write(tmp_path / "a.mp4", [clips.picture([(70 + .5 * k, 60, 20)], tone=40 + k) for k in range(30)])
    boxes = np.array([[50 + .5 * k, 40, 90 + .5 * k, 80] for k in range(30)], np.float32)
    np.save(tmp_path / "a.npy", boxes)
    np.save(tmp_path / "a.points.npy", predict([], boxes))
    body = preprocessing.compare([("a", "v", "a.mp4", "a.npy")], tmp_path, clips.detect, predict, 1)
    field, ours = body["ways"]["field"], body["ways"]["chosen frames, given boxes"]
    assert body["clips"] == {"made": 1, "real": 0, "pictures": 30}
    assert (field["files"], field["pictures"]) == (90, 30) and (ours["files"], ours["pictures"]) == (5, 8)
    assert body["field_over"]["chosen frames, given boxes"]["files"] == 18.0 and ours["cpu_seconds"] > 0
    marks = body["landmarks"]
    assert marks["against the field's"]["chosen frames, given boxes"]["made"]["pictures"] == 8
    assert marks["against the field's"]["chosen frames, given boxes"]["real"] is None
    worst = marks["against the renderer's"]["chosen frames, given boxes"]["worst"]
    assert worst < .05  # half a pixel: boxes lie on the grid, points on the centres of its pixels
    assert marks["against the renderer's"]["field"]["mean"] < .2
