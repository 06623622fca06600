"""Downloads one video from a site, in sandboxed processes, until its files are complete or the site's reason is known."""

from __future__ import annotations

import json
import os
import re
import sys
import time
import urllib.parse
from pathlib import Path

from pydantic import Field

from pipeline.core import ledger
from pipeline.core.config import Strict
from pipeline.core.errors import InputError
from pipeline.core.ledger import RejectedItem
from pipeline.media import sandbox
from pipeline.sources import download
from pipeline.sources.ytdlp import responses, ytdlp_exec
from pipeline.sources.ytdlp.rate_limit import Throttle

ADDRESS, COOKIES = "TALKING_HEADS_YOUTUBE_SITE", "TALKING_HEADS_YOUTUBE_COOKIES"  # environment variables
PROXIES = tuple(name for kind in ("http", "https", "all", "no") for name in (f"{kind}_proxy", f"{kind.upper()}_PROXY"))
PASSED = (*PROXIES, "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")  # needed behind some firewalls


class Request(Strict):
    """The site, and the limits of one request."""

    site: str  # address of a video's page, with {id}; the environment variable ADDRESS overrides it
    seconds: int = Field(ge=1)  # of wall time, and of processor time
    memory: int  # MiB of address space
    bytes: int  # of one file
    javascript: list[str]  # programs that may run YouTube's own scripts (deno, node, …); [] for none
    retry: download.Retry


def download_video(config: Request, name: str, height: int, audio: bool, folder: Path,
                   throttle: Throttle) -> tuple[Path, Path | None]:
    """Downloads a video to `folder`: its file, and its audio if that is a separate file. Partial files are resumed.

    RejectedItem: the site's reason, or `retry.tries` requests in a row without a new byte.
    """
    most, idle = 0, 0
    while True:
        throttle.wait()
        response = _request(config, name, height, audio, folder)
        if "video" in response:
            return folder / response["video"], folder / response["audio"] if response["audio"] else None
        status, says = responses.judge(response["error"], response.get("page", ""))
        got = sum(path.stat().st_size for path in folder.iterdir())
        idle = 0 if got > most else idle + 1
        most = max(most, got)
        if status not in ledger.AGAIN or idle >= config.retry.tries:
            raise RejectedItem(status, says)
        given = response.get("wait", "")
        wait = float(given) if given.isascii() and given.isdigit() else 0.0
        time.sleep(min(max(config.retry.pause * 2**idle, wait), config.retry.longest))


def _request(config: Request, name: str, height: int, audio: bool, folder: Path) -> dict[str, str]:
    """Runs ytdlp_exec.py once; returns the JSON it prints. Its input goes through stdin, so its arguments reveal nothing."""
    url = address(config, name)
    host = urllib.parse.urlsplit(url).hostname or ""
    passed = {key: os.environ[key] for key in PASSED if key in os.environ}
    job = {"url": url, "folder": str(folder.resolve()), "bytes": config.bytes, "height": height, "audio": audio,
           "stall": config.retry.stall, "javascript": config.javascript, "cookies": cookies(),
           "direct": host in download.LOOPBACK,
           "proxies": [value for key, value in passed.items() if key in PROXIES and not key.lower().startswith("no")],
           "extractors": ["youtube$"] if re.fullmatch(r"((www|m)\.)?youtube\.com", host) else ["generic", "html5"]}
    try:
        done = sandbox.run([sys.executable, "-I", "-B", str(ytdlp_exec.__file__)], seconds=config.seconds, memory=config.memory,
                           clock=config.seconds, largest=config.bytes + 2**20, given=json.dumps(job).encode(),
                           more=passed | {"TMPDIR": str(folder.resolve())}, folder=folder)
    except RejectedItem as problem:  # `network` instead of the final `timeout`: a slow connection deserves another run
        raise RejectedItem("network", f"the request: {problem}") from None
    try:
        response: dict[str, str] = json.loads(done.stdout)
    except ValueError:
        return {"error": f"Ended: code {done.returncode}"}
    return response


def address(config: Request, name: str) -> str:
    """The address of a video's page. InputError: unusable; the message does not show it, because it may contain a key."""
    pattern = os.environ.get(ADDRESS, "") or config.site
    if "{id}" not in pattern or not re.fullmatch(r"[!-~]+", pattern) or not download.allowed(pattern):
        raise InputError(f"fetch.ytdlp.site, or {ADDRESS} in the environment, is not an https:// address with {{id}} in it; "
                         "set it as docs/voxceleb.md says")
    return pattern.replace("{id}", name)


def cookies() -> str:
    """The content of the cookie file named in the environment; "" if none is named. InputError: it cannot be read."""
    path = os.environ.get(COOKIES, "")
    try:
        return Path(path).read_text() if path else ""
    except (OSError, ValueError):
        raise InputError(f"{COOKIES} in the environment does not name a readable file; correct or unset it") from None
