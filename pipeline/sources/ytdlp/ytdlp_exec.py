"""Asks a site for one video through yt-dlp: `python -I -B ask.py`, what is wanted as JSON on standard input, one JSON line out.

A script of its own, which pipeline/media/sandbox.py starts under limits: a page, a script or a server can trouble
only this process.
yt-dlp is bound: no configuration, plugin, cache, netrc or file:// address, its own downloader for plain http(s) only, nothing
merged or mended afterwards. Python's audit events hold it to that: nothing is written outside the working folder, no program
is started but a JavaScript runtime the user has named, and no machine of the local network is talked to but the site itself.
"""

from __future__ import annotations

import io
import ipaddress
import json
import os
import sys
import urllib.parse
from typing import Any

PAGE = 1 << 16  # bytes of a page without a video that are kept, to see what it says
CHANGES = {"os.remove": 1, "os.rmdir": 1, "os.mkdir": 1, "os.truncate": 1, "os.chmod": 1, "os.rename": 2, "os.link": 2,
           "os.symlink": 2}  # how many of the event's arguments are paths
PROGRAMS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "pty.spawn")
BOXES = {"mp4", "webm", "mkv", "mov", "m4v", "m4a"}


class TooLarge(Exception):
    """More bytes than allowed."""


def guard(folder: str, peers: set[tuple[str, int]], programs: bool) -> None:
    """From now on: writes below `folder` only, of the local network `peers` only, programs only if allowed."""
    root = os.path.realpath(folder) + os.sep

    def below(path: Any) -> bool:
        return isinstance(path, int) or os.path.realpath(os.fsdecode(path)).startswith(root)

    def watch(event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, flags = args
            writes = any(letter in (mode or "") for letter in "wax+") or (flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if writes and path != os.devnull and not below(path):
                raise PermissionError("a file outside the working folder was to be written")
        elif event in CHANGES and not all(below(path) for path in args[:CHANGES[event]]):
            raise PermissionError("something outside the working folder was to be changed")
        elif event in PROGRAMS and not programs:
            raise PermissionError("a program was to be started")
        elif event == "socket.connect" and not _allowed(args[1], peers):
            raise PermissionError("a machine of the local network was to be talked to")

    sys.addaudithook(watch)


def _allowed(address: Any, peers: set[tuple[str, int]]) -> bool:
    """Whether this is a public address or a peer; sockets of files never are."""
    if not isinstance(address, tuple):
        return False
    host = str(address[0]).partition("%")[0]
    try:
        return (host, address[1]) in peers or ipaddress.ip_address(host).is_global
    except ValueError:
        return False


def peers(addresses: list[str]) -> set[tuple[str, int]]:
    """Host and port, with every number the host has, of these addresses."""
    import socket

    found = set()
    for address in filter(None, addresses):
        parts = urllib.parse.urlsplit(address if "//" in address else "//" + address)
        port = parts.port or {"https": 443, "socks5": 1080, "socks5h": 1080, "socks4": 1080}.get(parts.scheme, 80)
        try:
            found |= {(str(entry[4][0]), port) for entry in socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)}
        except OSError:
            continue  # it will be said when it is asked
    return found


def choose(formats: list[dict[str, Any]], height: int, audio: bool) -> list[dict[str, Any]]:
    """The best picture up to this height, and the sound if wanted and not in the same file. yt-dlp lists the best last."""
    plain = [format for format in formats if format.get("protocol") in ("http", "https") and format.get("ext") in BOXES
             and not format.get("has_drm")]
    seen = [format for format in plain if format.get("vcodec") != "none" and (format.get("height") or 0) <= height]
    heard = [format for format in plain if format.get("vcodec") == "none" and format.get("acodec") != "none"]
    if not seen:
        return []
    chosen = [{**seen[-1], "role": "video"}]
    if audio and seen[-1].get("acodec") == "none" and heard:
        chosen.append({**heard[-1], "role": "audio"})
    return chosen


class Quiet:
    """Keeps errors; the rest is nobody's business."""

    def __init__(self) -> None:
        self.errors: list[str] = []

    def debug(self, message: str) -> None: ...

    def warning(self, message: str) -> None: ...

    def error(self, message: str) -> None:
        self.errors.append(message)


def options(wish: dict[str, Any], quiet: Quiet) -> dict[str, Any]:
    """yt-dlp's, spelled out where its own default would reach further than one video of one site."""
    def counted(state: dict[str, Any]) -> None:
        if max(state.get("downloaded_bytes") or 0, state.get("total_bytes") or 0) > wish["bytes"]:
            raise TooLarge(f"more than the {wish['bytes']} bytes allowed")

    def selected(context: dict[str, Any]) -> list[dict[str, Any]]:
        return choose(context["formats"], wish["height"], wish["audio"])

    extra: dict[str, Any] = {"proxy": ""} if wish["direct"] else {}
    extra |= {"cookiefile": io.StringIO(wish["cookies"])} if wish["cookies"] else {}  # never a file: nothing is left behind
    return {
        "logger": quiet, "quiet": True, "noprogress": True, "no_color": True, "ignoreerrors": False, "verbose": False,
        "paths": {"home": wish["folder"]}, "outtmpl": {"default": "%(role)s.%(ext)s"}, "restrictfilenames": True,
        "format": selected, "format_sort": [f"res:{wish['height']}", "+codec:avc:m4a", "br"], "check_formats": False,
        "cachedir": False, "usenetrc": False, "enable_file_urls": False,
        "allowed_extractors": wish["extractors"], "noplaylist": True, "playlist_items": "1", "extract_flat": False,
        "external_downloader": {"default": "native"}, "hls_prefer_native": True, "postprocessors": [], "fixup": "never",
        "updatetime": False, "overwrites": True, "continuedl": True, "nopart": False, "retries": 0, "fragment_retries": 0,
        "extractor_retries": 0, "file_access_retries": 0, "socket_timeout": wish["stall"], "live_from_start": False,
        "js_runtimes": {name: {} for name in wish["javascript"]}, "remote_components": set(), "color": "no_color",
        "progress_hooks": [counted], "max_downloads": None, "simulate": False, "skip_download": False} | extra


def ask(wish: dict[str, Any]) -> dict[str, Any]:
    """{"video": file, "audio": file or ""}, or {"error": words, "page": what a page without a video says, "wait": seconds}."""
    os.environ["YTDLP_NO_PLUGINS"] = "1"
    import yt_dlp
    from yt_dlp.globals import plugin_dirs
    from yt_dlp.networking.exceptions import HTTPError

    plugin_dirs.value = []
    seen: dict[str, Any] = {"page": b"", "wait": ""}

    class Asker(yt_dlp.YoutubeDL):
        def urlopen(self, request: Any) -> Any:
            try:
                answer = super().urlopen(request)
            except HTTPError as error:
                seen["wait"] = error.response.headers.get("Retry-After") or ""
                raise
            if "html" in (answer.headers.get("Content-Type") or ""):
                read = answer.read
                answer.read = lambda amount=None: _kept(seen, read(amount))
            return answer

    quiet = Quiet()
    try:
        with Asker(options(wish, quiet), auto_init=True) as site:
            guard(wish["folder"], peers([wish["url"], *wish["proxies"]]), bool(wish["javascript"]))
            facts = site.extract_info(wish["url"], download=True)
    except TooLarge as error:
        return {"error": f"TooLarge: {error}"}
    except Exception as error:  # noqa: BLE001 - whatever a stranger's page makes of yt-dlp is this video's row and no more
        said = seen["page"].decode(errors="replace") if "Unsupported URL" in str(error) else ""
        return {"error": f"{type(error).__name__}: {error}", "page": said, "wait": seen["wait"]}
    return _files(facts, wish["folder"]) or {"error": " ".join(["Nothing: no file came", *quiet.errors])}


def _kept(seen: dict[str, Any], data: bytes) -> bytes:
    seen["page"] = (seen["page"] + data)[:PAGE]
    return data


def _files(facts: dict[str, Any] | None, folder: str) -> dict[str, Any]:
    """Names of the files that came; {} if there is none."""
    entries = (facts or {}).get("entries")
    one = next(iter(entries), None) if entries else facts
    found = {"audio": ""}
    for part in (one or {}).get("requested_downloads") or []:
        name = os.path.basename(part.get("filepath") or "")
        if name and os.path.isfile(os.path.join(folder, name)):
            found[part.get("role") or "video"] = name
    return found if "video" in found else {}


if __name__ == "__main__":
    print(json.dumps(ask(json.load(sys.stdin))))
