"""The mark that says that a film is synthetic: written, read back, missing."""

from __future__ import annotations

import json
import subprocess

import made_reenact as made
import pytest
from made_reenact import LIMITS, job

from eval.reenact import render_video, synthetic_mark
from pipeline.core.errors import InputError
from pipeline.media import video


def test_the_mark_of_a_film_is_read_back_also_from_a_copy_in_another_container(tmp_path):
    facts = {"method": "ft", "model": "ab" * 32, "source": "cd" * 32, "view": "crop"}
    render_video.make(job(made.talk(tmp_path / "a.mp4", 5)), tmp_path / "out.mp4", synthetic_mark.make(**facts))
    subprocess.run([video.program(), "-v", "error", "-i", str(tmp_path / "out.mp4"), "-c", "copy", str(tmp_path / "out.mkv")],
                   check=True)
    for name in ("out.mp4", "out.mkv"):
        assert synthetic_mark.inspect(tmp_path / name, LIMITS) == {"synthetic": True, "tool": synthetic_mark.TOOL, **facts}


def test_a_file_without_a_mark_is_not_called_real(tmp_path):
    with pytest.raises(InputError, match=r"a\.mp4"):
        synthetic_mark.inspect(made.talk(tmp_path / "a.mp4", 5), LIMITS)
    assert synthetic_mark.find({"comment": json.dumps({"synthetic": True})}) is None  # of another tool
    assert synthetic_mark.find({"COMMENT": synthetic_mark.make()["comment"]})
    for deep in (500, 100_000):  # what JSON's own reader, or writer, would end on
        comment = synthetic_mark.make(view="x")["comment"].replace('"x"', "[" * deep + "]" * deep)
        assert synthetic_mark.find({"comment": comment}) is None
