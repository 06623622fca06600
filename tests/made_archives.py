"""VoxCeleb2 in small: zips with the real names in nine parts, and a server on loopback with every mood a server has."""

from __future__ import annotations

import hashlib
import io
import threading
import time
import urllib.parse
import zipfile
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import made_clips as clips

PARTS = [f"vox2_dev_mp4_parta{letter}" for letter in "abcdefghi"]
TEST = "vox2_test_mp4.zip"


def made(folder: Path, number: int = 0) -> bytes:
    """A small mp4 of a red disc that walks."""
    path = clips.write(folder / f"{number}.mp4", [clips.picture([(70 + k + number, 60, 20)], tone=40 + 9 * number + k)
                                                  for k in range(12)])
    return path.read_bytes()


def zipped(members: Mapping[str, bytes]) -> bytes:
    """A deflated zip of these members, as the publishers' are."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def cut(data: bytes) -> dict[str, bytes]:
    """Nine parts; the cuts fall where they fall."""
    step = -(-len(data) // len(PARTS))
    return {name: data[k * step:(k + 1) * step] for k, name in enumerate(PARTS)}


def listed(files: Mapping[str, bytes]) -> str:
    """The list of md5 for these files, in the project's form."""
    return "".join(f"{TEST if name == TEST else 'vox2_mp4.zip'} {name} {hashlib.md5(data).hexdigest()}\n"
                   for name, data in files.items())


class Publisher(ThreadingHTTPServer):
    """Serves `files` at /voxceleb?key=…&file=NAME and at /NAME (user:password); a request uses up one of a file's moods."""

    daemon_threads = True

    def __init__(self, files: Mapping[str, bytes], key: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files, self.key = dict(files), key
        self.moods: dict[str, list[str]] = {}
        self.asked: list[tuple[str, str, str]] = []  # name, Range, Authorization
        self.watch: Callable[[], None] = lambda: None
        self.over = threading.Event()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/voxceleb?key={{key}}&file={{file}}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Publisher

    def log_message(self, *words: object) -> None:
        """Not to the tests' output."""

    def do_GET(self) -> None:
        """Answers in the next mood of the file that is asked for."""
        url = urllib.parse.urlsplit(self.path)
        query = urllib.parse.parse_qs(url.query)
        name = query.get("file", [url.path.lstrip("/")])[0]
        self.close_connection = True
        self.server.asked.append((name, self.headers.get("Range", ""), self.headers.get("Authorization", "")))
        self.server.watch()
        moods = self.server.moods.get(name, [])
        mood = moods.pop(0) if moods else ""
        basic = "Basic " + b64encode(self.server.key.encode()).decode()
        if query.get("key", [""])[0] != self.server.key and self.headers.get("Authorization") != basic:
            mood = "403"
        if mood.isdigit():
            return self._head(int(mood), {"Content-Length": "0", "Retry-After": "0"})
        if mood.startswith("to "):
            return self._head(302, {"Content-Length": "0", "Location": mood[3:]})
        if name not in self.server.files:
            return self._head(404, {"Content-Length": "0"})
        return self._send(self.server.files[name], mood)

    def _send(self, data: bytes, mood: str) -> None:
        asked = self.headers.get("Range", "")
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and mood not in ("whole", "half") else 0
        if start >= len(data) > 0:
            return self._head(416, {"Content-Length": "0"})
        if mood == "flip":
            data = bytes([*data[:-1], data[-1] ^ 1])
        body = data[start:]
        said = start + 1 if mood == "elsewhere" else start
        headers = {"Content-Range": f"bytes {said}-{len(data) - 1}/{len(data)}"} if start else {}
        headers |= {} if mood == "endless" else {"Content-Length": str(len(body))}
        headers |= {"Content-Type": "text/html; charset=utf-8" if mood == "page" else "application/octet-stream"}
        self._head(206 if start else 200, headers)
        self.wfile.write(body[:len(body) // 2] if mood in ("cut", "stall", "half") else body)
        if mood == "stall":
            self.wfile.flush()
            self.server.over.wait(20)
        return None

    def _head(self, code: int, headers: Mapping[str, str]) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()


@contextmanager
def publisher(files: Mapping[str, bytes], key: str) -> Iterator[Publisher]:
    """A running server; gone when the context ends."""
    server = Publisher(files, key)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": .05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        server.server_close()
        thread.join()


def arguments() -> bytes:
    """The command lines of all processes on this machine."""
    found = b""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found += path.read_bytes() + b"\n"
        except OSError:  # it ended meanwhile
            time.sleep(0)
    return found
