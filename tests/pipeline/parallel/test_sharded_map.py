"""Facts about long runs: every engine gives the same bytes, a kill costs the items in flight, damage costs its record."""

import hashlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import made_clips as clips
import made_params
import made_stage
import numpy as np
import pandas as pd
import pytest
from made_params import published
from ruamel.yaml import YAML

from pipeline.core import progress
from pipeline.core import stage as core_stage
from pipeline.frames import extract
from pipeline.frames.clips import Shelves
from pipeline.parallel import executor, journal, shard_progress, sharded_map

ROOT = Path(__file__).resolve().parents[3]
PATHS = f"{ROOT}{os.pathsep}{ROOT / 'tests'}"
KILLS = 50


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*")) if path.is_file()}


def talking(path: Path, x: float = 60, tone: int = 60, n: int = 8) -> Path:
    return clips.write(path, [clips.picture([(x + k, 60, 20)], tone=tone + k) for k in range(n)])


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eleven videos of three people, four of them faulty."""
    root = tmp_path_factory.mktemp("videos")
    for number in range(7):
        talking(root / f"p{number % 3}/v{number}.mp4", 50 + 5 * number, 20 if number == 3 else 60)
    clips.write(root / "p1/nobody.mp4", [clips.picture([])] * 8)
    clips.cut(root / "p0/v0.mp4", root / "p1/cut.mp4", .6)
    (root / "p2/zero.mp4").touch()
    (root / "p2/noise.mp4").write_bytes(np.random.default_rng(0).bytes(3000))
    return root


# ---- engines

def shards(root: Path, out: Path, config: executor.Config, fatal: Path) -> pd.DataFrame:
    """The frames stage's work on all videos, three a shard."""
    items = sorted((path.parent.name, path.stem, str(path.relative_to(root)), "") for path in root.rglob("*.mp4"))
    pack = partial(extract.pack, clips=Shelves(root), config=clips.CONFIG, detect=partial(made_stage.detect, fatal=fatal))
    work = sharded_map.Work(partial(made_stage.noted, pack), extract.lost, extract.finish)
    out.mkdir()
    return extract.publish(out, list(sharded_map.make(work, sharded_map.cut(items, 3), out.with_suffix(".work"), config,
                                                      "test")))


ENGINES = {"two processes": ("local", {}), "Ray": ("ray", {}), "SLURM jobs": ("slurm", {"cluster": "local"})}


@pytest.fixture(scope="module")
def alone(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shards made one after the other."""
    folder = tmp_path_factory.mktemp("alone")
    (folder / "fatal").touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NOTES", str(folder / "notes"))
        made = shards(videos, folder / "out", executor.local(1), folder / "fatal")
    assert made["status"].value_counts().to_dict() == {"ok": 7, "no-face": 1, "corrupt": 2, "empty": 1}
    return folder / "out"


@pytest.mark.parametrize("name", ENGINES)
def test_every_engine_gives_the_same_bytes_also_where_a_worker_dies(name: str, alone: Path, videos: Path, tmp_path: Path,
                                                                     monkeypatch) -> None:
    kind, slurm = ENGINES[name]
    monkeypatch.setattr(core_stage, "ROOT", tmp_path)
    monkeypatch.setenv("PYTHONPATH", PATHS)
    monkeypatch.setenv("NOTES", str(tmp_path / "notes"))
    shards(videos, tmp_path / "out", executor.Config(kind=kind, workers=2, slurm=slurm), tmp_path / "fatal")
    assert contents(tmp_path / "out") == contents(alone)
    begun = [item for _, _, what, item in made_stage.notes(tmp_path / "notes") if what == "begin"]
    assert (tmp_path / "fatal").exists() and len(begun) == 12  # eleven, and the one that was in flight
    assert len({process for _, process, *_ in made_stage.notes(tmp_path / "notes")}) > 1


# ---- kills

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


# ---- damage

ITEMS = [("item", n) for n in range(5)]


def broken_off(folder: Path) -> Path:
    """A journal of four items; the run ended at the fifth."""
    def each(item: tuple[str, int]) -> sharded_map.Record:
        if item[1] == 4:
            raise KeyboardInterrupt
        return {"value": np.full(5, item[1])}

    with pytest.raises(KeyboardInterrupt):
        list(sharded_map.make(sharded_map.Work(each, lost, total), sharded_map.cut(ITEMS, 5), folder, executor.local(1),
                              "test"))
    return journal.places(folder, 0)[1]


def lost(item: tuple[str, int], reason: str) -> sharded_map.Record:
    return {"value": np.full(5, -1), "status": np.array("corrupt")}


def total(shard: sharded_map.Shard, records: Iterator[sharded_map.Record], folder: Path) -> None:
    (folder / "values").write_text(" ".join(str(record["value"].tolist()) for record in records))


def gone_on(folder: Path) -> list[int]:
    """The items that the next run did; what came out is right."""
    asked: list[int] = []

    def each(item: tuple[str, int]) -> sharded_map.Record:
        asked.append(item[1])
        return {"value": np.full(5, item[1])}

    made = list(sharded_map.make(sharded_map.Work(each, lost, total), sharded_map.cut(ITEMS, 5), folder, executor.local(1),
                                 "test"))
    assert (made[0] / "values").read_text() == " ".join(str([n] * 5) for n in range(5))
    assert not list(folder.glob("*.journal")) and not list(folder.glob(".*"))
    return asked


@pytest.fixture
def whole(tmp_path: Path) -> tuple[bytes, list[journal.Entry]]:
    path = broken_off(tmp_path / "first")
    file = os.open(path, os.O_RDONLY)
    data = os.read(file, 1 << 20)
    return data, [entry for entry in journal.entries(file, data[:8]) if entry.kind == journal.KEPT]


def laid(folder: Path, data: bytes) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    journal.places(folder, 0)[1].write_bytes(data)
    return folder


def test_a_run_goes_on_after_its_last_whole_record_wherever_it_was_torn(whole, tmp_path: Path) -> None:
    data, kept = whole
    for length in [*range(0, len(data), 13), kept[3].end, kept[3].end - 1, kept[3].offset]:
        done = [entry.number for entry in kept if entry.end <= length]
        assert gone_on(laid(tmp_path / "torn", data[:length])) == [n for n in range(5) if n not in done], length


def test_a_flipped_byte_costs_its_own_record_only(whole, tmp_path: Path) -> None:
    data, kept = whole
    starts = [0, *(entry.end for entry in kept)]  # of a begin and the record that follows it
    for at in range(0, kept[3].end, 7):
        damaged = bytearray(data)
        damaged[at] ^= 0x10
        hit = next(n for n in range(4) if at < starts[n + 1])
        assert set(gone_on(laid(tmp_path / "flipped", bytes(damaged)))) - {4} <= {hit}, at
    damaged[kept[2].offset + 3] ^= 1
    assert gone_on(laid(tmp_path / "flipped", bytes(damaged))).count(2) == 1


def test_the_journal_of_other_items_is_not_taken_for_ours(whole, tmp_path: Path) -> None:
    folder = laid(tmp_path / "other", whole[0])
    made = sharded_map.make(sharded_map.Work(lambda item: {"value": np.array(item[1])}, lost, total),
                            sharded_map.cut([("x", 9)] * 5, 5), folder,
                      executor.local(1), "test")
    assert [(path / "values").read_text() for path in made] == ["9 9 9 9 9"]


def test_bytes_in_a_payload_that_look_like_a_record_are_none(tmp_path: Path) -> None:
    mark, run_ = b"mmmmmmmm", b"rrrrrrrr"
    with journal.Journal(tmp_path / "inner", mark, run_) as inner:
        inner.add(1, "ok", b"not ours")
    with journal.Journal(tmp_path / "outer", mark, run_) as outer:
        outer.add(0, "ok", (tmp_path / "inner").read_bytes())
    with journal.Journal(tmp_path / "outer", mark, run_) as again:
        assert 0 in again and 1 not in again


# ---- items that kill, and a driver that dies

def test_an_item_that_kills_its_workers_is_given_up_with_a_reason_and_the_others_are_done(tmp_path: Path) -> None:
    work = sharded_map.Work(made_stage.deadly, made_stage.given_up, made_stage.texts)
    items = [(n, str(tmp_path / "tries")) for n in range(6)]
    made = list(sharded_map.make(work, sharded_map.cut(items, 3), tmp_path / "work", executor.local(2), "test"))
    assert [(path / "texts").read_text() for path in made] == [
        "0 done\n1 3 workers died at it (killed, or out of memory)\n2 done\n", "3 done\n4 done\n5 done\n"]
    assert (tmp_path / "tries").read_text() == "1\n" * 3


def test_a_task_whose_workers_always_die_ends_the_map_instead_of_trying_for_ever(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"2 workers died at one task \(the last with code -9\)"):
        list(executor.map(made_stage.deadly, [(1, str(tmp_path / "tries"))], executor.local(2), lives=2))
    assert (tmp_path / "tries").read_text() == "1\n" * 2


def test_an_exception_ends_the_map_and_says_where_it_came_from() -> None:
    with pytest.raises(KeyError) as found:
        list(executor.map(made_stage.missing, ["a", "b"], executor.local(2)))
    assert "made_stage.py" in "".join(found.value.__notes__)


def test_few_tasks_are_in_flight_and_few_results_wait_however_many_items_there_are() -> None:
    taken = []
    results = executor.map(abs, (taken.append(n) or n for n in range(10**9)), executor.local(2))
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    assert len(taken) <= 3 + executor.AHEAD * 2
    results.close()


# ---- progress

def test_progress_counts_what_is_done_by_status_while_shards_are_in_flight(tmp_path: Path) -> None:
    run_ = b"thisrun."
    statuses = ["ok", "ok", "no-face", "ok"]

    def finish(shard: sharded_map.Shard, records: Iterator[sharded_map.Record], folder: Path) -> None:
        assert watch.look() == {"ok": 3, "no-face": 1}
        total(shard, records, folder)

    work = sharded_map.Work(lambda item: {"value": np.array(0), "status": np.array(statuses[item[0]])}, lost, finish)
    watch = shard_progress.Watch(tmp_path, 2, run_)
    list(sharded_map.make(work, sharded_map.cut([(n,) for n in range(4)], 4), tmp_path, executor.local(1), "test"))
    assert watch.look() == {"ok": 3, "no-face": 1}
    with journal.Journal(journal.places(tmp_path, 1)[1], b"12345678", run_) as open_journal:
        open_journal.begin(0)
        open_journal.add(0, "gone", b"x" * 1000)
        open_journal.add(1, "network", b"", again=True)
        open_journal.begin(2)
        assert watch.look() == {"ok": 3, "no-face": 1, "gone": 1, "network": 1}
        assert shard_progress.Watch(tmp_path, 2, b"nextrun.").look() == {"ok": 3, "no-face": 1, "gone": 1}


def test_a_log_gets_a_line_from_time_to_time_and_one_at_the_end(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(progress, "EVERY", .05)
    work = sharded_map.Work(lambda item: time.sleep(.04) or {"value": np.array(0)}, lost, total)
    list(sharded_map.make(work, sharded_map.cut([(n,) for n in range(8)], 4), tmp_path, executor.local(1), "frames x"))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) > 2 and re.fullmatch(r"frames x: 8/8, [\d.]+item/s, ETA 00:00, 8 ok", lines[-1])
    assert any(re.fullmatch(r"frames x: [1-7]/8, [\d.]+item/s, ETA 00:0\d, \d ok", text) for text in lines)


def test_a_terminal_gets_a_bar_with_the_counts(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(shard_progress, "GLANCE", .02)
    work = sharded_map.Work(lambda item: time.sleep(.03) or {"value": np.array(0)}, lost, total)
    list(sharded_map.make(work, sharded_map.cut([(n,) for n in range(6)], 3), tmp_path, executor.local(1), "frames x"))
    shown = capsys.readouterr().err.split("\r")
    assert "6/6" in shown[-1] and "6 ok" in shown[-1]
