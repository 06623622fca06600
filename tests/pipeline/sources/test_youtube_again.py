"""VoxCeleb from YouTube through trouble: throttled, killed, on a full disk, with secrets; the same bytes in the end."""

import signal
import subprocess
import time
from pathlib import Path

import made_archives as archives
import made_site
import numpy as np
import pytest
from made_youtube import DATA, KEY, VIDEOS, bytes_of, command, config, environment, fetch, lay, params, run, stored

from pipeline.core import fileio
from pipeline.sources.download import Retry
from pipeline.sources.ytdlp import client
from pipeline.sources.ytdlp.rate_limit import RateLimit

ROOT = Path(__file__).resolve().parents[3]


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
        assert len(table["reason"].unique()) == 3 and set(table["status"]) == {"throttled", "bot-check"}
        server.moods = {f"watch/{name}": ["404"] for name in VIDEOS}
        assert run(chosen, tmp_path / "next")["status"].eq("gone").all()


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
    assert len(seen) > 5 and all(b"ytdlp_exec.py" in words and KEY.encode() not in words for words in seen)
    places = [path for path in [*tmp_path.rglob("*"), *(ROOT / "work").rglob("*")] if path.is_file()]
    assert any(origin in path.parents and path.suffix == ".tar" for path in places)
    assert all(KEY not in text for text in (done.stdout, done.stderr, *map(str, places)))
    assert all(KEY.encode() not in path.read_bytes() for path in places if path.stat().st_size < 2**24)


def test_on_a_full_disk_nothing_is_asked_and_nothing_is_judged(films, tmp_path: Path, monkeypatch) -> None:
    with made_site.site(films) as server:
        chosen = config(lay(tmp_path / "origin"), server.address)
        monkeypatch.setattr(fileio, "SPARE", 2**60)
        with pytest.raises(OSError, match="No space left"):
            run(chosen, tmp_path)
        assert not server.asked and not bytes_of(tmp_path / "origin")
