"""A video site on loopback that yt-dlp's generic extractor reads, with every mood a site has, and small films and metadata."""

from __future__ import annotations

import subprocess
import threading
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import made_clips as clips

from pipeline.media import video

SAYS = {  # what a page says that shows no video
    "bot": "Sign in to confirm you’re not a bot. This helps protect our community.",
    "private": "Private video. Sign in if you've been granted access to this video",
    "geo": "The uploader has not made this video available in your country",
    "age": "Sign in to confirm your age. This video may be inappropriate for some users.",
    "members": "Join this channel to get access to members-only content like this video, and other exclusive perks.",
    "removed": "Video unavailable. This video has been removed by the uploader",
    "empty": "Nothing to be seen here",
}
PAGE = "<!DOCTYPE html><html><head><title>{title}</title></head><body>{body}</body></html>"


class Site(ThreadingHTTPServer):
    """Pages /watch?v=ID and files /media/ID.mp4 of `videos`; a request for either uses up one of its moods.

    moods["watch/ID"] and moods["media/ID"]: a status number, a word of SAYS, `stall`, `cut`, `long` (more bytes promised than
    come), `short` (fewer promised), `flip`, `endless`, `to ADDRESS`; "" is as it should be.
    """

    daemon_threads = True

    def __init__(self, videos: Mapping[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.videos = dict(videos)
        self.moods: dict[str, list[str]] = {}
        self.asked: list[str] = []  # watch/ID, media/ID
        self.cookies: list[str] = []
        self.ranges: list[str] = []
        self.direct: set[str] = set()  # ids whose page is the file itself
        self.watch: Callable[[], None] = lambda: None
        self.over = threading.Event()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/watch?v={{id}}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Site

    def log_message(self, *words: object) -> None:
        """Not to the tests' output."""

    def do_GET(self) -> None:
        """Answers in the next mood of what is asked for."""
        self.close_connection = True
        url = urllib.parse.urlsplit(self.path)
        place = url.path.strip("/").split("/")[0]
        video = urllib.parse.parse_qs(url.query).get("v", [url.path.split("/")[-1].removesuffix(".mp4")])[0]
        name = f"{place}/{video}"
        self.server.asked.append(name)
        self.server.cookies.append(self.headers.get("Cookie", ""))
        self.server.ranges.append(self.headers.get("Range", ""))
        self.server.watch()
        moods = self.server.moods.get(name, [])
        mood = moods.pop(0) if moods else ""
        if mood.isdigit():
            return self._send(int(mood), b"", {"Retry-After": "0"} if mood == "429" else {})
        if mood.startswith("to "):
            return self._send(302, b"", {"Location": mood[3:]})
        if video not in self.server.videos:
            return self._send(404, b"", {})
        if place == "watch" and video not in self.server.direct:
            return self._page(video, mood)
        return self._media(self.server.videos[video], mood)

    def _page(self, video: str, mood: str) -> None:
        if mood in SAYS:
            return self._send(200, PAGE.format(title="A site", body=f"<p>{SAYS[mood]}</p>").encode(), {})
        if mood == "stall":
            self.server.over.wait(20)
            return None
        body = f'<video controls><source src="/media/{video}.mp4" type="video/mp4"></video>'
        return self._send(200, PAGE.format(title=f"Video {video}", body=body).encode(), {})

    def _media(self, data: bytes, mood: str) -> None:
        asked = self.headers.get("Range", "")
        start = int(asked.removeprefix("bytes=").split("-")[0]) if asked else 0
        if start >= len(data):
            return self._send(416, b"", {})
        if mood == "flip":
            data = bytes(byte ^ 0x55 if 4 <= k < 64 else byte for k, byte in enumerate(data))
        body = data[start:]
        headers = {"Content-Type": "video/mp4", "Accept-Ranges": "bytes", "Last-Modified": "Sun, 01 Mar 2020 12:00:00 GMT"}
        headers |= {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"} if asked else {}
        length = {"long": len(body) + 999, "short": len(body) // 2, "endless": None}.get(mood, len(body))
        self._head(206 if asked else 200, headers | ({} if length is None else {"Content-Length": str(length)}))
        if mood == "endless":
            while not self.server.over.is_set():
                self.wfile.write(body)
        self.wfile.write(body[:len(body) // 2] if mood in ("cut", "stall") else body)
        if mood == "stall":
            self.wfile.flush()
            self.server.over.wait(20)
        return None

    def _send(self, code: int, body: bytes, headers: Mapping[str, str]) -> None:
        self._head(code, {"Content-Type": "text/html; charset=utf-8", "Content-Length": str(len(body)), **headers})
        self.wfile.write(body)

    def _head(self, code: int, headers: Mapping[str, str]) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()


@contextmanager
def site(videos: Mapping[str, bytes]) -> Iterator[Site]:
    """A running site; gone when the context ends."""
    server = Site(videos)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": .05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        server.server_close()
        thread.join()


def text(person: str, video: str, first: int, boxes: Sequence[Sequence[float]]) -> str:
    """An utterance's file in VoxCeleb's form: one box x, y, w, h a picture."""
    head = (f"Identity  : \t{person}\nReference : \t{video}\nOffset    : \t2\nFV Conf   : \t20.230\t(1)\n"
            "ASD Conf  : \t2.765\n\nFRAME \tX \tY \tW \tH \n")
    rows = (" \t".join(f"{side:.3f}" for side in box) for box in boxes)
    return head + "".join(f"{first + k:06d} \t{row} \n" for k, row in enumerate(rows))


def film(folder: Path, number: int, seconds: int = 3, sound: bool = False) -> bytes:
    """A 320x240 mp4, 25 pictures a second, of a red disc of radius 40 that walks from (100, 100); another tone a video."""
    pictures = [clips.picture([(100 + k, 100 + k / 2, 40)], 320, 240, tone=30 + 12 * number) for k in range(25 * seconds)]
    path = clips.write(folder / f"{number}.mp4", pictures)
    return (with_sound(path) if sound else path).read_bytes()


def boxes(first: int, count: int) -> list[tuple[float, float, float, float]]:
    """Where the disc of `film` is in so many pictures from `first` on: x, y, w, h in shares of the picture."""
    return [((60 + k) / 320, (60 + k / 2) / 240, 80 / 320, 80 / 240) for k in range(first, first + count)]


def with_sound(path: Path) -> Path:
    """The same pictures with a tone."""
    target = path.with_name(f"{path.stem}-sound.mp4")
    subprocess.run([video.program(), "-v", "error", "-i", path, "-f", "lavfi", "-i", "sine=440:sample_rate=16000",
                    "-c:v", "copy", "-c:a", "aac", "-shortest", "-fflags", "+bitexact", "-y", target], check=True)
    return target
