"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser


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


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The system's Chromium without a window. A module's own: while it runs, this thread has an event loop."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("no Chromium is on this machine: install it with `apt-get install chromium`")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        one = driver.chromium.launch(executable_path=found, args=["--disable-gpu", "--disable-quic"])
        yield one
        one.close()
