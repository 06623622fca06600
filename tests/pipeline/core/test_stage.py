import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from pipeline.core import stage
from pipeline.core.errors import Refused
from pipeline.core.manifest import read_manifest
from pipeline.core.progress import progress
from pipeline.parallel import executor, ray, worker

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setattr(stage, "ROOT", tmp_path)
    return tmp_path


def test_an_interrupted_stage_finds_its_work_again_and_publishes_a_whole_folder(root):
    out = root / "data" / "frames"
    with pytest.raises(KeyboardInterrupt), stage.run("frames", out=out, inputs={}, config={"size": 1}) as job:
        (job.work / "half").write_text("1")
        raise KeyboardInterrupt
    assert not out.exists()
    with stage.run("frames", out=out, inputs={}, config={"size": 1}) as job:
        assert (job.work / "half").read_text() == "1"
        (job.out / "result").write_text("2")
        job.publish("frames", {})
    assert read_manifest(out, "frames")["files"].keys() == {"result"}
    assert not job.work.exists() and [p.name for p in out.parent.iterdir()] == ["frames"]


def test_what_took_days_is_there_until_a_stage_that_reads_the_result_begins(root):
    frames = root / "frames"
    for _ in range(2):  # DVC is killed before it has noted the first result, removes it and asks again
        with stage.run("frames", out=frames, inputs={}, config={}) as job:
            shelves = job.shelf
            shelves.mkdir(parents=True, exist_ok=True)
            (shelves / "made").open("a").write("x")
            job.publish("frames", {})
    assert (shelves / "made").read_text() == "xx"
    with stage.run("landmarks", out=root / "landmarks", inputs={"frames": frames}, config={}) as job:
        assert not shelves.exists()
        job.publish("landmarks", {})


def test_other_configuration_does_not_see_the_work_of_an_interrupted_run(root):
    works = []
    for size in (1, 2):
        with pytest.raises(KeyboardInterrupt), stage.run("frames", out=root / "o", inputs={}, config={"size": size}) as job:
            works.append(job.work)
            raise KeyboardInterrupt
    assert works[0] != works[1]


def test_another_table_of_crops_is_other_code(root):
    (root / "pipeline").mkdir()
    seen = set()
    for name in ("crops.py", "crops.yaml", "crops.md"):
        (root / "pipeline" / name).write_text("x")
        seen.add(stage.code())
    assert len(seen) == 2


def test_only_one_process_makes_an_output_at_a_time(root):
    with stage.run("frames", out=root / "o", inputs={}, config={}) as job:
        with pytest.raises(Refused, match=str(root / "o")), stage.run("frames", out=root / "o", inputs={}, config={}):
            pass
        job.publish("frames", {})


def test_a_stage_refuses_an_input_that_is_not_whole(root):
    with pytest.raises(Refused, match=r"nowhere/manifest\.json"):
        with stage.run("frames", out=root / "o", inputs={"videos": root / "nowhere"}, config={}):
            pass


def test_a_full_disk_is_refused_before_work_starts(root, monkeypatch):
    monkeypatch.setattr(stage, "FREE", 2**80)
    with pytest.raises(Refused, match="MiB"), stage.run("frames", out=root / "o", inputs={}, config={}):
        pass


def test_a_refusal_is_one_sentence_and_exit_1_and_a_defect_keeps_its_traceback(capsys):
    def refuse():
        raise Refused("f.yaml: found 3; write a word")

    with pytest.raises(SystemExit) as end:
        stage.main(refuse)
    assert end.value.code == 1 and capsys.readouterr().err == "error: f.yaml: found 3; write a word\n"
    with pytest.raises(ValueError, match="defect"):
        stage.main(lambda: (_ for _ in ()).throw(ValueError("defect")))


def test_a_killed_parent_takes_its_stage_along(tmp_path):
    child = ("import os, time; from pipeline import run; run.die_with_parent(os.getppid()); "
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


def test_progress_passes_every_item_through(capsys):
    assert list(progress(range(5), 5, "frames")) == list(range(5))
    assert "frames: 5/5" in capsys.readouterr().err
