"""Fixtures shared by all tests."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

os.environ["CUDA_VISIBLE_DEVICES"] = ""  # facts about a CPU; tests/benchmarks/test_gpu.py sees what there is
STILL = 100.0  # seconds; a test with a browser takes one to five


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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test whose Chromium was killed for standing still is run once more; one that a page failed is not."""
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.flaky(reruns=1, only_rerun=["TargetClosedError", "Connection closed"]))


def _kill(but: set[psutil.Process]) -> None:
    """Ends every process that this one has started since."""
    for child in set(psutil.Process().children()) - but:
        for process in (*child.children(recursive=True), child):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


@pytest.fixture
def browser() -> Iterator[Browser]:
    """The system's Chromium without a window, of this test alone.

    Most calls of Playwright wait without a limit; a Chromium that stands still is killed, which ends them.
    """
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("no Chromium is on this machine: install it with `apt-get install chromium`")
    from playwright.sync_api import Error, sync_playwright

    watch = threading.Timer(STILL, _kill, [set(psutil.Process().children())])
    watch.start()
    try:
        with sync_playwright() as playwright:
            one = playwright.chromium.launch(executable_path=found, args=["--disable-gpu", "--disable-quic"])
            yield one
            with contextlib.suppress(Error):
                one.close()
    finally:
        watch.cancel()
