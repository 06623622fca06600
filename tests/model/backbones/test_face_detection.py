"""Faces on one public photograph: found where they are, whatever should not matter."""

import importlib.util
import re

import cv2
import numpy as np
import pytest
import skimage.data
import torch

from model.backbones import face_detection, registry
from model.backbones.mtcnn import Cascade
from pipeline.core.errors import InputError


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
    with pytest.raises(InputError, match=re.escape(str(image.shape[-3:])[1:-1])):
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


def test_s3fd_without_its_package_is_refused_with_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(registry, "require", lambda name: tmp_path / "s3fd-619a316812.pth")
    with pytest.raises(InputError, match="pip install"):
        face_detection.detector("s3fd")
