"""VoxCeleb from YouTube in small: what the site says is a status, what the metadata lists is a clip with its boxes."""

import io
import json
import re
import subprocess
import tarfile
from pathlib import Path

import made_archives as archives
import made_site
import numpy as np
import pandas as pd
import pytest
from made_clips import LIMITS, detect
from made_youtube import DATA, SPOKEN, VIDEO, VIDEOS, bytes_of, config, lay, rows, run

from pipeline.core.errors import InputError
from pipeline.frames import clips
from pipeline.media import video
from pipeline.sources import youtube
from pipeline.sources.download import Retry
from pipeline.sources.ytdlp import client


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
    assert table.loc[f"id00012/{VIDEO}/00003", "reason"]  # it names the line that is wrong
    odd = table[~table.index.str.startswith("id")]
    assert len(odd) == 4 and odd["status"].eq("bad-name").all() and odd["reason"].ne("").all()
    assert not Path("/tmp/evil.txt").exists()


@pytest.mark.parametrize("address", ["http://example.org/{id}", "file:///etc/{id}", "https://example.org/", "https://exämple/{id}"])
def test_an_address_that_cannot_be_asked_is_refused_without_being_shown(tmp_path: Path, monkeypatch, address: str) -> None:
    monkeypatch.setenv(client.ADDRESS, address)
    with pytest.raises(InputError, match=r"https://.*\{id\}") as found:
        youtube.items(config(lay(tmp_path), "https://example.org/{id}"))
    assert "//example" not in str(found.value) and "/etc" not in str(found.value)


def test_cookies_that_are_not_there_and_missing_metadata_are_refused_in_a_sentence(tmp_path: Path, monkeypatch) -> None:
    with pytest.raises(InputError, match=r"vox2_dev_txt\.zip"):
        youtube.items(config(tmp_path, "https://example.org/{id}"))
    monkeypatch.setenv(client.COOKIES, str(tmp_path / "planted"))
    with pytest.raises(InputError, match=client.COOKIES) as found:
        youtube.items(config(lay(tmp_path), "https://example.org/{id}"))
    assert "planted" not in str(found.value)


def test_a_redirect_to_another_machine_of_the_local_network_is_not_followed(films, tmp_path: Path) -> None:
    with made_site.site(films) as server, made_site.site(films) as other:
        server.moods = {f"watch/{VIDEO}": [f"to http://127.0.0.1:{other.server_port}/watch?v={VIDEO}"] * 2}
        table = run(config(lay(tmp_path / "origin", {f"id00012/{VIDEO}/00001": (5, 20)}), server.address), tmp_path)
        assert not other.asked and table["status"].eq("network").all()
        assert table["reason"].ne("").all()


def test_a_video_that_cost_its_workers_their_lives_is_a_row_for_each_utterance(tmp_path: Path) -> None:
    chosen = config(lay(tmp_path), "https://example.org/{id}")
    item = next(text for text in youtube.items(chosen) if text.startswith(VIDEO))
    table = pd.DataFrame(list(youtube.contents(chosen, [{"id": item, "status": "corrupt", "reason": "3 workers died"}])))
    assert table.set_index("video")["reason"].to_dict()[f"{VIDEO}/00001"] == "3 workers died"
    assert table["status"].value_counts().to_dict() == {"network": 4, "corrupt": 2}


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
