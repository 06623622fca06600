"""A map over shards: every engine gives the same bytes, damage costs its record, an item that kills is given up."""

import os
import shutil
from functools import partial
from pathlib import Path

import made_clips as clips
import made_stage
import numpy as np
import pandas as pd
import pytest
from made_stage import contents, lost, total

from pipeline.core import stage as core_stage
from pipeline.frames import extract
from pipeline.frames.clips import Shelves
from pipeline.parallel import executor, journal, sharded_map

ROOT = Path(__file__).resolve().parents[3]
PATHS = f"{ROOT}{os.pathsep}{ROOT / 'tests'}"


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


def test_an_item_that_kills_its_workers_is_given_up_with_a_reason_and_the_others_are_done(tmp_path: Path) -> None:
    work = sharded_map.Work(made_stage.deadly, made_stage.given_up, made_stage.texts)
    items = [(n, str(tmp_path / "tries")) for n in range(6)]
    made = list(sharded_map.make(work, sharded_map.cut(items, 3), tmp_path / "work", executor.local(2), "test"))
    first, second = ((path / "texts").read_text().splitlines() for path in made)
    assert [first[0], first[2], *second] == [f"{n} done" for n in (0, 2, 3, 4, 5)]
    assert len(first) == 3 and first[1].startswith("1 3 ")  # item 1, given up after three workers
    assert (tmp_path / "tries").read_text() == "1\n" * 3


def test_a_task_whose_workers_always_die_ends_the_map_instead_of_trying_for_ever(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"\b2\b.*-9"):
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


def test_an_item_to_be_asked_for_again_is_not_remembered(tmp_path: Path) -> None:
    asked: list[str] = []

    def once(item: tuple[str]) -> sharded_map.Record:
        asked.append(item[0])
        return {"name": np.array(item[0])} | ({"again": np.array(True)} if item[0] == "a" and len(asked) < 4 else {})

    def finish(shard: sharded_map.Shard, records, folder: Path) -> None:
        (folder / "names").write_text("".join(str(record["name"]) for record in records))

    for _ in range(4):
        work = sharded_map.Work(once, lambda item, reason: {}, finish)
        made = list(sharded_map.make(work, sharded_map.cut([("a",), ("b",), ("c",)], 2), tmp_path, executor.local(1), "test"))
        assert [(folder / "names").read_text() for folder in made] == ["ab", "c"]
    assert asked == ["a", "b", "c", "a"] and sorted(path.name for path in tmp_path.iterdir()) == ["00000", "00001"]
