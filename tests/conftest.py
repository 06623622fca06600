"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real clips and metadata that may lie beside the checkout; the test is skipped without it."""
    beside = Path(__file__).resolve().parents[1].parent / "shared" / "data"
    folder = Path(os.environ.get("SHARED_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"real clips are not here ({folder}); set SHARED_DATA to a folder that has clips/ and voxmeta/")
    return folder
