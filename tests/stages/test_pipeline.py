"""The stages themselves, as DVC calls them, on a data set of seconds: from a seed to both tables, and through `kill -9`."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import made_params
import pandas as pd
import pytest
from made_params import published
from ruamel.yaml import YAML
from safetensors import safe_open

from pipeline.core import fileio
from pipeline.core import stage as program

ROOT = Path(__file__).resolve().parents[2]
STAGES = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]
ENV = {**{k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"},
       "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "PYTHONPATH": str(ROOT)}
CELLS = {"dataset": "tiny", "method": "ft", "shots": 8}


def command(stage: str, folder: Path, **cell: object) -> list[str]:
    """The command of dvc.yaml for one cell, its paths below `folder`."""
    line = STAGES[stage]["cmd"]
    for name, value in {**CELLS, **cell}.items():
        line = line.replace(f"${{item.{name}}}", str(value))
    here = re.compile(r"(data|models|results|videos|report)(/|$)")
    words = [str(folder / word) if here.match(word) else word for word in line.split("python ")[1].split()]
    return [sys.executable, *words, "--params", str(folder / "params.yaml")]


def run(stage: str, folder: Path, here: Path = ROOT, **cell: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(stage, folder, **cell), cwd=here, env=ENV, capture_output=True, text=True)


def settings(folder: Path, change: Callable[[dict, dict], object] = lambda run, tiny: None) -> None:
    """params.yaml with its smallest data set made smaller still; `change` is given the changes of it and the data set."""
    tiny = published("ci")
    tiny["data"]["fetch"] |= {"identities": 4, "videos": 2, "frames": 8, "test_people": 2, "test_frames": 14}
    tiny["data"]["frames"]["least"] = tiny["data"]["split"]["least"] = 4
    tiny["data"]["split"] |= {"test_people": 2, "sources": 8, "holdout": 4}
    for method in ("ff", "ft"):
        tiny["learn"][method] |= {"steps": 8, "save_every": 2, "log_every": 2, "batch": 2, "threads": 1}
        tiny["learn"][method]["adversarial"]["start"] = 4
    tiny["learn"]["ft"]["tuning"]["budgets"] = [{"shots": 1, "steps": 3, "lr": 1e-3, "lr_D": 1e-3}]
    run = {"methods": ["copy", "ft"], "shots": [1, 8], "timing": {"repeats": 2, "seconds": 0.2},
           "score": {"resamples": 50, "set_resamples": 5, "workers": 1}}
    change(run, tiny)
    made_params.write(folder, run, tiny=tiny)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The whole pipeline, once."""
    folder = tmp_path_factory.mktemp("tiny")
    settings(folder)
    for stage in ("fetch", "frames", "landmarks", "split", "train"):
        for method in ("copy", "ft") if stage == "train" else ("ft",):
            done = run(stage, folder, method=method)
            assert done.returncode == 0, done.stderr
    for stage, method, shots in (("adapt", "copy", 8), ("adapt", "ft", 8), ("score", "copy", 8), ("score", "ft", 8),
                                 ("floors", "ft", 8), ("timing", "ft", 8), ("report", "ft", 8)):
        done = run(stage, folder, method=method, shots=shots)
        assert done.returncode == 0, done.stderr
    return folder


def test_both_tables_come_out_with_what_was_measured_and_dashes_for_the_rest(made):
    folder = made
    table = (folder / "report" / "table1.md").read_text()
    value = json.loads((folder / "results/tiny/ft/8/metrics/metrics.json").read_text())["ssim"]["value"]
    row = {row.split("|")[3].strip(): row for row in table.splitlines() if row.startswith("| tiny") and "Ours-FT" in row}
    assert f"{value:.3f}" in row["8"]
    assert row["1"].count("–") > row["8"].count("–")
    assert "Ours-FT" in (folder / "report" / "table2.md").read_text()


def python(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *words], cwd=ROOT, env=ENV, capture_output=True, text=True)


def test_the_tables_of_the_report_are_derived_again_from_the_stored_results_byte_for_byte(made, tmp_path):
    paths = [word for name in ("data", "models", "results") for word in (f"--{name}", str(made / name))]
    done = python(made, "stages.tables", *paths, "--out", str(tmp_path), "--params", str(made / "params.yaml"))
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()[-1].replace(str(tmp_path), "")
    assert re.findall(r"\d+", said) == ["4", "18"]  # cells, files of tables
    assert len(list(tmp_path.iterdir())) == 18
    assert all(path.read_bytes() == (made / "report" / path.name).read_bytes() for path in tmp_path.iterdir())


def test_every_table_says_of_how_many_utterances_and_of_which_list(made):
    table = pd.read_parquet(made / "data" / "tiny" / "frames" / "ledger.parquet")
    used, videos = (table["status"] == "ok").sum(), pd.read_parquet(made / "data" / "tiny" / "videos" / "ledger.parquet")
    assert set(table["id"]) == set(videos["id"]) and used == len(table) == 8
    lines = "".join(sorted(f"{name}\tok\n" for name in table["id"]))
    sha = hashlib.sha256(lines.encode()).hexdigest()[:12]
    said = re.compile(rf"tiny: 8 of 8 .*{sha}")
    written = sorted((made / "report").glob("*.md"))
    assert len(written) == 9 and all(said.search(path.read_text()) for path in written)
    assert said.search((made / "report" / "index.html").read_text())


def test_who_is_taken_down_vanishes_from_splits_W_and_tables(made, tmp_path):
    shutil.copytree(made / "data" / "tiny", tmp_path / "data" / "tiny")
    shutil.rmtree(tmp_path / "data" / "tiny" / "split")
    before = pd.read_parquet(made / "data" / "tiny" / "split" / "train.parquet")
    tested = [subject["person"] for subject in json.loads((made / "data" / "tiny" / "split" / "test.json").read_text())]
    down = [before["video"][0], tested[0]]
    (tmp_path / "takedown.txt").write_text(f"{down[0]}  # one video\n{down[1]}  # a person\n")
    settings(tmp_path, lambda run, tiny: tiny["data"]["split"].update(test_people=1))
    for stage in ("split", "train", "adapt", "score", "report"):
        done = run(stage, tmp_path, here=tmp_path)
        assert done.returncode == 0, done.stderr
    after = pd.read_parquet(tmp_path / "data" / "tiny" / "split" / "train.parquet")
    assert after["video"].tolist() == [video for video in before["video"] if video != down[0]]
    with safe_open(tmp_path / "models" / "tiny" / "ft" / "weights.safetensors", "pt") as weights:
        assert not any(name.startswith("D.W") for name in weights.keys())  # noqa: SIM118
    facts = json.loads((tmp_path / "models" / "tiny" / "ft" / "manifest.json").read_text())
    assert facts["facts"]["num_videos"] == 2 * (len(before) - 1)  # mirrored ones have columns too
    scored = pd.read_parquet(tmp_path / "results" / "tiny" / "ft" / "8" / "metrics" / "per_frame.parquet")
    assert set(scored["person"]) == {tested[1]}
    for path in [*(tmp_path / "results").rglob("*"), *(tmp_path / "report").rglob("*"), *(tmp_path / "models").rglob("*")]:
        assert not path.is_file() or down[1].encode() not in path.read_bytes(), path
    assert "tiny: 5 of 8 " in (tmp_path / "report" / "table1.md").read_text()


def test_what_the_pipeline_left_is_verified_from_its_images(made):
    done = python(made, "stages.verify", str(made / "results" / "tiny"))
    assert (done.returncode, done.stderr) == (0, "")
    assert re.findall(r"\d+", done.stdout) == ["4", "56", "30"]  # cells, frames, frames scored again


def out_of(stage: str, folder: Path) -> Path:
    words = command(stage, folder)
    return Path(words[words.index("--out") + 1])


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): fileio.sha256(path) for path in sorted(folder.rglob("*")) if path.is_file()}


# What lies in the work folder once there is something to go on from.
@pytest.mark.parametrize(("stage", "sign"), [("fetch", "**/*.journal"), ("landmarks", "*.journal"),
                                             ("train", "**/checkpoint-????????"), ("adapt", ""), ("score", "")])
def test_a_stage_killed_on_the_way_ends_with_the_bytes_of_an_uninterrupted_one(made, stage, sign):
    folder = made
    out = out_of(stage, folder)
    due = contents(out)
    program.forget(out)  # what it made lies on a shelf until the next stage begins
    work = ROOT / "work"
    works = {*work.glob(f"{stage}/*"), *work.glob("shelves/*/*")}
    process = subprocess.Popen(command(stage, folder), cwd=ROOT, env=ENV, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def on_the_way() -> bool:
        new = {*work.glob(f"{stage}/*"), *work.glob("shelves/*/*")} - works
        return any(any(folder.glob(sign)) if sign else folder.parent.name == stage for folder in new)

    while process.poll() is None and not on_the_way():
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the stage ended before it could be killed"
    again = run(stage, folder)
    assert again.returncode == 0, again.stderr
    assert contents(out) == due
    if stage == "train":
        assert re.search(r"checkpoint-\d{8}", again.stderr)  # it goes on from one


@pytest.mark.parametrize(("change", "sentence"), [
    (lambda run, tiny: run.update(methds=["ft"]), r"/params\.yaml: methds: .*'methods'"),
    (lambda run, tiny: tiny.update(lern={}), r"params/tiny\.yaml: lern: .*'learn'"),
    (lambda run, tiny: tiny["learn"]["ft"].update(steps="8"), r"params/tiny\.yaml: learn\.ft\.steps: found '8'"),
    (lambda run, tiny: tiny["learn"]["ft"].pop("lr"), r"params/tiny\.yaml: learn\.ft\.lr: "),
])
def test_a_wrong_setting_is_one_sentence_and_exit_code_1(made, tmp_path, change, sentence):
    folder = made
    settings(tmp_path, change)
    words = [str(tmp_path / "params.yaml") if word.endswith("params.yaml") else word for word in command("train", folder)]
    done = subprocess.run(words, cwd=ROOT, env=ENV, capture_output=True, text=True)
    assert done.returncode == 1 and re.search(sentence, done.stderr)
    assert done.stderr.count("\n") == 1 and "Traceback" not in done.stderr


def test_an_unknown_method_or_a_missing_input_is_one_sentence_and_wrong_usage_is_exit_code_2(made):
    folder = made
    unknown = run("train", folder, method="fft")
    assert unknown.returncode == 1 and "'fft'" in unknown.stderr and "Traceback" not in unknown.stderr
    missing = run("adapt", folder, method="ff")
    assert missing.returncode == 1 and "manifest.json" in missing.stderr and "Traceback" not in missing.stderr
    usage = subprocess.run([sys.executable, "-m", "stages.train", "--wrong"], cwd=ROOT, env=ENV, capture_output=True, text=True)
    assert usage.returncode == 2 and "--dataset" in usage.stderr and "Traceback" not in usage.stderr
