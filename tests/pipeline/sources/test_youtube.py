"""Facts about VoxCeleb from YouTube in small: from a moody site to clips and boxes in tars; every id a row, the key nowhere."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import made_archives as archives
import made_params
import made_site
import numpy as np
import pandas as pd
import pytest
from made_clips import LIMITS, detect
from made_params import published

from pipeline.core import fileio
from pipeline.core.errors import InputError
from pipeline.frames import clips
from pipeline.media import video
from pipeline.sources import youtube
from pipeline.sources.download import Retry
from pipeline.sources.youtube import Config
from pipeline.sources.ytdlp import client
from pipeline.sources.ytdlp.throttle import RateLimit

ROOT = Path(__file__).resolve().parents[3]
KEY = "planted-5e4d3c2b"
VIDEOS = ["21Uxsk56VDQ", "2DLq_Kkc1r8", "-q-Y__nPMxI", "01dfn2spqyE"]
SPOKEN = {  # person/video/utterance -> first picture, pictures
    "id00012/21Uxsk56VDQ/00001": (5, 20), "id00012/21Uxsk56VDQ/00002": (40, 25), "id00012/2DLq_Kkc1r8/00016": (0, 30),
    "id09272/-q-Y__nPMxI/00099": (10, 20), "id00017/01dfn2spqyE/00001": (12, 22), "id00017/01dfn2spqyE/00002": (44, 20)}
DATA = "tiny-tube"


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The four whole videos."""
    folder = tmp_path_factory.mktemp("films")
    return {name: made_site.film(folder, k) for k, name in enumerate(VIDEOS)}


def lay(origin: Path, spoken: dict[str, tuple[int, int]] = SPOKEN) -> Path:
    """VoxCeleb2's metadata in small."""
    origin.mkdir(parents=True, exist_ok=True)
    texts = {name: made_site.text(*name.split("/")[:2], first, made_site.boxes(first, count)).encode()
             for name, (first, count) in spoken.items()}
    tested = {name: data for name, data in texts.items() if name.startswith("id00017")}
    for part, members in (("dev", {name: texts[name] for name in texts if name not in tested}), ("test", tested)):
        packed = archives.zipped({f"txt/{name}.txt": text for name, text in members.items()})
        (origin / f"vox2_{part}_txt.zip").write_bytes(packed)
    (origin / "vox2_meta.csv").write_text("VoxCeleb2ID ,VGGFace2ID ,Gender ,Set \n" + "".join(
        f"{person} ,n000012 ,m ,{'test' if person == 'id00017' else 'dev'} \n" for person in ("id00012", "id09272", "id00017")))
    return origin


def settings(**changes: object) -> dict[str, object]:
    """`data.fetch` of params/voxceleb2_youtube.yaml, in a hurry."""
    fetch = published("voxceleb2_youtube")["data"]["fetch"]
    small = fetch | {"buckets": 2, "per_shard": 2, "connections": 1, "margin": .25,
                               "rate_limit": {"pause": 0., "max_throttled": 9, "cooldown": 0.}, "limits": LIMITS.model_dump()}
    small["ytdlp"] = fetch["ytdlp"] | {
        "site": "http://127.0.0.1:1/{id}", "bytes": 10**6, "seconds": 60, "memory": 2048,
        "retry": {"tries": 2, "pause": .001, "longest": .01, "stall": 1.}}
    return small | changes


def params(folder: Path, **changes: object) -> None:
    tiny = published("voxceleb2_youtube")["data"] | {"fetch": settings(**changes)}
    made_params.write(folder, {}, **{DATA: {"data": tiny}})


def command(folder: Path) -> list[str]:
    return [sys.executable, "-m", "stages.fetch", "--dataset", DATA, "--params", str(folder / "params.yaml"),
            "--origin", str(folder / "videos" / DATA), "--out", str(folder / "data" / DATA / "videos")]


def environment(address: str, **more: str) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), client.ADDRESS: address, **more}


def fetch(folder: Path, address: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(folder), cwd=ROOT, capture_output=True, text=True, env=environment(address, **more))


def rows(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / "data" / DATA / "videos/ledger.parquet").set_index("id")


def stored(folder: Path) -> dict[str, bytes]:
    """Every file of the data set's clips."""
    return bytes_of(folder / "videos" / DATA)


def config(origin: Path, address: str, **changes: object) -> Config:
    own = {name: value for name, value in settings().items() if name != "per_shard"}
    own["ytdlp"] = dict(own["ytdlp"]) | {"site": address}  # type: ignore[call-overload]
    asked = {name: changes.pop(name) for name in list(changes) if name in client.Request.model_fields}
    made = Config.model_validate(own | {"origin": str(origin)} | changes)
    return made.model_copy(update={"ytdlp": made.ytdlp.model_copy(update=asked)})


def run(settings: Config, folder: Path, backwards: bool = False) -> pd.DataFrame:
    """What the stage does, in this process: the ledger."""
    items = youtube.items(settings)
    again = [row for item in (items[::-1] if backwards else items) for row in youtube.fetch(settings, item, folder / "videos")]
    return pd.DataFrame(list(youtube.contents(settings, again))).set_index("id")


def bytes_of(origin: Path) -> dict[str, bytes]:
    found = sorted(path for path in (origin / "clips").rglob("*") if path.is_file())
    return {str(path.relative_to(origin)): path.read_bytes() for path in found}


@pytest.fixture(scope="module")
def whole(films, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run through the stage without any trouble, asked for twice."""
    folder = tmp_path_factory.mktemp("whole")
    lay(folder / "videos" / DATA)
    params(folder)
    with made_site.site(films) as server:
        done = fetch(folder, server.address)
        assert done.returncode == 0, done.stderr
        assert sorted(server.asked) == sorted(f"{place}/{name}" for name in VIDEOS for place in ("watch", "media"))
        before = stored(folder)
        again = fetch(folder, server.address)
        assert again.returncode == 0 and len(server.asked) == 8 and stored(folder) == before  # nothing is asked twice
    return folder


@pytest.fixture(scope="module")
def clean(whole) -> dict[str, bytes]:
    """The clips of that run."""
    return stored(whole)


def test_every_utterance_is_a_clip_with_its_boxes_in_a_plain_tar(whole) -> None:
    origin = whole / "videos" / DATA
    table = rows(whole)
    assert sorted(table.index) == sorted(SPOKEN) and (table["status"] == "ok").all() and (table["reason"] == "").all()
    manifest = json.loads((whole / "data" / DATA / "videos/manifest.json").read_text())
    assert manifest["test_people"] == ["id00017"]
    members = []
    for path in sorted((origin / "clips").rglob("*.tar")):
        with tarfile.open(path) as archive:
            members += archive.getnames()
            assert archive.getnames() == sorted(archive.getnames())
    assert sorted(members) == sorted(f"{name}{suffix}" for name in SPOKEN for suffix in (".mp4", ".boxes.npy"))
    shelf = clips.shelves(whole / "data", origin, manifest["archives"])
    for name, (_, count) in SPOKEN.items():
        boxes = np.load(io.BytesIO(shelf.read(table.loc[name, "boxes"])))
        assert boxes.shape == (count, 4) and boxes.dtype == np.float32
        with shelf.open(table.loc[name, "path"]) as path:
            assert path.read_bytes() == shelf.read(table.loc[name, "path"])
            facts = video.probe(path, LIMITS)
            pictures = video.decode(path, range(count), LIMITS, 999).images
        assert np.allclose(facts.times, np.arange(count) / 25) and facts.width % 2 == facts.height % 2 == 0
        found = np.array([boxes[0, :4] for boxes in detect(pictures)])
        assert np.abs(found - boxes).max() < 2.5, name  # the disc is where its box is, in the clip's own pixels
        least = boxes[:, 2:].max(0) - boxes[:, :2].min(0)
        assert (np.array(pictures.shape[2:0:-1]) >= least + .5 * 80 - 1).all()  # the margin is there
        assert (np.array(pictures.shape[2:0:-1]) <= least + .5 * 80 + 4).all()


VIDEO = VIDEOS[0]
FINAL = [  # moods of the page, of the file, status, requests
    (["404"], [], "gone", 1), (["removed"], [], "gone", 1), (["private"], [], "private", 1),
    (["age"], [], "age", 1), (["geo"], [], "geo", 1), (["members"], [], "members", 1),
    (["empty"], [], "no-format", 1), ([], ["endless"], "too-large", 2), ([], ["flip"] * 2, "corrupt", 4)]
LATER = [
    (["403"] * 2, [], "network", 2), (["500", "503"], [], "network", 2), (["429"] * 2, [], "throttled", 2),
    (["bot"] * 2, [], "bot-check", 2), (["stall"] * 2, [], "network", 2), (["to file:///etc/passwd"] * 2, [], "network", 2),
    ([], ["404"] * 2, "network", 4), ([], ["flip", "short"], "network", 4)]


@pytest.mark.parametrize("page, file, status, requests", FINAL + LATER, ids=lambda value: str(value).replace(" ", ""))
def test_what_the_site_says_is_a_status_and_only_some_are_asked_again(films, tmp_path: Path, page, file, status: str,
                                                                      requests: int) -> None:
    one = {f"id00012/{VIDEO}/00001": (5, 20)}
    with made_site.site(films) as server:
        server.moods = {f"watch/{VIDEO}": list(page), f"media/{VIDEO}": list(file)}
        chosen = config(lay(tmp_path / "origin", one), server.address)
        chosen = chosen.model_copy(update={"metadata": chosen.metadata[:1]})
        chosen = chosen.model_copy(update={"ytdlp": chosen.ytdlp.model_copy(update={
            "retry": Retry(tries=2, pause=.001, longest=.01, stall=.3)})})
        first = run(chosen, tmp_path)
        assert first["status"].tolist() == [status] and (first["reason"] != "").all() and (first["path"] == "").all()
        assert len(server.asked) == requests
        assert not list((tmp_path / "ytdlp").iterdir())  # nothing of it is left
        server.asked.clear()
        server.moods = {f"watch/{VIDEO}": ["404"]}
        second = run(chosen, tmp_path)
        if (page, file, status, requests) in FINAL:
            assert not server.asked and second.equals(first)
        else:
            assert len(server.asked) == 1 and second["status"].tolist() == ["gone"]


def test_after_every_passing_trouble_and_in_any_order_the_tars_have_the_same_bytes(films, clean, tmp_path: Path) -> None:
    with made_site.site(films) as server:
        chosen = config(lay(tmp_path / "origin"), server.address)
        server.moods = {f"watch/{VIDEOS[0]}": ["429", "", "500"], f"media/{VIDEOS[0]}": ["cut", "cut", "stall"],
                        f"watch/{VIDEOS[1]}": ["bot"], f"media/{VIDEOS[1]}": ["long"], f"media/{VIDEOS[2]}": ["short"],
                        f"media/{VIDEOS[3]}": ["flip", "503"]}
        server.direct = {VIDEOS[2]}
        table = run(chosen, tmp_path, backwards=True)
        assert (table["status"] == "ok").all(), table[["status", "reason"]]
        assert any(asked not in ("", "bytes=0-") for asked in server.ranges)  # what came is not asked for again
    assert bytes_of(tmp_path / "origin") == clean


def test_killed_again_and_again_it_ends_with_the_bytes_of_a_clean_run_and_asks_once_more_a_kill(films, clean,
                                                                                                 tmp_path: Path) -> None:
    lay(tmp_path / "videos" / DATA)
    params(tmp_path)
    rng, kills = np.random.default_rng(0), 0
    with made_site.site(films) as server:
        server.moods = {f"media/{VIDEOS[0]}": ["cut"], f"media/{VIDEOS[1]}": ["", "cut", "500"]}
        for goal in (1, 3, 6):  # requests after which the next kill comes, at some moment
            child = subprocess.Popen(command(tmp_path), cwd=ROOT, env=environment(server.address), stdout=subprocess.DEVNULL,
                                     stderr=subprocess.DEVNULL)
            while child.poll() is None and len(server.asked) < goal + 2 * kills:
                time.sleep(.01)
            time.sleep(rng.uniform(0, .5))
            kills += child.poll() is None
            child.send_signal(signal.SIGKILL)
            child.wait()
        done = fetch(tmp_path, server.address)
        assert done.returncode == 0, done.stderr
        pages = sum(asked.startswith("watch") for asked in server.asked)
    assert kills == 3 and pages <= len(VIDEOS) + kills + 3  # the three moods above
    assert stored(tmp_path) == clean


def test_after_some_throttled_videos_in_a_row_the_rest_is_not_asked_until_the_next_run(films, tmp_path: Path) -> None:
    rate_limit = RateLimit(pause=0., max_throttled=2, cooldown=60.)
    with made_site.site(films) as server:
        chosen = config(lay(tmp_path / "origin"), server.address, rate_limit=rate_limit,
                        retry=Retry(tries=1, pause=0., longest=0., stall=1.))
        server.moods = {f"watch/{name}": ["429"] if k % 2 else ["bot"] for k, name in enumerate(VIDEOS)}
        table = run(chosen, tmp_path)
        assert len(server.asked) == 2
        told = table["reason"].str.startswith("not requested: the 2 videos before it were throttled")
        assert told.sum() == 2 and set(table["status"]) == {"throttled", "bot-check"}
        server.moods = {f"watch/{name}": ["404"] for name in VIDEOS}
        assert run(chosen, tmp_path / "next")["status"].eq("gone").all()


def test_the_take_down_list_is_honoured_before_asking_and_later_takes_clips_out_of_the_tars(films, tmp_path: Path) -> None:
    origin = lay(tmp_path / "origin")
    (origin / "takedown.txt").write_text("id09272\n")
    with made_site.site(films) as server:
        chosen = config(origin, server.address)
        table = run(chosen, tmp_path)
        assert table.loc["id09272/-q-Y__nPMxI/00099", "status"] == "takedown" and "watch/-q-Y__nPMxI" not in server.asked
        assert table["status"].eq("ok").sum() == 5
        (origin / "takedown.txt").write_text("id09272\nid00012/21Uxsk56VDQ/00002\nid00017/01dfn2spqyE\n")
        server.asked.clear()
        later = run(chosen, tmp_path)
        assert not server.asked
    down = later[later["status"] == "takedown"]
    assert len(down) == 4 and (down["path"] + down["boxes"] == "").all()
    held = b"".join(bytes_of(origin).values())
    assert b"id00017" not in held and b"21Uxsk56VDQ/00002" not in held and b"21Uxsk56VDQ/00001.mp4" in held
    shelf = clips.shelves(tmp_path, origin, youtube.manifest(chosen, later.reset_index())["archives"])
    for path in later.loc[later["status"] == "ok", "path"]:
        assert shelf.read(path)[4:8] == b"ftyp"


def test_new_metadata_asks_for_its_videos_only(films, clean, tmp_path: Path) -> None:
    less = {name: place for name, place in SPOKEN.items() if not name.endswith("21Uxsk56VDQ/00002")}
    with made_site.site(films) as server:
        run(config(lay(tmp_path / "origin", less), server.address), tmp_path)
        server.asked.clear()
        run(config(lay(tmp_path / "origin"), server.address), tmp_path)
        assert server.asked == ["watch/21Uxsk56VDQ", "media/21Uxsk56VDQ"]
    assert bytes_of(tmp_path / "origin") == clean


def test_what_the_metadata_does_not_list_for_a_while_is_not_lost(films, clean, tmp_path: Path) -> None:
    less = {name: place for name, place in SPOKEN.items() if not name.endswith("21Uxsk56VDQ/00002")}
    with made_site.site(films) as server:
        run(config(lay(tmp_path / "origin"), server.address), tmp_path)
        server.asked.clear()
        table = run(config(lay(tmp_path / "origin", less), server.address), tmp_path)
        assert "id00012/21Uxsk56VDQ/00002" not in table.index and bytes_of(tmp_path / "origin") == clean
        chosen = config(lay(tmp_path / "origin"), server.address)
        assert run(chosen, tmp_path)["status"].eq("ok").sum() == len(SPOKEN) and not server.asked
    assert bytes_of(tmp_path / "origin") == clean


def test_another_choice_of_quality_destroys_nothing_that_came(films, tmp_path: Path) -> None:
    with made_site.site(films) as server:
        chosen = config(lay(tmp_path / "origin", {f"id00012/{VIDEO}/00001": (5, 20)}), server.address)
        run(chosen, tmp_path)
        before = bytes_of(tmp_path / "origin")
        run(chosen.model_copy(update={"quality": 30}), tmp_path)
        server.asked.clear()
        assert run(chosen, tmp_path)["status"].eq("ok").all() and not server.asked
    after = bytes_of(tmp_path / "origin")
    assert len(after) == 2 * len(before) and {name: after[name] for name in before} == before


def test_whatever_is_wrong_in_the_metadata_is_a_row_and_stops_nothing(films, tmp_path: Path) -> None:
    origin = lay(tmp_path / "origin")
    good = made_site.text("id00012", VIDEO, 5, made_site.boxes(5, 20)).encode()
    (origin / "vox2_dev_txt.zip").write_bytes(archives.zipped({
        f"txt/id00012/{VIDEO}/00001.txt": good, f"txt/id00012/{VIDEO}/00003.txt": good.replace(b"000010", b"00001x"),
        f"txt/id00012/{VIDEO}/00004.txt": b"\0" * 99, f"txt/id00012/{VIDEO}/00005.txt": good.replace(b"id00012", b"id00099"),
        f"txt/id00012/{VIDEO}/00006.txt": good.replace(b"0000", b"0999"), "../evil.txt": good, "txt/readme.txt": b"hello",
        f"txt/id00012/{VIDEO}/00007.txt": b""}))
    with (origin / "vox2_meta.csv").open("a") as file:
        file.write("id00099 ,n000099 ,m ,perhaps \n\nnobody ,,,\n")
    with made_site.site(films) as server:
        table = run(config(origin, server.address), tmp_path)
        assert server.asked.count(f"watch/{VIDEO}") == 1
    status = {name.split("/", 2)[-1] if name.startswith("id00012") else name: row["status"] for name, row in table.iterrows()}
    assert {name: status[f"{name}"] for name in ("00001", "00003", "00004", "00005", "00006", "00007")} == {
        "00001": "ok", "00003": "ok", "00004": "corrupt", "00005": "bad-name", "00006": "too-short", "00007": "corrupt"}
    assert "not a frame number" in table.loc[f"id00012/{VIDEO}/00003", "reason"] or "is not FRAME" in table.loc[
        f"id00012/{VIDEO}/00003", "reason"]
    odd = table[~table.index.str.startswith("id")]
    assert len(odd) == 4 and odd["status"].eq("bad-name").all() and odd["reason"].ne("").all()
    assert not Path("/tmp/evil.txt").exists()


def test_no_secret_is_in_a_log_an_argument_or_a_file_and_two_processes_make_the_same_bytes(films, clean, tmp_path) -> None:
    origin = lay(tmp_path / "videos" / DATA)
    params(tmp_path, connections=2, per_shard=1)
    jar = tmp_path / "secret" / "cookies.txt"
    jar.parent.mkdir()
    jar.write_text(f"# Netscape HTTP Cookie File\n127.0.0.1\tFALSE\t/\tFALSE\t0\tSID\t{KEY}\n")
    seen: list[bytes] = []
    with made_site.site(films) as server:
        server.watch = lambda: seen.append(archives.arguments())
        server.moods = {f"watch/{VIDEOS[1]}": ["500"], f"media/{VIDEOS[2]}": ["403"]}
        done = fetch(tmp_path, f"{server.address}&token={KEY}-site", TALKING_HEADS_VOXCELEB_KEY=f"{KEY}-other",
                     **{client.COOKIES: str(jar)})
        assert done.returncode == 0, done.stderr
        assert any(KEY in cookie for cookie in server.cookies)  # they are used
    jar.unlink()
    assert stored(tmp_path) == clean
    assert len(seen) > 5 and all(b"ask.py" in words and KEY.encode() not in words for words in seen)
    places = [path for path in [*tmp_path.rglob("*"), *(ROOT / "work").rglob("*")] if path.is_file()]
    assert any(origin in path.parents and path.suffix == ".tar" for path in places)
    assert all(KEY not in text for text in (done.stdout, done.stderr, *map(str, places)))
    assert all(KEY.encode() not in path.read_bytes() for path in places if path.stat().st_size < 2**24)


@pytest.mark.parametrize("address", ["http://example.org/{id}", "file:///etc/{id}", "https://example.org/", "https://exämple/{id}"])
def test_an_address_that_cannot_be_asked_is_refused_without_being_shown(tmp_path: Path, monkeypatch, address: str) -> None:
    monkeypatch.setenv(client.ADDRESS, address)
    with pytest.raises(InputError, match=r"is not an https:// address with \{id\} in it") as found:
        youtube.items(config(lay(tmp_path), "https://example.org/{id}"))
    assert "//example" not in str(found.value) and "/etc" not in str(found.value)


def test_cookies_that_are_not_there_and_missing_metadata_are_refused_in_a_sentence(tmp_path: Path, monkeypatch) -> None:
    with pytest.raises(InputError, match=r"vox2_dev_txt\.zip: .*put VoxCeleb's metadata there"):
        youtube.items(config(tmp_path, "https://example.org/{id}"))
    monkeypatch.setenv(client.COOKIES, str(tmp_path / "planted"))
    with pytest.raises(InputError, match=f"{client.COOKIES} .*readable file") as found:
        youtube.items(config(lay(tmp_path), "https://example.org/{id}"))
    assert "planted" not in str(found.value)


def test_a_redirect_to_another_machine_of_the_local_network_is_not_followed(films, tmp_path: Path) -> None:
    with made_site.site(films) as server, made_site.site(films) as other:
        server.moods = {f"watch/{VIDEO}": [f"to http://127.0.0.1:{other.server_port}/watch?v={VIDEO}"] * 2}
        table = run(config(lay(tmp_path / "origin", {f"id00012/{VIDEO}/00001": (5, 20)}), server.address), tmp_path)
        assert not other.asked and table["status"].eq("network").all()
        assert table["reason"].str.contains("not allowed").all()


def test_a_video_that_cost_its_workers_their_lives_is_a_row_for_each_utterance(tmp_path: Path) -> None:
    chosen = config(lay(tmp_path), "https://example.org/{id}")
    item = next(text for text in youtube.items(chosen) if text.startswith(VIDEO))
    table = pd.DataFrame(list(youtube.contents(chosen, [{"id": item, "status": "corrupt", "reason": "3 workers died"}])))
    assert table.set_index("video")["reason"].to_dict()[f"{VIDEO}/00001"] == "3 workers died"
    assert table["status"].value_counts().to_dict() == {"network": 4, "corrupt": 2}


def test_on_a_full_disk_nothing_is_asked_and_nothing_is_judged(films, tmp_path: Path, monkeypatch) -> None:
    with made_site.site(films) as server:
        chosen = config(lay(tmp_path / "origin"), server.address)
        monkeypatch.setattr(fileio, "SPARE", 2**60)
        with pytest.raises(OSError, match="No space left"):
            run(chosen, tmp_path)
        assert not server.asked and not bytes_of(tmp_path / "origin")


def test_sound_is_kept_beside_the_clip_where_it_is_wanted(tmp_path: Path) -> None:
    one = {"id00012/21Uxsk56VDQ/00001": (25, 50)}
    with made_site.site({VIDEO: made_site.film(tmp_path, 0, 4, sound=True)}) as server:
        chosen = config(lay(tmp_path / "origin", one), server.address, audio=True, metadata=["vox2_dev_txt.zip"])
        table = run(chosen, tmp_path)
    assert table["status"].tolist() == ["ok"]
    (tar,) = (tmp_path / "origin/clips").rglob("*.tar")
    with tarfile.open(tar) as archive:
        sound = archive.extractfile("id00012/21Uxsk56VDQ/00001.m4a")
        assert sound
        (tmp_path / "s.m4a").write_bytes(sound.read())
    command = [video.program(), "-i", tmp_path / "s.m4a", "-f", "null", "-"]
    heard = subprocess.run(command, capture_output=True, text=True).stderr
    length = re.search(r"time=00:00:(\d+\.\d+)", heard)
    assert length and abs(float(length[1]) - 2) < .13  # packets of 64 ms at 16 kHz


def test_voxceleb1_comes_by_its_own_texts_in_a_folder_and_by_the_list_of_fomm(films, tmp_path: Path) -> None:
    origin = tmp_path / "origin"
    text = origin / "vox1_dev_txt/txt/id10001" / VIDEO / "00001.txt"
    text.parent.mkdir(parents=True)
    in_rows = [[side * scale for side, scale in zip(box, (480, 360, 480, 360))] for box in made_site.boxes(5, 20)]
    text.write_text(made_site.text("id10001", VIDEO, 5, in_rows))  # pixels of a picture 360 rows high
    x, y, w, h = (round(side * scale) for side, scale in zip(made_site.boxes(50, 1)[0], (640, 480, 640, 480)))
    (origin / "vox-metadata.csv").write_text(
        "video_id,start,end,bbox,fps,width,height,partition,person_id\n"
        f"{VIDEOS[1]},50,60,{x}-{y}-{x + w}-{y + h},25,640,480,test,id10270\nbroken,line\n")
    with made_site.site(films) as server:
        chosen = config(origin, server.address, metadata=["vox1_dev_txt", "vox-metadata.csv"], people=[], boxes="360-rows")
        table = run(chosen, tmp_path)
    assert table["status"].to_dict() == {f"id10001/{VIDEO}/00001": "ok", f"id10270/{VIDEOS[1]}/00001": "ok",
                                         "vox-metadata.csv:3": "corrupt"}
    facts = youtube.manifest(chosen, table.reset_index())
    shelf = clips.shelves(tmp_path, origin, facts["archives"])
    for name in table.index[:2]:
        boxes = np.load(io.BytesIO(shelf.read(table.loc[name, "boxes"])))
        with shelf.open(table.loc[name, "path"]) as path:
            found = detect(video.decode(path, [0], LIMITS, 999).images)[0][0, :4]
        assert np.abs(found - boxes[0]).max() < 2.5
    assert facts["test_people"] == ["id10270"]
