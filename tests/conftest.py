"""Fixtures shared by all tests."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def shelves(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What stages that tests ran left in work/shelves goes when all are done."""
    yield
    here = str(tmp_path_factory.getbasetemp()).strip("/.").replace("/", "-")
    for path in Path(__file__).resolve().parents[1].glob(f"work/shelves/{here}-*"):
        shutil.rmtree(path)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real clips and metadata that may lie beside the checkout; the test is skipped without it."""
    beside = Path(__file__).resolve().parents[1].parent / "shared" / "data"
    folder = Path(os.environ.get("SHARED_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"real clips are not here ({folder}); set SHARED_DATA to a folder that has clips/ and voxmeta/")
    return folder
