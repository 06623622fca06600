"""Facts about VoxCeleb2 in small: from a moody server to frames, nothing unpacked, every member a row, the key nowhere."""

import json
import os
import re
import stat
import struct
import subprocess
import sys
import threading
import time
import zipfile
from io import BytesIO
from pathlib import Path

import made_archives as archives
import made_clips as clips
import made_params
import numpy as np
import pandas as pd
import pytest
from made_clips import CONFIG, LIMITS, detect
from made_params import published
from ruamel.yaml import YAML

from pipeline.core import ledger
from pipeline.core.errors import InputError
from pipeline.frames import extract
from pipeline.frames.clips import shelves
from pipeline.media import video
from pipeline.parallel import executor, sharded_map
from pipeline.sources import voxceleb2
from pipeline.sources.download import Retry
from pipeline.sources.voxceleb2 import Config

ROOT = Path(__file__).resolve().parents[3]
KEY = "planted-0f1e2d3c"
DEV = ["id00012/21Uxsk56VDQ/00001", "id00012/21Uxsk56VDQ/00002", "id00012/2DLq_Kkc1r8/00016", "id09272/-q-Y__nPMxI/00099"]
TESTED = ["id00017/01dfn2spqyE/00001", "id00017/01dfn2spqyE/00002", "id04276/zzzzzzzzzz_/00410"]
PATIENCE = Retry(tries=3, pause=.001, longest=.01, stall=1.)
BOTH = ["vox2_mp4.zip", archives.TEST]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The publishers' ten files, in small."""
    folder = tmp_path_factory.mktemp("made")
    dev = {"dev/": b"", "dev/mp4/": b""} | {f"dev/mp4/{name}.mp4": archives.made(folder, k) for k, name in enumerate(DEV)}
    test = {f"mp4/{name}.mp4": archives.made(folder, 9 + k) for k, name in enumerate(TESTED)}
    return archives.cut(archives.zipped(dev)) | {archives.TEST: archives.zipped(test)}


def lay(origin: Path, files: dict[str, bytes]) -> Path:
    origin.mkdir(parents=True, exist_ok=True)
    (origin / "files.md5").write_text(archives.listed(files))
    for name, data in files.items():
        (origin / name).write_bytes(data)
    return origin


def config(origin: Path, **changes: object) -> Config:
    return Config(origin=str(origin), archives=BOTH, bytes=10**6, connections=1, retry=PATIENCE).model_copy(update=changes)


def rows(settings: Config, folder: Path) -> pd.DataFrame:
    problems = [row for item in voxceleb2.items(settings) for row in voxceleb2.fetch(settings, item, folder)]
    return pd.DataFrame(list(voxceleb2.contents(settings, problems))).set_index("id")


def command(name: str, folder: Path) -> list[str]:
    """The command of dvc.yaml for this stage, its paths below `folder`."""
    line = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"][name]["cmd"].replace("${item.dataset}", "tiny")
    here = re.compile(r"(data|videos)/")
    words = [str(folder / word) if here.match(word) else word for word in line.split("python ")[1].split()]
    return [sys.executable, *words, "--params", str(folder / "params.yaml")]


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **more}


def stage(name: str, folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(name, folder), cwd=ROOT, capture_output=True, text=True, env=environment(**more))


def params(folder: Path, **frames: object) -> None:
    """The published settings for VoxCeleb2 as data set `tiny`, made small."""
    tiny = published("voxceleb2")
    tiny["data"] |= {"engine": {"kind": "local", "workers": 2, "slurm": {}},
                     "split": {"test_people": 2, "sources": 4, "holdout": 4, "least": 4}}
    tiny["data"]["fetch"] |= {"retry": {"tries": 4, "pause": .001, "longest": .01, "stall": 1.}}
    tiny["data"]["frames"] |= {"size": 128, "per_clip": 8, **frames}
    made_params.write(folder, {}, tiny=tiny)


def test_every_utterance_is_a_row_and_nothing_is_unpacked(made, tmp_path: Path) -> None:
    origin = lay(tmp_path / "vox", made)
    table = rows(config(origin), tmp_path / "videos")
    assert sorted(table.index) == sorted(DEV + TESTED) and (table["status"] == "ok").all()
    assert table.loc[DEV[0], "person"] == "id00012" and table.loc[DEV[0], "video"] == "21Uxsk56VDQ/00001"
    assert not (tmp_path / "videos").exists()
    assert sorted(path.name for path in origin.iterdir()) == sorted([*made, "files.md5"])


def test_the_people_of_the_test_archive_are_known_to_the_split(made, tmp_path: Path) -> None:
    settings = config(lay(tmp_path, made))
    facts = voxceleb2.manifest(settings, rows(settings, tmp_path).reset_index())
    assert facts["test_people"] == ["id00017", "id04276"]
    assert facts["archives"]["vox2_mp4.zip"] == {name: len(made[name]) for name in archives.PARTS}


def test_clips_read_from_the_parts_give_the_frames_of_the_clips_themselves(made, tmp_path: Path) -> None:
    settings = config(lay(tmp_path / "vox", made))
    table = rows(settings, tmp_path)
    facts = voxceleb2.manifest(settings, table.reset_index())
    shelf_of = shelves(tmp_path, tmp_path / "vox", facts["archives"])
    for k, name in enumerate(DEV):
        archives.made(tmp_path, k)
        packed = extract.pack(("p", "v", table.loc[name, "path"], ""), shelf_of, CONFIG, detect)
        plain = extract.pack(("p", "v", f"{k}.mp4", ""), shelf_of, CONFIG, detect)
        assert str(packed["status"]) == "ok" and (packed["data"] == plain["data"]).all()


def test_what_lies_there_already_is_not_fetched_and_what_is_damaged_is_named(made, tmp_path: Path, monkeypatch) -> None:
    origin = lay(tmp_path, made)
    monkeypatch.delenv(voxceleb2.ADDRESS, raising=False)
    (origin / archives.PARTS[4]).unlink()
    (origin / archives.PARTS[7]).write_bytes(b"other")
    with pytest.raises(InputError, match=r"2 of 10 files .*partae is missing; .*TALKING_HEADS_VOXCELEB_URL.*"
                                         r"partah has md5 .*remove it"):
        rows(config(origin), tmp_path)
    assert (origin / archives.PARTS[7]).read_bytes() == b"other"  # the user's file stays


def test_the_take_down_list_of_the_folder_is_honoured(made, tmp_path: Path) -> None:
    origin = lay(tmp_path, made)
    (origin / "takedown.txt").write_text("id09272\nid00012/21Uxsk56VDQ\nid00017/01dfn2spqyE/00002\n")
    table = rows(config(origin), tmp_path)
    down = table[table["status"] == "takedown"]
    assert sorted(down.index) == sorted([DEV[0], DEV[1], DEV[3], TESTED[1]]) and (down["path"] == "").all()


def test_the_published_list_has_ten_files_and_the_parts_in_order() -> None:
    names = [item.split()[0] for item in voxceleb2.items(config(Path("no-such-folder")))]
    assert names == [*archives.PARTS, archives.TEST]


@pytest.mark.parametrize("text, words", [("vox2_mp4.zip ../x " + "0" * 32, "a line is ARCHIVE.zip FILE MD5"),
                                         ("vox2_mp4.zip a 12", "a line is ARCHIVE.zip FILE MD5"),
                                         (f"vox2.zip a {'0' * 32}", "no entry 'vox2_mp4.zip'; did you mean 'vox2.zip'")])
def test_a_list_that_cannot_be_used_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "files.md5").write_text(text + "\n")
    with pytest.raises(InputError, match=re.escape(words)):
        voxceleb2.items(config(tmp_path))


def hostile(folder: Path) -> dict[str, bytes]:
    """An archive with a good member before, between and after each kind of bad one."""
    good = [archives.made(folder, k) for k in range(2)]
    file = BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        def add(name: str, data: bytes = b"", mode: int = 0o644 | stat.S_IFREG) -> None:
            info = zipfile.ZipInfo(name)
            info.external_attr, info.compress_type = mode << 16, zipfile.ZIP_DEFLATED
            archive.writestr(info, data)

        add(f"dev/mp4/{DEV[0]}.mp4", good[0])
        for name in ("../../evil.mp4", "/etc/evil.mp4", "dev/mp4/id00012/../../../evil.mp4", "C:\\evil.mp4",
                     "dev/mp4/evil\n.mp4", "dev/mp4/id00012/21Uxsk56VDQ/00003.mp4/", "dev/mp4/id00012/21Uxsk56VDQ/00003.MP4",
                     "dev/mp4/id1/21Uxsk56VDQ/00003.mp4", "dev/mp4/id00012/21Uxsk56VDQ/٠٠٠٠٣.mp4",
                     "x/dev/mp4/id00012/21Uxsk56VDQ/00003.mp4", "dev/mp4/id00012/21Uxsk56VD;/00003.mp4"):
            add(name, b"evil")
        add("dev/mp4/id00012/21Uxsk56VDQ/00004.mp4", b"/etc/passwd", 0o777 | stat.S_IFLNK)
        add("dev/mp4/id00012/21Uxsk56VDQ/00005.mp4", bytes(50 * 2**20))
        add("dev/mp4/id00012/21Uxsk56VDQ/00006.mp4", b"")
        add("dev/mp4/id00012/21Uxsk56VDQ/00007.mp4", good[1])
        add("dev/mp4/id00012/21Uxsk56VDQ/00008.mp4", good[1])
        add("dev/mp4/id00012/21Uxsk56VDQ/00009.mp4", good[1])
        with pytest.warns(UserWarning, match="Duplicate"):
            add(f"dev/mp4/{DEV[0]}.mp4", b"another")
        add("dev/mp4/id00012/21Uxsk56VDQ/00010.mp4", b"no video " * 500)
        add(f"dev/mp4/{DEV[1]}.mp4", good[1])
    data = bytearray(file.getvalue())

    def spoil(utterance: str, where: int, kind: str, value: int) -> None:
        name = f"dev/mp4/id00012/21Uxsk56VDQ/{utterance}.mp4".encode()
        line = data.index(b"PK\1\2", data.rindex(name) - 46)
        struct.pack_into(kind, data, line + where, value)

    spoil("00007", 8, "<H", 1)  # encrypted
    spoil("00008", 16, "<I", 12345)  # another CRC
    spoil("00009", 20, "<I", 900_000)  # reaches into the members after it
    return archives.cut(bytes(data)) | {archives.TEST: archives.zipped({f"mp4/{TESTED[0]}.mp4": good[0]})}


def test_a_hostile_archive_loses_its_bad_members_only_each_with_a_reason(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    origin = lay(tmp_path / "in/vox", hostile(tmp_path))
    before = sorted(path for path in tmp_path.rglob("*"))
    settings = config(origin)
    table = rows(settings, tmp_path / "videos")
    good = table[table["status"] == "ok"].sort_values(["person", "video"])
    assert table.index.is_unique and len(table) == 22
    bad = table[table["status"] != "ok"]
    assert (bad["reason"] != "").all() and (bad["path"] == "").all() and not bad.index.str.contains("\n").any()
    assert bad["status"].value_counts().to_dict() == {"bad-name": 13, "too-large": 1, "empty": 1, "corrupt": 2}
    facts = voxceleb2.manifest(settings, table.reset_index())
    items = list(good.assign(boxes="")[["person", "video", "path", "boxes"]].itertuples(index=False, name=None))
    made = clips.publish(tmp_path / "out", tmp_path / "work", items, shelves(tmp_path, origin, facts["archives"]))
    status = made.set_index("id")["status"].to_dict()
    assert status == {DEV[0]: "ok", DEV[1]: "ok", TESTED[0]: "ok", "id00012/21Uxsk56VDQ/00008": "corrupt",
                      "id00012/21Uxsk56VDQ/00010": "corrupt"}
    assert made.set_index("id").loc["id00012/21Uxsk56VDQ/00008", "reason"].startswith("CRC")
    written = {path.relative_to(tmp_path).parts[0] for path in set(tmp_path.rglob("*")) - set(before)}
    assert written == {"out", "work"} and not Path("/tmp/evil.mp4").exists()


def test_from_a_moody_server_to_the_ledger_byte_for_byte_and_the_key_is_nowhere(made, tmp_path: Path) -> None:
    origin = tmp_path / "videos/tiny"
    origin.mkdir(parents=True)
    (origin / "files.md5").write_text(archives.listed(made))
    params(tmp_path)
    seen = []
    with archives.publisher(made, KEY) as server:
        server.watch = lambda: seen.append(archives.arguments())
        server.moods = {archives.PARTS[0]: ["cut", "500"], archives.PARTS[1]: ["stall"], archives.PARTS[2]: ["flip", "cut"],
                        archives.PARTS[3]: ["429", "cut", "whole"], archives.PARTS[4]: ["403"], archives.PARTS[5]: ["404"]}
        secrets = {voxceleb2.ADDRESS: server.address, voxceleb2.KEY: KEY}
        first = stage("fetch", tmp_path, **secrets)
        assert first.returncode == 1 and first.stderr.count("error:") == 1
        assert re.search(r"error: 2 of 10 files .*refuses vox2_dev_mp4_partae \(403\).*has no vox2_dev_mp4_partaf \(404\)",
                         first.stderr)
        assert not (tmp_path / "data/tiny/videos").exists()
        asked = len(server.asked)
        done = stage("fetch", tmp_path, **secrets)
        assert done.returncode == 0, done.stderr
        assert len(server.asked) == asked + 2  # only what was missing
    for name, data in made.items():
        assert (origin / name).read_bytes() == data, name
    table = pd.read_parquet(tmp_path / "data/tiny/videos/ledger.parquet")
    assert sorted(table["id"]) == sorted(DEV + TESTED)
    assert len(seen) > 10 and all(b"stages.fetch" in words and KEY.encode() not in words for words in seen)
    places = [path for path in [*tmp_path.rglob("*"), *(ROOT / "work").rglob("*")] if path.is_file()]
    texts = [first.stdout, first.stderr, done.stdout, done.stderr, *map(str, places)]
    assert all(KEY not in text for text in texts)
    assert all(KEY.encode() not in path.read_bytes() for path in places if path.stat().st_size < 2**24)


def test_a_download_killed_on_the_way_goes_on_from_its_last_byte(made, tmp_path: Path) -> None:
    origin = tmp_path / "videos/tiny"
    origin.mkdir(parents=True)
    (origin / "files.md5").write_text(archives.listed(made))
    params(tmp_path)
    waiting = threading.Event()
    with archives.publisher(made, KEY) as server:
        server.moods = {archives.TEST: ["stall"]}
        server.watch = lambda: waiting.set() if server.asked[-1][0] == archives.TEST else None
        secrets = {voxceleb2.ADDRESS: server.address, voxceleb2.KEY: KEY}
        child = subprocess.Popen(command("fetch", tmp_path), cwd=ROOT, env=environment(**secrets), stderr=subprocess.DEVNULL)
        assert waiting.wait(60)
        part = origin / f"{archives.TEST}.part"
        while not part.exists() or part.stat().st_size < len(made[archives.TEST]) // 2:
            assert child.poll() is None
            time.sleep(.01)
        child.kill()
        child.wait()
        server.asked.clear()
        done = stage("fetch", tmp_path, **secrets)
        assert done.returncode == 0, done.stderr
        assert (archives.TEST, f"bytes={len(made[archives.TEST]) // 2}-") in [entry[:2] for entry in server.asked]
    assert {name: (origin / name).read_bytes() for name in made} == made


def test_the_decoder_does_not_see_the_environment_of_its_caller(monkeypatch) -> None:
    monkeypatch.setenv(voxceleb2.KEY, KEY)
    shown = video._limited([sys.executable, "-I", "-c", "import os; print(dict(os.environ))"], LIMITS).stdout.decode()
    assert "PATH" in shown and KEY not in shown and "VOXCELEB" not in shown


def test_the_summary_counts_every_row_by_status_and_names_the_list(tmp_path: Path) -> None:
    table = ledger.write(tmp_path / "ledger.parquet", [{"id": str(k), "status": status} for k, status in enumerate(
        ["ok"] * 11 + ["gone", "takedown"])], {"id": "str", "status": "str"})
    done = subprocess.run([sys.executable, "-m", "stages.fetch", "--summary", "--out", str(tmp_path)], cwd=ROOT,
                          capture_output=True, text=True)
    lines = done.stdout.splitlines()
    assert lines[1].split() == ["11", "ok", "used"] and lines[2].split()[:2] == ["1", "gone"] and len(lines) == 5
    assert lines[4] == f"11 of 13 ok; list sha256 {ledger.digest(table)}"
    again = table.iloc[::-1].reset_index(drop=True)
    assert ledger.digest(again) == ledger.digest(table)
    assert ledger.digest(table.assign(status="ok")) != ledger.digest(table)


def test_a_status_outside_the_closed_list_is_a_defect(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="status 'broken link' is not in"):
        ledger.write(tmp_path / "ledger.parquet", [{"id": "a", "status": "broken link"}], {"id": "str", "status": "str"})
    wanted = ("ok gone private age geo members throttled bot-check network no-format no-face too-small multi-face corrupt "
              "takedown")
    assert set(wanted.split()) <= set(ledger.STATUSES) and set(ledger.STATUSES) >= ledger.AGAIN


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


def test_real_clips_go_from_nine_parts_to_the_split_through_the_stages(shared_data: Path, tmp_path: Path) -> None:
    real = [path.read_bytes() for path in sorted((shared_data / "clips/voxceleb2_style").glob("*.mp4"))]
    dev = {f"dev/mp4/id0000{k}/21Uxsk56VDQ/0000{u}.mp4": real[(k + u) % 6] for k in range(2) for u in range(2)}
    test = {f"mp4/id0001{k}/01dfn2spqyE/0000{u}.mp4": real[(2 * k + u) % 6] for k in range(2) for u in range(2)}
    lay(tmp_path / "videos/tiny", archives.cut(archives.zipped(dev)) | {archives.TEST: archives.zipped(test)})
    params(tmp_path, per_clip=6)
    for name in ("fetch", "frames", "landmarks", "split"):
        done = stage(name, tmp_path)
        assert done.returncode == 0, f"{name}: {done.stderr[-2000:]}"
    folder = tmp_path / "data/tiny"
    table = pd.read_parquet(folder / "frames/ledger.parquet")
    assert len(table) == 8 and (table["status"] == "ok").all()
    made = pd.read_parquet(folder / "split/train.parquet")
    assert made["video"].tolist() == ["id00000/21Uxsk56VDQ", "id00001/21Uxsk56VDQ"]  # two utterances, one column of W
    tested = json.loads((folder / "split/test.json").read_text())
    assert [subject["person"] for subject in tested] == ["id00010", "id00011"]
