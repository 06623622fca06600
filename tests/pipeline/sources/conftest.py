"""VoxCeleb from YouTube in small, fetched once."""

from pathlib import Path

import made_site
import pytest
from made_youtube import DATA, VIDEOS, fetch, lay, params, stored


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The four whole videos."""
    folder = tmp_path_factory.mktemp("films")
    return {name: made_site.film(folder, k) for k, name in enumerate(VIDEOS)}


@pytest.fixture(scope="session")
def whole(films, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run through the stage without any trouble, asked for twice."""
    folder = tmp_path_factory.mktemp("whole")
    lay(folder / "videos" / DATA)
    params(folder)
    with made_site.site(films) as server:
        done = fetch(folder, server.address)
        assert done.returncode == 0, done.stderr
        assert sorted(server.asked) == sorted(f"{place}/{name}" for name in VIDEOS for place in ("watch", "media"))
        before = stored(folder)
        again = fetch(folder, server.address)
        assert again.returncode == 0 and len(server.asked) == 8 and stored(folder) == before  # nothing is asked twice
    return folder


@pytest.fixture(scope="session")
def clean(whole) -> dict[str, bytes]:
    """The clips of that run."""
    return stored(whole)
