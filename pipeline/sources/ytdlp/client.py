"""Gets one video from a site: asks in a process of its own until its files are whole, or the site has said what is wrong."""

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
from pipeline.sources.ytdlp.throttle import Pace

ADDRESS, COOKIES = "TALKING_HEADS_YOUTUBE_SITE", "TALKING_HEADS_YOUTUBE_COOKIES"  # names in the environment
PROXIES = tuple(name for kind in ("http", "https", "all", "no") for name in (f"{kind}_proxy", f"{kind.upper()}_PROXY"))
PASSED = (*PROXIES, "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")  # what it takes to get out of some houses


class Request(Strict):
    """Where videos are, and what one question may cost."""

    site: str  # address of a video's page, with {id}; ADDRESS in the environment goes before it
    seconds: int = Field(ge=1)  # by the clock, and of processor time
    memory: int  # MiB of address space
    bytes: int  # of one file
    javascript: list[str]  # programs that may run YouTube's own scripts (deno, node, …); [] for none
    retry: download.Retry


def receive(config: Request, name: str, height: int, audio: bool, folder: Path, pace: Pace) -> tuple[Path, Path | None]:
    """The video, and its sound if that is a file of its own; what came is not asked for again.

    RejectedItem: what the site says, or that it says nothing after `retry.tries` questions that brought no new byte.
    """
    most, idle = 0, 0
    while True:
        pace.wait()
        answer = _asked(config, name, height, audio, folder)
        if "video" in answer:
            return folder / answer["video"], folder / answer["audio"] if answer["audio"] else None
        status, says = responses.judge(answer["error"], answer.get("page", ""))
        got = sum(path.stat().st_size for path in folder.iterdir())
        idle = 0 if got > most else idle + 1
        most = max(most, got)
        if status not in ledger.AGAIN or idle >= config.retry.tries:
            raise RejectedItem(status, says)
        asked = answer.get("wait", "")
        wait = float(asked) if asked.isascii() and asked.isdigit() else 0.0
        time.sleep(min(max(config.retry.pause * 2**idle, wait), config.retry.longest))


def _asked(config: Request, name: str, height: int, audio: bool, folder: Path) -> dict[str, str]:
    """One question: what ytdlp_exec.py prints. It gets everything on standard input; its arguments say nothing."""
    url = address(config, name)
    host = urllib.parse.urlsplit(url).hostname or ""
    passed = {key: os.environ[key] for key in PASSED if key in os.environ}
    wish = {"url": url, "folder": str(folder.resolve()), "bytes": config.bytes, "height": height, "audio": audio,
            "stall": config.retry.stall, "javascript": config.javascript, "cookies": cookies(),
            "direct": host in download.LOOPBACK,
            "proxies": [value for key, value in passed.items() if key in PROXIES and not key.lower().startswith("no")],
            "extractors": ["youtube$"] if re.fullmatch(r"((www|m)\.)?youtube\.com", host) else ["generic", "html5"]}
    try:
        done = sandbox.run([sys.executable, "-I", "-B", str(ytdlp_exec.__file__)], seconds=config.seconds, memory=config.memory,
                         clock=config.seconds, largest=config.bytes + 2**20, given=json.dumps(wish).encode(),
                         more=passed | {"TMPDIR": str(folder.resolve())}, folder=folder)
    except RejectedItem as problem:  # a slow line is no reason never to ask again
        raise RejectedItem("network", f"asking for it: {problem}") from None
    try:
        answer: dict[str, str] = json.loads(done.stdout)
    except ValueError:
        return {"error": f"Ended: code {done.returncode}"}
    return answer


def address(config: Request, name: str) -> str:
    """Of a video's page. InputError: it cannot be used; it is not shown, for it may hold a key."""
    pattern = os.environ.get(ADDRESS, "") or config.site
    if "{id}" not in pattern or not re.fullmatch(r"[!-~]+", pattern) or not download.allowed(pattern):
        raise InputError(f"fetch.ytdlp.site, or {ADDRESS} in the environment, is not an https:// address with {{id}} in it; "
                         "mend it as docs/voxceleb.md says")
    return pattern.replace("{id}", name)


def cookies() -> str:
    """What is in the file of cookies that the environment names; "" if it names none. InputError: there is no such file."""
    path = os.environ.get(COOKIES, "")
    try:
        return Path(path).read_text() if path else ""
    except (OSError, ValueError):
        raise InputError(f"{COOKIES} in the environment names no file that can be read; mend or unset it") from None
