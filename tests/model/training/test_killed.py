"""A training that is killed, stopped, or meets a full disk ends with the bytes of one that was left alone."""

import os
import random
import re
import subprocess
import sys
from pathlib import Path

import made_faces
import made_params
from small import settings

HERE = Path(__file__).parents[2]
ENV = {**os.environ, "PYTHONPATH": f"{HERE.parent}:{HERE}", "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}


def write(root, processes=1, **changes):
    """A data set and a configuration to train `ft`, `ff` or `mean` with."""
    made_faces.write(root / "data", people=5, tested=2)
    given = {"steps": 20, "batch": 2, "log_every": 2, "save_every": 3,
             "augment": {"flip": True, "gain": 0.1, "hue": 0.0, "stretch": 0.0}, **changes}
    learn = {name: {**settings(name), **given} for name in ("ff", "ft", "x2face", "pix2pixhd")}
    made_params.write(root, {"methods": ["ft"], "shots": [1], "train": {"processes": processes, "readers": 2}},
                      made={"learn": learn})
    return root


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def killed(root, method, *moments):
    words = [sys.executable, str(HERE / "made_killed.py"), str(root), method, *moments]
    return subprocess.run(words, env=ENV, capture_output=True, text=True, timeout=500)


def test_killed_at_any_moment_and_resumed_a_training_ends_with_the_bytes_of_an_uninterrupted_one(tmp_path):
    root, chance = write(tmp_path), random.Random(0)
    shares = [f"share:{chance.uniform(0.05, 0.3):.3f}" for _ in range(3)]
    writing = [f"sync:{n}" for n in (1, 2, 3, 4, 6)]  # files, folder and place of the next checkpoint; one after it
    done = killed(root, "ft", *sorted([*shares, *writing], key=lambda _: chance.random()))
    ends = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("ended")]
    assert ends == ["-9"] * 8 + ["0"], done.stdout + done.stderr
    assert re.search(r"checkpoint-\d{8}", done.stderr)  # it goes on from one
    assert contents(root / "whole") == contents(root / "killed")
    assert {"weights.safetensors", "preview.png", "log/plots/metrics/images.tsv"} <= contents(root / "killed").keys()
