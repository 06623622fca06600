"""The stage train in two processes, as a user starts it: one lease, one log, one set of weights, those of one process."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import made_params
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from test_killed import write

from pipeline.core import stage
from stages import train

ROOT = Path(__file__).resolve().parents[3]
# With so large an eps a step is as large as the gradient: no rounding error is made a step of Adam's size.
SMOOTH = {"adam": {"beta1": 0.5, "beta2": 0.999, "eps": 1.0}, "lr": 0.01, "lr_D": 0.01, "lr_W": 1.0, "ema_decay": 0.5,
          "content": {"kind": "pyramid", "weight": 5.0, "scales": 2, "gradient": 0.5, "perceptual": 0.0, "levels": [1.0] * 4}}


def words(root, out):
    paths = [word for name in ("frames", "landmarks", "split") for word in (f"--{name}", str(root / "data" / name))]
    return ["--dataset", "made", "--method", "ft", *paths, "--out", str(root / out), "--params", str(root / "params.yaml")]


def alone(root, out, monkeypatch, until=99):
    """In this process; interrupted when that step is read."""
    made = train.reader

    def interrupted(*given):
        read, who = made(*given)

        def reads(step):
            if step == until:
                raise KeyboardInterrupt
            return read(step)

        return reads, who

    with monkeypatch.context() as patch:
        patch.setattr(stage, "die_with_parent", lambda _: None)
        patch.setattr(train, "reader", interrupted)
        patch.setattr(sys, "argv", ["train", *words(root, out)])
        train.main()


def test_begun_by_one_and_ended_by_two_processes_a_training_comes_to_what_one_makes_of_it(tmp_path, monkeypatch):
    root = write(tmp_path, batch=2, save_every=3, **SMOOTH)
    threads, works = torch.get_num_threads(), {*(ROOT / "work/train").glob("*")}
    alone(root, "one", monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        alone(root, "two", monkeypatch, until=5)
    torch.set_num_threads(threads)
    (work,) = {*(ROOT / "work/train").glob("*")} - works
    made_params.write(root, {"train": {"processes": 2, "readers": 2}}, made=made_params.read(root / "params" / "made.yaml"))
    start = {"args": [sys.executable, "-m", "stages.train", *words(root, "two")], "cwd": ROOT, "text": True,
             "env": {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}}
    both = subprocess.Popen(**start, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    while both.poll() is None and not (work / "checkpoint-00000006").exists():
        time.sleep(0.01)
    both.send_signal(signal.SIGTERM)
    said = both.communicate(timeout=100)[0]
    assert both.returncode == 143 and "after step 3, from" in said and "stopped after step" in said and "Trace" not in said
    ended = subprocess.run(**start, capture_output=True, timeout=200)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("train made ft: 20 steps") == ended.stderr.count("resuming after step") == 1
    assert not work.exists()
    assert_alike(root / "one", root / "two")


def assert_alike(one, two):
    names = [{str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} for folder in (one, two)]
    assert names[0] == names[1]
    weights = [load_file(folder / "weights.safetensors") for folder in (one, two)]
    torch.testing.assert_close(weights[1], weights[0], rtol=1e-4, atol=1e-4)
    tables = [path.relative_to(one) for path in (one / "log").rglob("*.tsv")]
    assert len(tables) > 6
    for table in tables:
        rows = [pd.read_csv(folder / table, sep="\t") for folder in (one, two)]
        pd.testing.assert_frame_equal(rows[1], rows[0], rtol=1e-4, atol=1e-4)
