"""Facts about hostile input: hundreds of bad files among good clips go through the stages, and only they are lost."""

from __future__ import annotations

import hashlib
import os
import random
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import made_archives as archives
import made_hostile as hostile
import made_hostile_files as hostile_files
import made_params
import pandas as pd
import pytest
from made_clips import CONFIG, LIMITS
from made_params import published
from ruamel.yaml import YAML

from pipeline.core import ledger
from pipeline.core.errors import InputError
from pipeline.core.ledger import RejectedItem
from pipeline.core.shards import ShardReader
from pipeline.media import filetype, zip_members
from pipeline.media.multipart import Parts

ROOT = Path(__file__).resolve().parents[3]
SECRET = "canary-8f2b6c"
MEMORY = 1024  # MiB a media process may ask for
ENGINE = {"kind": "local", "workers": 2, "slurm": {}}


class Ear:
    """Counts who connects to a port of this machine."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.address, self.heard = f"http://127.0.0.1:{self.socket.getsockname()[1]}", 0
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                self.socket.accept()[0].close()
            except OSError:
                return
            self.heard += 1


@contextmanager
def ear() -> Iterator[Ear]:
    made = Ear()
    try:
        yield made
    finally:
        made.socket.close()


def params(folder: Path, source: str, fetch: dict[str, Any]) -> None:
    data = published(source)["data"]
    limits = LIMITS.model_copy(update={"memory": MEMORY, "seconds": 8}).model_dump()
    given = {name: {**part, **({"limits": limits} if "limits" in part else {})} for name, part in (
        ("fetch", {**data["fetch"], **fetch}), ("frames", {**CONFIG.model_dump(), "per_shard": 16}))}
    made_params.write(folder, {}, tiny={"data": {**data, **given, "engine": ENGINE}})


def stage(name: str, folder: Path, temporary: Path) -> str:
    """What a stage printed, run over folder/videos/tiny as dvc.yaml says."""
    line = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"][name]["cmd"].replace("${item.dataset}", "tiny")
    words = [str(folder / word) if re.match(r"(data|videos)/", word) else word for word in line.split()[3:]]
    done = subprocess.run([sys.executable, str(ROOT / "tests/made_run.py"), name, str(folder), *words, "--params",
                           str(folder / "params.yaml")], cwd=folder, capture_output=True, text=True,
                          env={**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(temporary),
                               "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"})
    assert done.returncode == 0, f"{name}: {done.stderr[-3000:]}"
    return done.stdout


def listing(home: Path) -> dict[bytes, tuple[int, int, str]]:
    """Everything but the outputs and work folders: kind and size, time of change, hash of what is small."""
    found = {}
    for folder, inner, names in os.walk(os.fsencode(home)):
        inner[:] = [name for name in inner if name not in (b"data", b"work")]
        for name in [*names, *inner]:
            path = os.path.join(folder, name)
            facts = os.lstat(path)
            plain = os.path.isfile(path) and not os.path.islink(path) and facts.st_size < 10**7
            with open(path if plain else os.devnull, "rb") as file:
                digest = hashlib.sha256(file.read()).hexdigest()
            found[path] = (facts.st_mode, facts.st_mtime_ns if names.count(name) else 0, digest)
    return found


def alive(temporary: Path) -> list[str]:
    """Processes that were given this temporary folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"TMPDIR={temporary}".encode() in path.read_bytes():
                found.append((path.parent / "cmdline").read_text())
        except OSError:  # it ended meanwhile, or is another user's
            continue
    return found


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The good clips alone and among the corpus, through fetch and frames."""
    home = tmp_path_factory.mktemp("home")
    (home / "canary.txt").write_text(f"{SECRET}\n" * 50)
    made, said = hostile.bases(home / "bases"), []
    with ear() as listener:
        for name in ("scratch", "tmp", "alone/videos/tiny", "among/videos/tiny"):
            (home / name).mkdir(parents=True)
        for name in ("alone", "among"):
            good = hostile.good(made, home / name / "videos/tiny")
            params(home / name, "folder", {"bytes": 700 * 2**20})
        corpus = hostile.corpus(made, home / "among/videos/tiny", home / "canary.txt", listener.address, home / "scratch")
        before = listing(home)
        for name in ("alone", "among"):
            said += [stage(step, home / name, home / "tmp") for step in ("fetch", "frames")]
        return SimpleNamespace(home=home, made=made, good=good, corpus=corpus, before=before, after=listing(home), said=said,
                               heard=listener.heard, alive=alive(home / "tmp"))


def named(path: bytes) -> str:
    """The id of a file below the folder."""
    item = os.fsdecode(path)
    parts = Path(item).parts
    return ledger.plain(f"{parts[0]}/{Path(item).stem}" if len(parts) == 2 else item)


def frames_of(folder: Path, ids: list[str]) -> list[tuple[Any, ...]]:
    """Every stored picture of these clips with its facts."""
    index = pd.read_parquet(folder / "index.parquet")
    rows = index[index["clip"].isin(ids)].to_dict("records")
    reader = ShardReader(folder)
    places = ("shard", "offset", "length", "crc")
    return [(*(value for name, value in row.items() if name not in places), reader.read(*(row[name] for name in places)))
            for row in rows]


def test_the_corpus_has_hundreds_of_files_and_is_the_same_each_time(ran, tmp_path: Path) -> None:
    assert len(ran.corpus) >= 300
    (tmp_path / "in").mkdir()
    made = hostile.bases(tmp_path / "bases")
    assert made == ran.made


def test_every_good_clip_gives_the_frames_it_gives_alone(ran) -> None:
    ids = sorted(ran.good.values())
    alone, among = (frames_of(ran.home / name / "data/tiny/frames", ids) for name in ("alone", "among"))
    assert sorted({row[0] for row in alone}) == ids and len(alone) == 8 * len(ids)
    assert alone == among
    table = pd.read_parquet(ran.home / "among/data/tiny/frames/ledger.parquet").set_index("id")
    assert (table.loc[ids, "status"] == "ok").all()


def test_every_file_is_a_row_with_a_status_and_a_sentence(ran) -> None:
    fetched = pd.read_parquet(ran.home / "among/data/tiny/videos/ledger.parquet")
    seen = pd.read_parquet(ran.home / "among/data/tiny/frames/ledger.parquet")
    assert sorted(fetched["id"]) == sorted([*map(named, ran.corpus), *ran.good.values()])
    assert sorted(seen["id"]) == sorted(fetched["id"])  # the later ledger goes on from the earlier one
    for table in (fetched, seen):
        assert set(table["status"]) <= set(ledger.STATUSES)
        bad = table[table["status"] != "ok"]
        assert (bad["reason"].str.len() > 5).all() and table["reason"].map(str.isprintable).all()
        assert table["id"].map(str.isprintable).all() and not table["reason"].str.contains("reader of the file ended").any()
    usable = set(seen.loc[seen["status"] == "ok", "id"])
    wrong = {named(path) for path, maybe in ran.corpus.items() if not maybe} & usable
    assert not wrong, f"taken for good: {wrong}"
    assert {named(path) for path in ran.corpus} & usable  # a clip under an odd name that is allowed, say


def test_nothing_is_written_outside_and_nothing_that_is_pointed_to_is_read(ran) -> None:
    assert ran.after == ran.before
    assert not any((ran.home / "tmp").iterdir()) and not Path("/tmp/evil").exists()
    made = [path for path in (ran.home / "among/data").rglob("*") if not path.is_dir()]
    assert all(path.is_file() and not path.is_symlink() for path in made)
    for path in made:
        data = path.read_bytes()
        assert SECRET.encode() not in data and b"root:x:0:0" not in data, path


def test_nobody_is_called_nobody_stays_and_memory_is_bounded(ran) -> None:
    assert ran.heard == 0 and ran.alive == []
    largest = [int(re.search(r"largest process: (\d+) MiB", text)[1]) for text in ran.said]
    print(f"largest process of each stage: {largest} MiB")
    assert max(largest) < MEMORY


@pytest.fixture(scope="module")
def packed(ran, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The official archives with bad members of every kind, through fetch and frames."""
    home = tmp_path_factory.mktemp("packed")
    bad = [(ran.home / "among/videos/tiny" / os.fsdecode(path)).read_bytes()
           for path in sorted(ran.corpus) if path.startswith(b"x-boxes/")][::9]
    clips = [ran.made[name] for name in ("plain.mp4", "fast.mp4", "parts.mp4")]
    whole, good, count = hostile_files.archive(clips, bad)
    files = archives.cut(whole) | {archives.TEST: archives.zipped({f"mp4/id00099/21Uxsk56VDQ/{k:05d}.mp4": clip
                                                                   for k, clip in enumerate(clips)})}
    origin = home / "videos/tiny"
    (home / "tmp").mkdir()
    origin.mkdir(parents=True)
    (origin / "files.md5").write_text(archives.listed(files))
    for name, data in files.items():
        (origin / name).write_bytes(data)
    params(home, "voxceleb2", {"bytes": 10**6})
    before = listing(home)
    said = [stage(name, home, home / "tmp") for name in ("fetch", "frames")]
    return SimpleNamespace(home=home, good=good, count=count + 3, before=before, after=listing(home), said=said)


def test_a_hostile_archive_loses_its_bad_members_only(ran, packed) -> None:
    fetched = pd.read_parquet(packed.home / "data/tiny/videos/ledger.parquet")
    seen = pd.read_parquet(packed.home / "data/tiny/frames/ledger.parquet")
    assert len(fetched) == packed.count and fetched["id"].is_unique
    for table in (fetched, seen):
        bad = table[table["status"] != "ok"]
        assert set(table["status"]) <= set(ledger.STATUSES) and (bad["reason"].str.len() > 5).all()
        assert table["id"].map(str.isprintable).all()
    usable = set(seen.loc[seen["status"] == "ok", "id"])
    assert set(packed.good) <= usable and {f"id00099/21Uxsk56VDQ/{k:05d}" for k in range(3)} <= usable
    places = {f"id00012/21Uxsk56VDQ/{number:05d}" for number in [*range(100, 107), *range(200, 208)]}
    assert not places & usable
    one = frames_of(packed.home / "data/tiny/frames", [packed.good[0]])
    other = frames_of(ran.home / "alone/data/tiny/frames", ["good/first"])
    assert [row[-1] for row in one] == [row[-1] for row in other]
    assert packed.after == packed.before and not any((packed.home / "tmp").iterdir())


def test_a_damaged_table_of_contents_is_refused_or_read_without_an_accident(ran, tmp_path: Path) -> None:
    whole = archives.zipped({f"dev/mp4/id00012/21Uxsk56VDQ/{k:05d}.mp4": ran.made["plain.mp4"] for k in range(4)})
    path, table, read, refused = tmp_path / "a.zip", whole.index(b"PK\1\2"), 0, 0
    for seed in range(400):
        chance, data = random.Random(seed), bytearray(whole)
        for _ in range(1 + seed % 4):
            data[chance.randrange(table, len(data))] = chance.choice([0, 1, 0x7f, 0x80, 0xff])
        path.write_bytes(data[:chance.randrange(table, len(data))] if seed % 10 == 0 else data)
        try:
            members = list(zip_members.members([path]))
        except InputError:
            refused += 1
            continue
        with Parts([path]) as file:
            for member in members:
                try:
                    read += len(zip_members.read(file, zip_members.place(member, 10**6))) == len(ran.made["plain.mp4"])
                except RejectedItem as problem:
                    assert problem.status in ledger.STATUSES
    assert refused > 50 and read > 400


@pytest.mark.parametrize("head, what", [
    (b"PK\3\4" + bytes(40), "a zip archive"), (b"#EXTM3U\n", "a playlist, which is not followed"), (bytes(4096), "zeros"),
    (b"\xef\xbb\xbf \n<HTML>", "a web page"), ("déjà vu ".encode() * 1000, "a text file"),
    (b"RIFF\0\0\0\0WAVEfmt ", "audio only")])
def test_what_is_no_video_is_known_by_its_first_bytes(head: bytes, what: str) -> None:
    assert filetype.kind(head[:filetype.HEAD]) == what


def test_no_kind_of_video_is_taken_for_something_else(ran) -> None:
    for name, data in ran.made.items():
        assert filetype.kind(data[:filetype.HEAD]) is None, name
    assert filetype.kind(b"YUV4MPEG2 W2 H2 F25:1\nFRAME\nabcdef") is None
