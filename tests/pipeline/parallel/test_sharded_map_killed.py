"""Kills at random moments: the bytes of a clean run, at the cost of the items in flight."""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import made_params
import made_stage
from made_params import published
from made_stage import contents
from ruamel.yaml import YAML

from pipeline.parallel import sharded_map

ROOT = Path(__file__).resolve().parents[3]
PATHS = f"{ROOT}{os.pathsep}{ROOT / 'tests'}"
KILLS = 50


def command(stage: str, folder: Path) -> list[str]:
    """The command of dvc.yaml for data set `tiny`, its paths below `folder`."""
    line = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"][stage]["cmd"].replace("${item.dataset}", "tiny")
    given = line.split(f"stages.{stage} ")[1].split()
    words = [str(folder / word) if re.match("(data|videos)/", word) else word for word in given]
    code = "import made_stage; made_stage.main()"
    return [sys.executable, "-c", code, stage, *words, "--params", str(folder / "params.yaml")]


def start(stage: str, folder: Path) -> subprocess.Popen[bytes]:
    env = os.environ | {"PYTHONPATH": PATHS, "OMP_NUM_THREADS": "1", "ROOT": str(folder), "NOTES": str(folder / "notes")}
    return subprocess.Popen(command(stage, folder), cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def lay(folder: Path, videos: Path) -> Path:
    """A project of the data set `tiny`: a user's folder of videos, two workers, shards of three."""
    shutil.copytree(videos, folder / "videos/tiny")
    tiny = published("folder")
    data = tiny["data"]
    data |= {"engine": {"kind": "local", "workers": 2, "slurm": {}}, "landmarks": {"detector": "dlib68"}}
    data["fetch"]["per_shard"] = data["frames"]["per_shard"] = 3
    data["frames"] |= {"size": 64, "per_clip": 8, "least": 4}
    made_params.write(folder, {}, tiny=tiny)
    return folder


def children(parent: int) -> list[int]:
    """The workers of a stage."""
    try:
        found = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        return [int(child) for child in found if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]
    except OSError:
        return []


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


class Killer:
    """Ends a stage or one of its workers by SIGKILL at random moments."""

    def __init__(self, seed: int, count: int, notes: Path) -> None:
        self.rng, self.left, self.notes = random.Random(seed), count, notes
        self.hits: list[float] = []  # moments, seconds

    def may(self, worker: int, since: float) -> bool:
        """Not a third time at one item: it would be given up."""
        seen = [(process, item) for seconds, process, what, item in made_stage.notes(self.notes) if seconds > since
                and what == "begin"]
        at = [item for process, item in seen if process == worker][-1:]
        return not at or [item for _, item in seen].count(at[0]) < sharded_map.LIVES

    def wait(self, stage: subprocess.Popen[bytes]) -> int:
        """Kills until the stage has ended."""
        begun = time.time()
        while self.left:
            early = self.rng.random() < .1  # while it starts
            while not early and stage.poll() is None and not children(stage.pid):
                time.sleep(.01)
            moment = time.monotonic() + self.rng.uniform(0, .7)
            while stage.poll() is None and time.monotonic() < moment:
                time.sleep(.01)
            workers = children(stage.pid)
            victim = self.rng.choice([stage.pid, *2 * [worker for worker in workers if self.may(worker, begun)]])
            if stage.poll() is not None:
                break
            self.hits.append(time.time())
            self.left -= 1
            os.kill(victim, signal.SIGKILL)
            if victim == stage.pid:
                stage.wait()
                gone = time.monotonic() + 5
                while any(map(alive, workers)) and time.monotonic() < gone:
                    time.sleep(.01)
                assert not any(map(alive, workers)), "a worker outlived its driver"
        return stage.wait()


def test_50_kills_at_random_moments_leave_the_bytes_of_a_clean_run_and_cost_the_items_in_flight(videos: Path,
                                                                                                 tmp_path: Path) -> None:
    clean, folder = lay(tmp_path / "clean", videos), lay(tmp_path / "killed", videos)
    stages = {"fetch": "videos", "frames": "frames", "landmarks": "landmarks"}
    for stage in stages:
        process = start(stage, clean)
        assert process.wait() == 0, process.stderr.read().decode()
    due = {out: contents(clean / "data/tiny" / out) for out in stages.values()}
    killer, times = Killer(0, KILLS, folder / "notes"), 0
    while killer.left:
        shutil.rmtree(folder / "work", ignore_errors=True)
        for stage, out in stages.items():
            before = len(made_stage.notes(folder / "notes"))
            while killer.wait(process := start(stage, folder)):
                assert process.returncode == -signal.SIGKILL, process.stderr.read().decode()
            assert contents(folder / "data/tiny" / out) == due[out], stage
            repeated(made_stage.notes(folder / "notes")[before:], killer.hits)
            times += 1
    assert len(killer.hits) == KILLS and times >= len(stages)
    assert not list((folder / "work").rglob("*.journal"))


def repeated(notes: list[made_stage.Note], kills: list[float]) -> None:
    """Each item was begun once, and once more for each kill that fell between its begin and its record."""
    begun: dict[str, list[made_stage.Note]] = defaultdict(list)
    ended = {(process, item): seconds for seconds, process, what, item in notes if what == "end"}
    for note in notes:
        if note[2] == "begin":
            begun[note[3]].append(note)
    for item, attempts in begun.items():
        for seconds, process, *_ in attempts[:-1]:
            end = ended.get((process, item), time.time()) + 1  # from the note to the journal, on a busy machine
            assert any(seconds <= kill <= end for kill in kills), f"{item} was done again though nothing had hit it"


def test_jobs_that_outlive_their_driver_and_the_next_driver_do_no_item_twice(tmp_path: Path) -> None:
    code = f"import made_stage; made_stage.jobs({str(tmp_path)!r})"
    env = os.environ | {"PYTHONPATH": PATHS, "NOTES": str(tmp_path / "notes")}
    driver = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=env, stderr=subprocess.DEVNULL)
    while len(made_stage.notes(tmp_path / "notes")) < 3:
        assert driver.poll() is None
        time.sleep(.02)
    driver.kill()
    driver.wait()
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, check=True, capture_output=True)
    assert [(path / "texts").read_text() for path in sorted((tmp_path / "shelf").iterdir())] == [
        "".join(f"{n} done\n" for n in range(5 * k, 5 * k + 5)) for k in range(2)]
    begun = [item for _, _, what, item in made_stage.notes(tmp_path / "notes") if what == "begin"]
    assert len(begun) == len(set(begun)) == 10
