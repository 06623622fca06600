"""Fixtures of the methods."""

import pytest
from small import Eyes

from model.backbones import perceptual


@pytest.fixture
def eyes(monkeypatch):
    monkeypatch.setattr(perceptual, "vggface", Eyes)
