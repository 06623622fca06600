"""A public photograph with one face, the networks that look at it, and an empty folder of weights."""

import numpy as np
import pytest
import skimage.data
import torch
from made_fan import one
from made_vgg import vgg_weights

from model.backbones import face_detection, identity, landmark_detection


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """An empty weights folder of the user's."""
    monkeypatch.setenv("TALKING_HEADS_WEIGHTS", str(tmp_path))
    return tmp_path


@pytest.fixture
def vggface_file(weights):
    torch.save(vgg_weights("vggface", numbered=False), weights / "vgg_face_dag.pth")
    return weights / "vgg_face_dag.pth"


@pytest.fixture(scope="session")
def astronaut():
    return np.ascontiguousarray(skimage.data.astronaut())  # 512 x 512, one face at about (223, 118)


@pytest.fixture(scope="session")
def detector():
    return face_detection.Detector()


@pytest.fixture(scope="session")
def landmarker():
    return landmark_detection.landmarker("dlib68")


@pytest.fixture(scope="session")
def dlib128():
    return identity.descriptor("dlib128")


@pytest.fixture(scope="session")
def box(detector, astronaut):
    found = detector.detect(astronaut[None])[0]
    assert len(found) == 1
    return found[0]


@pytest.fixture(scope="session")
def points(landmarker, astronaut, box):
    return one(landmarker, astronaut, box)
