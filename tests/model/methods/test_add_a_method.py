"""docs/add-a-method.md, done as it says in a copy of the project."""

import csv
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import made_faces
import made_params
from made_params import published
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "add-a-method.md").read_text()
DATA = {name: f"data/made/{name}" for name in ("frames", "landmarks", "split")}


def block(language):
    """The one block of that language on the page."""
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.S)
    return found


def run(project, stage, *words, **paths):
    given = [word for name, path in paths.items() for word in (f"--{name}", path)]
    done = subprocess.run([sys.executable, "-m", f"stages.{stage}", *words, *given], cwd=project, capture_output=True,
                          text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr


def test_the_method_of_the_page_gets_its_row_from_one_file_and_one_section(tmp_path):
    project = tmp_path / "project"
    for package in ("pipeline", "model", "eval", "stages"):
        shutil.copytree(ROOT / package, project / package, ignore=shutil.ignore_patterns("__pycache__"))
    made_faces.write(project / "data" / "made", people=4)
    (project / "model" / "methods" / "kernel.py").write_text(block("python"))
    section = YAML(typ="safe").load(block("yaml"))
    made_params.write(project, {"methods": ["kernel"], "shots": [4], "score": {"metrics": ["l1"]}},
                      made={**published("sample"), "learn": section})

    run(project, "use")  # knows the name
    which, shots, cell = ("--dataset", "made", "--method", "kernel"), ("--shots", "4"), "results/made/kernel/4"
    run(project, "train", *which, **DATA, out="models/made/kernel")
    run(project, "adapt", *which, *shots, **DATA, model="models/made/kernel", out=f"{cell}/images")
    run(project, "score", *which, *shots, **DATA, images=f"{cell}/images", out=f"{cell}/metrics")
    run(project, "report")
    (row,) = csv.DictReader((project / "report" / "table1.csv").open())
    assert (row["method"], row["shots"], row["frames"], row["driven_by"]) == ("kernel", "4", "3", "landmarks")
    assert 0 < float(row["l1"]) < .3 and "Kernel mean" in (project / "report" / "table1.md").read_text()


def test_the_example_is_short():
    assert len([line for line in block("python").splitlines() if line.strip()]) <= 25
