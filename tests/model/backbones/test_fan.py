"""2DFAN's crop, network and decoder."""

import cv2
import made_fan
import numpy as np
import pytest
import torch
from made_fan import one, pictures

from model.backbones import fan, landmark_detection, registry
from pipeline.core.errors import InputError


@pytest.mark.parametrize("ground", [60, 300, 900])
def test_fan_finds_three_coloured_dots_where_they_are(ground, tmp_path, monkeypatch):
    """Weights under which the heat maps are the colours: the way from a box to the window and back again, end to end."""
    made_fan.lay(tmp_path, made_fan.colours(), monkeypatch)
    image = np.zeros((ground, ground, 3), np.uint8)
    box = np.array([.25, .2, .75, .8]) * ground
    dots = np.array([[.3, .4], [.52, .45], [.66, .71]]) * ground
    for colour, (x, y) in enumerate(dots):
        layer = np.ascontiguousarray(image[..., colour])
        cv2.circle(layer, (round(x * 16), round(y * 16)), round(ground / 50 * 16), 255, -1, cv2.LINE_AA, 4)
        image[..., colour] = layer
    found = one(landmark_detection.landmarker("fan"), image, box)
    apart = np.linalg.norm(found - dots[np.arange(68) % 3], axis=1)
    assert apart.max() < 1.1 * ground / 64 * 1.2  # a pixel of a heat map


def test_a_square_of_a_face_is_that_of_a_slow_crop(astronaut):
    for centre, side in (([223.3, 110.8], 301.7), ([20.2, 500.9], 256.0), ([480.0, 30.0], 700.4)):
        slow = made_fan.crop_slowly(astronaut, np.array(centre), side)
        assert np.abs(fan.crop(astronaut, np.array(centre), side) - slow).max() <= 1


def test_heat_maps_become_the_points_of_a_slow_decoder():
    rng = np.random.default_rng(0)
    heat = rng.integers(0, 40, (68, 64, 64)).astype(np.float32)  # ties among neighbours, and the first of equal peaks counts
    heat[0], heat[1], heat[2] = 0, 0, -1
    heat[1, 63, 5] = heat[2, 31, 31] = 7
    for centre, side in (([300.3, 200.9], 401.3), ([3.2, 600.1], 256.0)):
        found = fan.decode(heat, np.array(centre), side)
        assert np.array_equal(found, made_fan.decode_slowly(heat, np.array(centre), side))


def test_fans_points_do_not_hang_on_the_neighbours(astronaut, box, tmp_path, monkeypatch):
    made_fan.lay(tmp_path, made_fan.drawn(1), monkeypatch)
    landmarker = landmark_detection.landmarker("fan", device="cpu")
    images, boxes = pictures(astronaut, box)
    boxes[2] = (-1e9, -1e9, 1e9, 1e9)
    together = landmarker.predict(images, boxes)
    assert np.isnan(together).any((1, 2)).tolist() == [False, False, True, False, True, False]
    assert len(np.unique(together[0], axis=0)) > 30  # the maps differ
    assert np.array_equal(landmarker.predict(images[::-1], boxes[::-1])[::-1], together, equal_nan=True)
    assert np.array_equal(one(landmarker, images[3], boxes[3]), together[3])


def test_fan_names_its_file_with_its_hash_and_refuses_another(tmp_path, monkeypatch):
    path = made_fan.lay(tmp_path, made_fan.colours(), monkeypatch)
    assert landmark_detection.landmarker("fan").sha256 == {path.name: registry.sha256(path)}
    with path.open("ab") as file:
        file.write(b"x")
    with pytest.raises(InputError, match=path.name):
        landmark_detection.landmarker("fan")


def test_fans_points_are_the_packages(astronaut, box, tmp_path, monkeypatch):
    """The package's own network, crop and decoder on the same random weights; pictures and boxes of faces large and small."""
    from face_alignment import api

    path = made_fan.lay(tmp_path, made_fan.drawn(4), monkeypatch)
    monkeypatch.setattr(api, "load_file_from_url", lambda url: str(path))
    package = api.FaceAlignment(api.LandmarksType.TWO_D, device="cpu", flip_input=False, face_detector="folder", compile=False)
    ours = landmark_detection.landmarker("fan", device="cpu")
    shapes = {name: tuple(value.shape) for name, value in package.face_alignment_net.state_dict().items()}
    assert shapes == made_fan.shapes(4)
    large = cv2.resize(astronaut, None, fx=2.5, fy=2.5, interpolation=cv2.INTER_CUBIC)
    rng = np.random.default_rng(0)
    worst = 0.0
    for _ in range(4):
        at = box[:4] * 2.5 + rng.normal(0, 10, 4)
        worst = max(worst, np.abs(one(ours, large, at) - package.get_landmarks_from_image(large, [at])[0]).max())
    with torch.no_grad():
        picture = fan.seen(astronaut, box)[0]  # of a face that is enlarged first
        theirs = package.face_alignment_net(torch.from_numpy(picture.transpose(2, 0, 1)[None].copy()).float() / 255)[-1].numpy()
    apart = np.abs(ours.net(picture[None]) - theirs).max() / np.abs(theirs).max()
    print(f"largest distance to the package's points {worst} px; to its heat maps {apart}")
    assert worst < 1e-3 and apart < 1e-5
