"""A small benchmark on disk."""

import sys
from types import SimpleNamespace

import made_pictures
import pytest
from made_report import PEOPLE, SIZE, cell, write

from eval.scoring.results import Results


@pytest.fixture
def results(tmp_path, monkeypatch):
    """mean at T = 1, 8 and ft at T = 8; ft at T = 1 was never run."""
    cell(tmp_path, "mean", 1, 0.5123, 98.76)
    cell(tmp_path, "mean", 8, 0.6, 80.0)
    cell(tmp_path, "ft", 8, 0.8904, 12.345)
    clock = {"median": 0.5, "n": 7}
    seconds = {"set_up": clock, "few_shot": {"1": {"median": 2.5, "n": 3, "steps": 40},
                                             "8": {"median": 20.0, "n": 1, "steps": 40}},
               "step": {"1": {"median": 0.06, "n": 117}, "8": {"median": 0.5, "n": 8}}, "frame": {"median": 0.0123, "n": 20},
               "macs": 1234567890, "parameters": 98765,
               "device": "CPU", "threads": 1, "torch": "2", "size": SIZE, "driven_by": "landmarks"}
    write(tmp_path / "results" / "sample" / "ft" / "timing", "timing", {}, [("timing.json", seconds)])
    log = tmp_path / "models" / "sample" / "ft" / "log" / "plots" / "metrics"
    log.mkdir(parents=True)
    (log / "l_cnt.tsv").write_text("step\tl_cnt\n10\t3.0\n20\t2.0\n")
    landmarks = {"frames": 8, "with_landmarks": 8, "detector": {"name": "dlib68", "sha256": {"shape.dat": "cd" * 32}},
                 "oracle_nme": {"all": 0.0412, "inner": 0.0333, "n": 8}}
    write(tmp_path / "data" / "sample" / "landmarks", "landmarks", landmarks)

    made_pictures.real(monkeypatch, PEOPLE)
    monkeypatch.setitem(sys.modules, "model.backbones.registry", SimpleNamespace(REGISTRY={"d": SimpleNamespace(
        file="shape.dat", role="68 landmarks", licence="CC0", paper=False)}))
    return Results(tmp_path / "data", tmp_path / "models", tmp_path / "results", ["sample"], ["mean", "ft"], [1, 8])
