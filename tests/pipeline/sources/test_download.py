"""Facts about fetching large files: whatever the server does, the file is whole or there is a sentence; the key is in none."""

import hashlib
import threading
from pathlib import Path

import made_archives as archives
import numpy as np
import pytest

from pipeline.core.errors import InputError
from pipeline.core.ledger import RejectedItem
from pipeline.sources import download
from pipeline.sources.download import Retry, Server

KEY = "planted-k3y/+&%"
NAME = archives.PARTS[0]
DATA = np.random.default_rng(0).bytes(300_001)
MD5 = hashlib.md5(DATA).hexdigest()
PATIENCE = Retry(tries=3, pause=.001, longest=.01, stall=.4)


@pytest.fixture
def server():
    with archives.publisher({NAME: DATA}, KEY) as running:
        yield running


def get(server: archives.Publisher, folder: Path) -> bytes:
    download.fetch(Server(server.address, KEY), NAME, MD5, folder, PATIENCE)
    assert [path.name for path in folder.iterdir()] == [NAME]
    return (folder / NAME).read_bytes()


@pytest.mark.parametrize("moods", [
    [], ["cut"], ["cut"] * 12, ["stall"], ["cut", "stall", "cut"], ["500", "502", "cut", "503", "504"], ["429", "429"],
    ["cut", "whole"], ["cut", "half", "whole"], ["cut", "elsewhere"], ["cut", "cut", "elsewhere", "cut", "500"], ["endless"],
    ["flip"], ["cut", "flip"], ["flip", "cut", "429", "whole"],
], ids="-".join)
def test_the_file_is_the_same_bytes_after_every_passing_trouble(server, tmp_path: Path, moods: list[str]) -> None:
    server.moods[NAME] = list(moods)
    assert get(server, tmp_path) == DATA
    assert not server.moods[NAME]


def test_what_came_is_not_asked_for_again(server, tmp_path: Path) -> None:
    server.moods[NAME] = ["cut", "cut"]
    get(server, tmp_path)
    half = len(DATA) // 2
    assert [asked for _, asked, _ in server.asked] == ["", f"bytes={half}-", f"bytes={half + (len(DATA) - half) // 2}-"]


def test_an_interrupted_download_goes_on_in_the_next_run(server, tmp_path: Path) -> None:
    server.moods[NAME] = ["cut", "500", "500", "500"]
    with pytest.raises(RejectedItem, match=r"answers 500 .*3 tries .*150000 bytes are kept, run again"):
        get(server, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [f"{NAME}.part"]
    server.asked.clear()
    assert get(server, tmp_path) == DATA and server.asked[0][1] == "bytes=150000-"


def test_a_whole_part_file_is_only_verified(server, tmp_path: Path) -> None:
    (tmp_path / f"{NAME}.part").write_bytes(DATA)
    assert get(server, tmp_path) == DATA and len(server.asked) == 1


@pytest.mark.parametrize("moods, status, words, requests", [
    (["403"], "network", r"127.0.0.1 refuses vox2_dev_mp4_partaa \(403\)", 1),
    (["404"], "network", r"127.0.0.1 has no vox2_dev_mp4_partaa \(404\); check the address", 1),
    (["400"], "network", r"answers 400 ", 1),
    (["page"], "network", "sends a web page instead of", 1),
    (["500"] * 3, "network", "answers 500", 3),
    (["429"] * 3, "throttled", "answers 429", 3),
    (["flip"] * 2, "network", "twice with a wrong md5", 2),
    (["to http://example.invalid/secret"], "network", "redirects to .*without https", 1),
])
def test_lasting_trouble_is_one_sentence(server, tmp_path: Path, moods, status: str, words: str, requests: int) -> None:
    server.moods[NAME] = list(moods)
    with pytest.raises(RejectedItem, match=words) as found:
        get(server, tmp_path)
    assert found.value.status == status and len(server.asked) == requests
    assert "planted" not in str(found.value) and "secret" not in str(found.value)
    assert not (tmp_path / NAME).exists()


def test_a_server_that_starts_again_and_ends_at_the_same_byte_is_given_up(server, tmp_path: Path) -> None:
    server.moods[NAME] = ["half"] * 9
    with pytest.raises(RejectedItem, match=r"broke off after 150000 of 300001 bytes \(3 tries without a new byte"):
        get(server, tmp_path)
    assert len(server.asked) == 4


def test_nobody_at_the_address_is_a_sentence(tmp_path: Path) -> None:
    with archives.publisher({}, KEY) as gone:
        address = gone.address
    with pytest.raises(RejectedItem, match=r"from 127.0.0.1 broke off \(ConnectionRefusedError\)"):
        download.fetch(Server(address, KEY), NAME, MD5, tmp_path, PATIENCE)


@pytest.mark.parametrize("address, key, words", [
    ("http://example.org/{file}?key={key}", "k", "not an https:// address"),
    ("ftp://example.org/", "a:b", "not an https:// address"),
    ("file:///etc/", "a:b", "not an https:// address"),
    ("example.org", "a:b", "not an https:// address"),
    ("https://[example.org/planted", "a:b", "not an https:// address"),
    ("https://exämple.org/planted", "a:b", "not an https:// address"),
    ("https://example.org/a planted\n", "a:b", "not an https:// address"),
    ("https://example.org/vox", "planted", "cannot be sent"),
])
def test_an_address_that_would_show_the_key_or_has_no_place_for_it_is_refused(address: str, key: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as found:
        Server(address, key).request(NAME)
    assert "planted" not in str(found.value) and "example" not in str(found.value)


def test_user_and_password_go_to_the_first_server_only(server, tmp_path: Path) -> None:
    server.key = "user:pass"
    with archives.publisher({NAME: DATA}, "other:key") as second:
        server.moods[NAME] = [f"to http://127.0.0.1:{second.server_port}/{NAME}"]
        with pytest.raises(RejectedItem, match="403"):
            download.fetch(Server(f"http://127.0.0.1:{server.server_port}/", "user:pass"), NAME, MD5, tmp_path, PATIENCE)
        assert [authorization for _, _, authorization in second.asked] == [""]
    download.fetch(Server(f"http://127.0.0.1:{server.server_port}/", "user:pass"), NAME, MD5, tmp_path, PATIENCE)
    assert (tmp_path / NAME).read_bytes() == DATA


def test_a_key_of_any_characters_arrives_as_it_is(server, tmp_path: Path) -> None:
    assert get(server, tmp_path) == DATA  # KEY has / + & and %


def test_a_server_is_printed_without_its_key() -> None:
    assert repr(Server("https://u:planted@example.org/?key=planted", "planted")) == "Server()"


def test_a_certificate_nobody_vouches_for_is_not_accepted(tmp_path: Path) -> None:
    import ssl
    import subprocess

    made = subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost",
                           "-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "certificate")], capture_output=True)
    assert made.returncode == 0, made.stderr
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "certificate", tmp_path / "key")
    server = archives.Publisher({NAME: DATA}, KEY)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": .05}, daemon=True)
    thread.start()
    address = server.address.replace("http://127.0.0.1", "https://localhost")
    with pytest.raises(RejectedItem, match="certificate of localhost"):
        download.fetch(Server(address, KEY), NAME, MD5, tmp_path, PATIENCE)
    server.shutdown()
    server.server_close()
    assert not server.asked


def test_a_full_disk_is_said_before_the_download(server, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(download, "SPARE", 2**60)
    with pytest.raises(InputError, match=r"GiB of vox2_dev_mp4_partaa .*make room"):
        get(server, tmp_path)


def test_a_body_without_an_end_does_not_fill_the_disk(server, tmp_path: Path, monkeypatch) -> None:
    server.moods[NAME] = ["endless"]
    monkeypatch.setattr(download, "SPARE", 2**60)
    with pytest.raises(InputError, match=r"the disk is nearly full at \d+ bytes"):
        get(server, tmp_path)
