"""Videos of a few people, some of them faulty."""

from pathlib import Path

import made_clips as clips
import numpy as np
import pytest
from made_stage import talking


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eleven videos of three people, four of them faulty."""
    root = tmp_path_factory.mktemp("videos")
    for number in range(7):
        talking(root / f"p{number % 3}/v{number}.mp4", 50 + 5 * number, 20 if number == 3 else 60)
    clips.write(root / "p1/nobody.mp4", [clips.picture([])] * 8)
    clips.cut(root / "p0/v0.mp4", root / "p1/cut.mp4", .6)
    (root / "p2/zero.mp4").touch()
    (root / "p2/noise.mp4").write_bytes(np.random.default_rng(0).bytes(3000))
    return root
