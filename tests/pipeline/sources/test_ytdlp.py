"""Facts about asking: yt-dlp is held to one folder, one site and no programs; whatever is answered is a status."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from pipeline.core import ledger
from pipeline.core.ledger import RejectedItem
from pipeline.media import sandbox
from pipeline.sources.ytdlp import responses, ytdlp_exec
from pipeline.sources.ytdlp.rate_limit import NotRequested, RateLimit, Throttle

ROWS = responses.table()
INSTALLED = [(row, text) for row in ROWS for text in row.installed]
QUOTED = [(row, text) for row in ROWS for text in row.quoted]


@pytest.fixture(scope="module")
def source() -> str:
    """All of the installed yt-dlp, text beside text."""
    import yt_dlp
    folder = Path(yt_dlp.__file__).parent
    paths = [folder / name for name in ("YoutubeDL.py", "utils/_utils.py", "extractor/common.py", "extractor/generic.py",
                                        "extractor/germanupa.py")]
    paths += sorted(path for name in ("networking", "extractor/youtube") for path in (folder / name).rglob("*.py"))
    return "\n".join(path.read_text().replace("\\'", "'") for path in paths)


@pytest.mark.parametrize("row, text", INSTALLED, ids=[text[:40] for _, text in INSTALLED])
def test_a_row_that_names_words_of_yt_dlp_finds_them_in_the_installed_one(source, row: responses.Row, text: str) -> None:
    assert text in source
    assert responses.judge(f"DownloadError: ERROR: [youtube] aaaaaaaaaaa: {text}", "") == (row.status, row.says)


@pytest.mark.parametrize("row, text", QUOTED, ids=[text[:40] for _, text in QUOTED])
def test_what_a_site_was_seen_to_say_is_in_the_row_that_quotes_it(row: responses.Row, text: str) -> None:
    assert responses.judge(f"DownloadError: ERROR: [youtube] aaaaaaaaaaa: {text}", "") == (row.status, row.says)
    page = f"<html><title>x</title><script>var age = 'Video unavailable'</script><p>{text.replace('’', '&rsquo;')}</p>"
    assert responses.judge("DownloadError: ERROR: Unsupported URL: http://127.0.0.1/", page) == (row.status, row.says)


def test_every_row_has_words_that_were_seen_and_every_status_it_should_have() -> None:
    assert all(row.installed or row.quoted for row in ROWS)
    assert {row.status for row in ROWS} == {"gone", "private", "age", "geo", "members", "throttled", "bot-check", "network",
                                            "no-format", "too-large"}


REASONS = {  # YouTube's status, reason and second sentence -> ours
    ("LOGIN_REQUIRED", "Sign in to confirm you’re not a bot", "This helps protect our community. Learn more"): "bot-check",
    ("LOGIN_REQUIRED", "Private video", "Sign in if you've been granted access to this video"): "private",
    ("LOGIN_REQUIRED", "Sign in to confirm your age", "This video may be inappropriate for some users."): "age",
    ("ERROR", "Video unavailable", "This video has been removed by the uploader"): "gone",
    ("ERROR", "Video unavailable", "The YouTube account associated with this video has been terminated."): "gone",
    ("ERROR", "This video is unavailable", ""): "gone",
    ("UNPLAYABLE", "Video unavailable", "The uploader has not made this video available in your country"): "geo",
    ("UNPLAYABLE", "Video unavailable", "It contains content from SME, who has blocked it in your country"): "geo",
    ("UNPLAYABLE", "Join this channel to get access to members-only content like this video", ""): "members",
    ("UNPLAYABLE", "This content isn't available, try again later.", ""): "throttled",
    ("LIVE_STREAM_OFFLINE", "This live event will begin in a few moments.", ""): "no-format",
    ("OK", "", ""): "no-format"}


@pytest.mark.parametrize("said, ours", REASONS.items(), ids=[f"{k}-{ours}" for k, ours in enumerate(REASONS.values())])
def test_youtubes_own_reasons_come_through_yt_dlps_own_extractor(monkeypatch, said: tuple[str, str, str], ours: str) -> None:
    """Its code runs as installed; only what the network would have brought is put in."""
    import yt_dlp
    from yt_dlp.extractor.youtube import YoutubeIE

    status, reason, more = said
    screen = {"reason": {"simpleText": reason}, "subreason": {"simpleText": more}}
    playability = {"status": status, "reason": reason, "errorScreen": {"playerErrorMessageRenderer": screen}}
    response = {"playabilityStatus": playability,
                "videoDetails": {"videoId": "aaaaaaaaaaa", "title": "A", "isLive": False}}
    monkeypatch.setattr(YoutubeIE, "_initial_extract", lambda *args: ("", {}, {}, False, [response], None))
    wish = {"url": "https://www.youtube.com/watch?v=aaaaaaaaaaa", "folder": "/nowhere", "bytes": 1, "height": 720,
            "audio": False, "stall": 1., "javascript": [], "cookies": "", "direct": True, "extractors": ["youtube$"]}
    with yt_dlp.YoutubeDL(ytdlp_exec.options(wish, ytdlp_exec.Quiet())) as site, pytest.raises(yt_dlp.DownloadError) as found:
        site.extract_info(wish["url"], download=False)
    assert responses.judge(f"DownloadError: {found.value}", "")[0] == ours, str(found.value)


def test_what_no_row_knows_is_asked_again_and_is_not_repeated() -> None:
    status, says = responses.judge("DownloadError: ERROR: planted http://a/?key=planted", "planted")
    assert status in ledger.AGAIN and "planted" not in says and "(DownloadError)" in says
    assert "(unknown)" in responses.judge("<b>planted</b>: x", "")[1]


FORMATS = [{"format_id": "a", "protocol": "https", "ext": "m4a", "vcodec": "none", "acodec": "mp4a", "height": None},
           {"format_id": "b", "protocol": "https", "ext": "mp4", "vcodec": "avc1", "acodec": "mp4a", "height": 360},
           {"format_id": "c", "protocol": "https", "ext": "mp4", "vcodec": "avc1", "acodec": "none", "height": 720},
           {"format_id": "d", "protocol": "m3u8_native", "ext": "mp4", "vcodec": "avc1", "acodec": "none", "height": 720},
           {"format_id": "e", "protocol": "https", "ext": "mhtml", "vcodec": "none", "acodec": "none", "height": 90},
           {"format_id": "f", "protocol": "https", "ext": "webm", "vcodec": "vp9", "height": 720, "has_drm": True},
           {"format_id": "g", "protocol": "https", "ext": "webm", "vcodec": "vp9", "acodec": "none", "height": 1080}]


@pytest.mark.parametrize("height, audio, chosen", [(720, False, "c"), (720, True, "ca"), (360, True, "b"), (1080, False, "g"),
                                                   (240, True, "")])
def test_the_best_plain_file_within_the_height_is_chosen_with_sound_only_where_wanted(height, audio, chosen) -> None:
    found = ytdlp_exec.choose(FORMATS, height, audio)
    assert "".join(str(format["format_id"]) for format in found) == chosen
    assert [format["role"] for format in found] == ["video", "audio"][:len(chosen)]


GUARDED = """
import json, os, subprocess, socket, sys
sys.path.insert(0, {root!r})
from pipeline.sources.ytdlp import ytdlp_exec
ytdlp_exec.guard({folder!r}, ytdlp_exec.peers(["http://127.0.0.1:{port}/"]), False)
os.chdir({folder!r})
def tried(function):
    try:
        function()
        return "done"
    except OSError as error:
        return type(error).__name__
print(json.dumps([tried(function) for function in (
    lambda: open("inside.txt", "w").write("x"), lambda: os.rename("inside.txt", "other.txt"), lambda: open({kept!r}).read(),
    lambda: open({beside!r}, "w"), lambda: open("../beside.txt", "a"), lambda: os.open({beside!r}, os.O_CREAT | os.O_WRONLY),
    lambda: os.rename("other.txt", {beside!r}), lambda: os.remove({kept!r}), lambda: os.symlink({kept!r}, "link"),
    lambda: os.mkdir({beside!r}), lambda: subprocess.run(["true"]), lambda: os.system("true"), lambda: os.fork(),
    lambda: socket.create_connection(("127.0.0.1", {port}), 1), lambda: socket.create_connection(("127.0.0.1", {port} + 1), 1),
    lambda: socket.create_connection(("10.0.0.1", 80), 1), lambda: socket.create_connection(("169.254.169.254", 80), 1),
    lambda: socket.socket(socket.AF_UNIX).connect("/run/x"))]))
"""


def test_the_process_that_asks_can_write_run_and_reach_nothing_else(tmp_path: Path) -> None:
    folder, kept = tmp_path / "work", tmp_path / "kept.txt"
    folder.mkdir()
    kept.write_text("x")
    code = GUARDED.format(root=str(Path(__file__).resolve().parents[3]), folder=str(folder), kept=str(kept), port=9,
                          beside=str(tmp_path / "beside.txt"))
    out = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True).stdout
    assert json.loads(out) == ["done"] * 3 + ["PermissionError"] * 10 + ["ConnectionRefusedError"] + ["PermissionError"] * 4
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["kept.txt", "other.txt", "work"] and kept.read_text() == "x"


def test_a_child_is_held_to_its_time_its_memory_and_its_files(tmp_path: Path) -> None:
    def run(code: str, **more: object) -> subprocess.CompletedProcess[bytes]:
        bounds = {"seconds": 5, "memory": 512, "clock": 5., "folder": tmp_path, **more}
        return sandbox.run([sys.executable, "-I", "-c", code], **bounds)

    for given in (b"hello", bytes(300_000)):  # more than a pipe holds
        assert run("import sys; print(sys.stdin.read(), end='')", given=given).stdout == given
    assert run("import sys; sys.stdin.close(); print('deaf')", given=bytes(10**6)).stdout == b"deaf\n"
    assert len(run("print('x' * 10**6)", most=1000).stdout) == 1000
    with pytest.raises(RejectedItem, match=r"\b0\.3 s"):
        run("import time; time.sleep(9)", clock=.3)
    with pytest.raises(RejectedItem, match=r"\b1 s"):
        run("while True: pass", seconds=1)
    assert b"MemoryError" in run("bytes(2**30)").stderr
    code = "f = open('x', 'wb', 0); f.write(bytes(999)); f.write(bytes(2)); f.write(b'x')"
    assert b"File too large" in run(code, largest=1000).stderr
    assert b"TALKING" not in run("import os; print(os.environ)").stdout


def test_a_grandchild_does_not_outlive_a_child_whose_time_is_up(tmp_path: Path) -> None:
    code = "import subprocess, time; subprocess.Popen(['sleep', '61.25']); time.sleep(60)"
    with pytest.raises(RejectedItem):
        sandbox.run([sys.executable, "-I", "-c", code], seconds=9, memory=512, clock=.7)
    gone = time.monotonic() + 9  # it is killed when `run` returns, and may take a moment to be gone
    while sleeping := b"sleep\x0061.25" in b"\n".join(command_lines()):
        if time.monotonic() > gone:
            break
        time.sleep(.05)
    assert not sleeping


def command_lines() -> Iterator[bytes]:
    """Of every process that there is while it is looked for."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            yield path.read_bytes()


def test_questions_keep_their_distance_and_a_tired_site_is_left_alone(tmp_path: Path, monkeypatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("pipeline.sources.ytdlp.rate_limit.time.time", lambda: now[0])
    monkeypatch.setattr("pipeline.sources.ytdlp.rate_limit.time.sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    pace = Throttle(tmp_path / "pace", RateLimit(pause=5., max_throttled=2, cooldown=100.))
    for due in (1000., 1005., 1010.):
        pace.wait()
        assert now[0] == due
    for status in ("throttled", "network", "bot-check"):  # network says nothing about rate_limit
        pace.record(status)
    with pytest.raises(NotRequested, match=r"\b2\b"):
        pace.wait()
    now[0] += 100
    pace.wait()
    pace.record("throttled")  # one more is enough now
    with pytest.raises(NotRequested):
        pace.wait()
    now[0] += 100
    pace.wait()
    pace.record("gone")
    pace.record("throttled")
    pace.wait()
    (tmp_path / "pace").write_text("{torn")
    pace.wait()
