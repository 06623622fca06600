"""Downloads one video through yt-dlp: `python -I -B ytdlp_exec.py` reads a job as JSON on stdin and prints one JSON line.

A separate script, which pipeline/media/sandbox.py starts under limits: a page, a script or a server can harm only this process.
yt-dlp is confined: no configuration, plugin, cache, netrc or file:// address, only its own downloader for plain http(s), no
merging or fixing afterwards. Python's audit events enforce more: no writes outside the working folder, no programs except a
JavaScript runtime the user has named, no connection to the local network except to the site itself.
"""

from __future__ import annotations

import io
import ipaddress
import json
import os
import sys
import urllib.parse
from typing import Any

PAGE = 1 << 16  # bytes kept of a page without a video, for its message
CHANGES = {"os.remove": 1, "os.rmdir": 1, "os.mkdir": 1, "os.truncate": 1, "os.chmod": 1, "os.rename": 2, "os.link": 2,
           "os.symlink": 2}  # audit event -> number of its arguments that are paths
PROGRAMS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "pty.spawn")
CONTAINERS = {"mp4", "webm", "mkv", "mov", "m4v", "m4a"}


class TooLarge(Exception):
    """More bytes than allowed."""


def guard(folder: str, peers: set[tuple[str, int]], programs: bool) -> None:
    """Restricts this process: writes only below `folder`, in the local network only `peers`, programs only if allowed."""
    root = os.path.realpath(folder) + os.sep

    def below(path: Any) -> bool:
        return isinstance(path, int) or os.path.realpath(os.fsdecode(path)).startswith(root)

    def watch(event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, flags = args
            writes = any(letter in (mode or "") for letter in "wax+") or (flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if writes and path != os.devnull and not below(path):
                raise PermissionError("writing outside the working folder is not allowed")
        elif event in CHANGES and not all(below(path) for path in args[:CHANGES[event]]):
            raise PermissionError("changes outside the working folder are not allowed")
        elif event in PROGRAMS and not programs:
            raise PermissionError("starting a program is not allowed")
        elif event == "socket.connect" and not _allowed(args[1], peers):
            raise PermissionError("connecting to the local network is not allowed")

    sys.addaudithook(watch)


def _allowed(address: Any, peers: set[tuple[str, int]]) -> bool:
    """Whether an address is public or one of `peers`; Unix sockets never are."""
    if not isinstance(address, tuple):
        return False
    host = str(address[0]).partition("%")[0]
    try:
        return (host, address[1]) in peers or ipaddress.ip_address(host).is_global
    except ValueError:
        return False


def peers(addresses: list[str]) -> set[tuple[str, int]]:
    """(IP address, port) of every host in these addresses, all IP addresses of a host included."""
    import socket

    found = set()
    for address in filter(None, addresses):
        parts = urllib.parse.urlsplit(address if "//" in address else "//" + address)
        port = parts.port or {"https": 443, "socks5": 1080, "socks5h": 1080, "socks4": 1080}.get(parts.scheme, 80)
        try:
            found |= {(str(entry[4][0]), port) for entry in socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)}
        except OSError:
            continue  # the request itself reports it
    return found


def choose(formats: list[dict[str, Any]], height: int, audio: bool) -> list[dict[str, Any]]:
    """The best video format up to this height, and an audio format if wanted and separate. yt-dlp lists the best last."""
    plain = [format for format in formats if format.get("protocol") in ("http", "https") and format.get("ext") in CONTAINERS
             and not format.get("has_drm")]
    videos = [format for format in plain if format.get("vcodec") != "none" and (format.get("height") or 0) <= height]
    audios = [format for format in plain if format.get("vcodec") == "none" and format.get("acodec") != "none"]
    if not videos:
        return []
    chosen = [{**videos[-1], "role": "video"}]
    if audio and videos[-1].get("acodec") == "none" and audios:
        chosen.append({**audios[-1], "role": "audio"})
    return chosen


class Quiet:
    """A logger that keeps errors and drops the rest."""

    def __init__(self) -> None:
        self.errors: list[str] = []

    def debug(self, message: str) -> None: ...

    def warning(self, message: str) -> None: ...

    def error(self, message: str) -> None:
        self.errors.append(message)


def options(job: dict[str, Any], quiet: Quiet) -> dict[str, Any]:
    """yt-dlp's options, spelled out where a default would reach beyond one video of one site."""
    def check_size(state: dict[str, Any]) -> None:
        if max(state.get("downloaded_bytes") or 0, state.get("total_bytes") or 0) > job["bytes"]:
            raise TooLarge(f"more than the {job['bytes']} bytes allowed")

    def selected(context: dict[str, Any]) -> list[dict[str, Any]]:
        return choose(context["formats"], job["height"], job["audio"])

    extra: dict[str, Any] = {"proxy": ""} if job["direct"] else {}
    extra |= {"cookiefile": io.StringIO(job["cookies"])} if job["cookies"] else {}  # in memory: no file is left behind
    return {
        "logger": quiet, "quiet": True, "noprogress": True, "no_color": True, "ignoreerrors": False, "verbose": False,
        "paths": {"home": job["folder"]}, "outtmpl": {"default": "%(role)s.%(ext)s"}, "restrictfilenames": True,
        "format": selected, "format_sort": [f"res:{job['height']}", "+codec:avc:m4a", "br"], "check_formats": False,
        "cachedir": False, "usenetrc": False, "enable_file_urls": False,
        "allowed_extractors": job["extractors"], "noplaylist": True, "playlist_items": "1", "extract_flat": False,
        "external_downloader": {"default": "native"}, "hls_prefer_native": True, "postprocessors": [], "fixup": "never",
        "updatetime": False, "overwrites": True, "continuedl": True, "nopart": False, "retries": 0, "fragment_retries": 0,
        "extractor_retries": 0, "file_access_retries": 0, "socket_timeout": job["stall"], "live_from_start": False,
        "js_runtimes": {name: {} for name in job["javascript"]}, "remote_components": set(), "color": "no_color",
        "progress_hooks": [check_size], "max_downloads": None, "simulate": False, "skip_download": False} | extra


def download(job: dict[str, Any]) -> dict[str, Any]:
    """{"video": file, "audio": file or ""}, or {"error": text, "page": text of a page without a video, "wait": seconds}."""
    os.environ["YTDLP_NO_PLUGINS"] = "1"
    import yt_dlp
    from yt_dlp.globals import plugin_dirs
    from yt_dlp.networking.exceptions import HTTPError

    plugin_dirs.value = []
    seen: dict[str, Any] = {"page": b"", "wait": ""}

    class Client(yt_dlp.YoutubeDL):
        def urlopen(self, request: Any) -> Any:
            try:
                response = super().urlopen(request)
            except HTTPError as error:
                seen["wait"] = error.response.headers.get("Retry-After") or ""
                raise
            if "html" in (response.headers.get("Content-Type") or ""):
                read = response.read
                response.read = lambda amount=None: _kept(seen, read(amount))
            return response

    quiet = Quiet()
    try:
        with Client(options(job, quiet), auto_init=True) as site:
            guard(job["folder"], peers([job["url"], *job["proxies"]]), bool(job["javascript"]))
            facts = site.extract_info(job["url"], download=True)
    except TooLarge as error:
        return {"error": f"TooLarge: {error}"}
    except Exception as error:  # noqa: BLE001 - whatever an untrusted page does to yt-dlp costs only this video's row
        page = seen["page"].decode(errors="replace") if "Unsupported URL" in str(error) else ""
        return {"error": f"{type(error).__name__}: {error}", "page": page, "wait": seen["wait"]}
    return _files(facts, job["folder"]) or {"error": " ".join(["Nothing: no file was downloaded", *quiet.errors])}


def _kept(seen: dict[str, Any], data: bytes) -> bytes:
    seen["page"] = (seen["page"] + data)[:PAGE]
    return data


def _files(facts: dict[str, Any] | None, folder: str) -> dict[str, Any]:
    """Names of the downloaded files; {} if there is no video."""
    entries = (facts or {}).get("entries")
    one = next(iter(entries), None) if entries else facts
    found = {"audio": ""}
    for part in (one or {}).get("requested_downloads") or []:
        name = os.path.basename(part.get("filepath") or "")
        if name and os.path.isfile(os.path.join(folder, name)):
            found[part.get("role") or "video"] = name
    return found if "video" in found else {}


if __name__ == "__main__":
    print(json.dumps(download(json.load(sys.stdin))))
