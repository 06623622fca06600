"""`python -m model.backbones`: downloads that break off, wrong files, the listing."""

import dataclasses
import io
import urllib.error

import pytest

from model.backbones import __main__, registry


class Answer(io.BytesIO):
    def __init__(self, body, status=200, length=None):
        super().__init__(body)
        self.status, self.headers = status, {"Content-Length": str(len(body) if length is None else length)}


@pytest.fixture
def entry(weights, monkeypatch):
    """A file of 10 bytes to download."""
    import hashlib

    entry = dataclasses.replace(registry.REGISTRY["fid_inception"], name="ten", file="ten.bin", bytes=10,
                                sha256=hashlib.sha256(b"0123456789").hexdigest(), source="https://example.org/ten.bin")
    monkeypatch.setitem(registry.REGISTRY, "ten", entry)
    return entry


def test_a_download_that_breaks_off_is_gone_on_from(entry, weights, capsys):
    asked = []

    def broken(request, timeout):
        return Answer(b"0123", length=10)

    def rest(request, timeout):
        asked.append(request.get_header("Range"))
        return Answer(b"456789", status=206)

    assert __main__.fetch([entry], broken) == 1
    assert "ten.bin" in capsys.readouterr().err and not (weights / "ten.bin").exists()
    assert __main__.fetch([entry], rest) == 0
    assert asked == ["bytes=4-"] and (weights / "ten.bin").read_bytes() == b"0123456789"


def test_a_server_that_cannot_go_on_starts_anew(entry, weights):
    (weights / "ten.bin.part").write_bytes(b"0123")
    assert __main__.fetch([entry], lambda request, timeout: Answer(b"0123456789")) == 0


def test_a_wrong_download_is_not_kept(entry, weights, capsys):
    assert __main__.fetch([entry], lambda request, timeout: Answer(b"9876543210")) == 1
    assert list(weights.iterdir()) == []
    assert "ten.bin" in capsys.readouterr().err


def test_without_a_network_each_missing_file_is_one_sentence(entry, weights, capsys):
    def nowhere(request, timeout):
        raise urllib.error.URLError("Name or service not known")

    assert __main__.fetch([entry, registry.REGISTRY["fan"]], nowhere) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and all(str(weights) in line for line in lines)


def test_only_https_is_followed():
    with pytest.raises(urllib.error.URLError):
        __main__._OnlyHttps().redirect_request(None, None, 302, "", {}, "http://example.org/ten.bin")
    assert all(e.source.startswith("https://") for e in registry.REGISTRY.values() if not e.package)


def test_the_listing_names_every_file_and_fails_on_a_wrong_one(weights, capsys):
    assert __main__.main([]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in registry.REGISTRY) and "WRONG" not in printed
    (weights / "pnet.pt").write_bytes(b"")
    assert __main__.main([]) == 1
    assert "WRONG   mtcnn_pnet" in capsys.readouterr().out
