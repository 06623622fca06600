import os
import platform
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from pipeline.core import progress as progress_display
from pipeline.core import stage as core_stage
from pipeline.core.errors import InputError
from pipeline.core.manifest import read_manifest
from pipeline.core.progress import Bar, progress
from pipeline.parallel import executor, ray, worker

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setattr(core_stage, "ROOT", tmp_path)
    return tmp_path


def test_an_interrupted_stage_finds_its_work_again_and_publishes_a_whole_folder(root):
    out = root / "data" / "frames"
    with pytest.raises(KeyboardInterrupt), core_stage.run("frames", out=out, inputs={}, config={"size": 1}) as job:
        (job.work / "half").write_text("1")
        raise KeyboardInterrupt
    assert not out.exists()
    with core_stage.run("frames", out=out, inputs={}, config={"size": 1}) as job:
        assert (job.work / "half").read_text() == "1"
        (job.out / "result").write_text("2")
        job.publish("frames", {})
    assert read_manifest(out, "frames")["files"].keys() == {"result"}
    assert not job.work.exists() and [p.name for p in out.parent.iterdir()] == ["frames"]


def test_what_took_days_is_there_until_a_stage_that_reads_the_result_begins(root):
    frames = root / "frames"
    for _ in range(2):  # DVC is killed before it has noted the first result, removes it and asks again
        with core_stage.run("frames", out=frames, inputs={}, config={}) as job:
            shelves = job.shelf
            shelves.mkdir(parents=True, exist_ok=True)
            (shelves / "made").open("a").write("x")
            job.publish("frames", {})
    assert (shelves / "made").read_text() == "xx"
    with core_stage.run("landmarks", out=root / "landmarks", inputs={"frames": frames}, config={}) as job:
        assert not shelves.exists()
        job.publish("landmarks", {})


def test_other_configuration_does_not_see_the_work_of_an_interrupted_run(root):
    works = []
    for size in (1, 2):
        with pytest.raises(KeyboardInterrupt), \
            core_stage.run("frames", out=root / "o", inputs={}, config={"size": size}) as job:
            works.append(job.work)
            raise KeyboardInterrupt
    assert works[0] != works[1]


def test_only_one_process_makes_an_output_at_a_time(root):
    with core_stage.run("frames", out=root / "o", inputs={}, config={}) as job:
        with pytest.raises(InputError, match=str(root / "o")), core_stage.run("frames", out=root / "o", inputs={}, config={}):
            pass
        job.publish("frames", {})


def test_a_stage_refuses_an_input_that_is_not_whole(root):
    with pytest.raises(InputError, match=r"nowhere/manifest\.json"):
        with core_stage.run("frames", out=root / "o", inputs={"videos": root / "nowhere"}, config={}):
            pass


def test_a_full_disk_is_refused_before_work_starts(root, monkeypatch):
    monkeypatch.setattr(core_stage, "FREE", 2**80)
    with pytest.raises(InputError, match="MiB"), core_stage.run("frames", out=root / "o", inputs={}, config={}):
        pass


def test_a_killed_parent_takes_its_stage_along(tmp_path):
    child = ("import os, time; from pipeline.core import stage; stage.die_with_parent(os.getppid()); "
             f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(60)")
    parent = subprocess.Popen([sys.executable, "-c", f"import subprocess,sys; subprocess.run([sys.executable,'-c',{child!r}])"],
                              cwd=ROOT)
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        time.sleep(0.05)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    pid = int((tmp_path / "pid").read_text())
    for _ in range(100):
        try:
            os.kill(pid, 0)
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except (ProcessLookupError, FileNotFoundError):
            return
        if state == "Z":
            return
        time.sleep(0.1)
    pytest.fail("the child outlived its killed parent")


def test_results_come_in_the_order_of_the_items_for_any_number_of_workers():
    assert [list(executor.map(abs, [-3, 2, -1], executor.local(n))) for n in (1, 2)] == [[3, 2, 1]] * 2


def _threads(size: int) -> int:
    np.ones((size, size)) @ np.ones((size, size))
    return len(list(Path("/proc/self/task").iterdir()))


def test_workers_multiply_matrices_on_one_thread_whatever_the_environment_says(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert list(executor.map(_threads, [300, 301], executor.local(2))) == [1, 1]
    assert os.environ["OMP_NUM_THREADS"] == "2"


def _worker(folder: Path) -> int:
    """Worker 1 dies the first time; worker 0 works on until it has come again."""
    number = worker.number()
    if number == 1 and not (folder / "died").exists():
        (folder / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    while number == 0 and not (folder / "again").exists():
        time.sleep(.01)
    (folder / "again").touch()
    return number


def test_workers_side_by_side_have_numbers_of_their_own_and_one_that_died_hands_its_number_on(tmp_path):
    assert sorted(executor.map(_worker, [tmp_path] * 2, executor.local(2))) == [0, 1]
    assert worker.number() == 0


def test_tasks_of_ray_share_the_gpus_that_there_are():
    assert [ray.share(*given) for given in ((0, 4), (4, 4), (8, 4), (2, 4), (3, 4), (1, 3))] == [0, 1, 1, .5, .5, .3333]


def test_progress_passes_every_item_through_and_tells_a_log_in_lines_when_their_time_has_come(capsys, monkeypatch):
    assert list(progress(range(5), 5, "frames")) == list(range(5))
    assert re.fullmatch(r"frames: 5/5, [\d.]+item/s, ETA 00:00\n", capsys.readouterr().err)
    monkeypatch.setattr(progress_display, "EVERY", 0.)
    assert list(progress(range(5), 5, "frames")) == list(range(5))
    assert [line.split(",")[0] for line in capsys.readouterr().err.splitlines()][:5] == [f"frames: {n}/5" for n in range(1, 6)]


def test_a_bar_counts_on_from_what_was_there_and_its_rate_is_of_what_is_new(capsys, monkeypatch):
    now = [0.]
    monkeypatch.setattr(progress_display, "EVERY", 15.)
    with Bar(total=1000, initial=50, desc="frames", unit="item") as bar:
        bar._time, bar.start_t, bar.last_print_t = (lambda: now[0]), 0., 0.
        for now[0] in (14., 150.):
            bar.update(150)
    assert capsys.readouterr().err.splitlines()[0] == "frames: 350/1000, 2.00item/s, ETA 05:25"


KEEPS = """
import subprocess, sys

def held():  # MiB resident before and after 200 MiB are freed
    pages = [bytearray(b"x" * 2**20) for _ in range(200)]
    before = resident()
    pages.clear()
    return before - resident()

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 2**20

if sys.argv[1] == "stage":
    from stages import _cli
    _cli.run(lambda: print(held(), subprocess.check_output([sys.executable, __file__, "bare"], text=True)))
else:
    print(held())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the variables are glibc's")
def test_a_stage_and_what_it_starts_keep_freed_memory(tmp_path):
    (tmp_path / "keeps.py").write_text(KEEPS)
    environment = {name: value for name, value in os.environ.items() if name not in core_stage.KEEP} | {"PYTHONPATH": str(ROOT)}
    printed = [subprocess.run([sys.executable, tmp_path / "keeps.py", kind], env=environment, capture_output=True, text=True,
                              check=True).stdout for kind in ("bare", "stage")]
    bare, stage, started = map(float, " ".join(printed).split())
    assert bare > 100 and abs(stage) < 50 and abs(started) < 50


def test_work_begun_by_other_code_or_settings_is_left_alone_and_what_differs_is_named(root, monkeypatch, capsys):
    code = {"model/few_shot/losses.py": "1", "stages/train.py": "2"}
    monkeypatch.setattr(core_stage.fingerprint, "files", lambda *_, **__: dict(code))

    def begin(**config):
        with pytest.raises(KeyboardInterrupt), core_stage.run("train", out=root / "o", inputs={}, config=config) as job:
            raise KeyboardInterrupt
        return job.work, capsys.readouterr().err

    first, said = begin(lr=1, steps=[3, 4])
    assert not said and begin(lr=1, steps=[3, 4]) == (first, "")
    code["model/few_shot/losses.py"] = "3"
    second, said = begin(lr=1, steps=[3, 4])
    assert second != first and first.exists() and first.name in said
    assert "model/few_shot/losses.py" in said and "stages/train.py" not in said and "steps" not in said
    _, said = begin(lr=1, steps=[3, 5])
    assert "steps.1" in said and "lr" not in said and "losses" not in said


def test_the_code_of_a_training_is_not_that_of_the_report_or_the_study():
    files = core_stage.fingerprint.files("train", method="ft")
    assert {"stages/train.py", "model/methods/ft.py", "model/few_shot/losses.py", "pipeline/episodes.py"} <= files.keys()
    assert not [name for name in files if name.startswith(("eval/", "pipeline/sources/", "pipeline/media/"))]
