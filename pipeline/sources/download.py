"""One large file over https: resumed by range, tried again with growing pauses, accepted by its md5. The key is never shown.

The address and the key come from the caller, who has them from the environment. Sentences name the file and the host only:
an address may hold the key.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import shutil
import ssl
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from base64 import b64encode
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import Field

from pipeline.core.config import Strict
from pipeline.core.errors import InputError
from pipeline.core.fileio import SPARE
from pipeline.core.ledger import RejectedItem

CHUNK = 1 << 20
LOOPBACK = {"127.0.0.1", "::1", "localhost"}
PASSING = {408, 425, 429, 500, 502, 503, 504}  # answers that another try may change


class Retry(Strict):
    """How a server's moods are met."""

    tries: int = Field(ge=1)  # in a row that bring not one new byte
    pause: float = Field(ge=0)  # seconds before the second try; doubled each time
    longest: float = Field(ge=0)  # seconds; also where the server asks for more
    stall: float = Field(gt=0)  # seconds without a byte that end a try


@dataclass(frozen=True)
class Server:
    """Where files are. `key` stands where the address has {key}; otherwise it is user:password."""

    address: str = field(repr=False)
    key: str = field(repr=False)

    def request(self, name: str) -> urllib.request.Request:
        """What is asked for one file. InputError: no address, not https, or a key that has no place."""
        quoted = {"file": urllib.parse.quote(name, ""), "key": urllib.parse.quote(self.key, "")}
        pattern = self.address if "{file}" in self.address else self.address.rstrip("/") + "/{file}"
        if not re.fullmatch(r"[!-~]+", pattern) or not allowed(pattern):
            raise InputError("the server's address is not an https:// address; set it as docs/voxceleb.md says")
        request = urllib.request.Request(pattern.replace("{file}", quoted["file"]).replace("{key}", quoted["key"]))
        if self.key and "{key}" not in pattern:
            if ":" not in self.key:
                raise InputError("the server's address has no {key} and the key is no user:password, so there is no place for "
                                 "it; "
                                 "set them as docs/voxceleb.md says")
            request.add_unredirected_header("Authorization", "Basic " + b64encode(self.key.encode()).decode())
        return request


def fetch(server: Server, name: str, md5: str, folder: Path, retry: Retry) -> None:
    """folder/name, whole and with this md5; what came so far stays in folder/name.part. A wrong md5 is met by one new download.

    RejectedItem: the server refuses it, does not have it, or stays out of reach. InputError: the address cannot be used, no
    room.
    """
    part = folder / f"{name}.part"
    for last in (False, True):
        _receive(server, name, part, retry)
        found = hash_of(part)
        if found == md5:
            os.replace(part, folder / name)
            return
        part.unlink()
        if last:
            raise RejectedItem("network", f"{name} came twice with another md5 than {md5} (now {found}); nothing of it was "
                                          f"kept")


def hash_of(path: Path) -> str:
    """md5 of a file, hexadecimal: what the publishers of large archives list."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _receive(server: Server, name: str, part: Path, retry: Retry) -> None:
    """Tries until the server says that `part` is whole."""
    most, idle = _size(part), 0
    while True:
        trouble = _attempt(server.request(name), name, part, retry)
        if trouble is None:
            return
        idle = 0 if _size(part) > most else idle + 1
        most = max(most, _size(part))
        if idle >= retry.tries:
            raise RejectedItem(trouble.status, f"{trouble.text} ({idle} tries without a new byte); {_size(part)} bytes are "
                                           "kept, run again to go on")
        time.sleep(min(max(retry.pause * 2**idle, trouble.wait), retry.longest))


@dataclass(frozen=True)
class Trouble:
    """Why a try did not end with a whole file, where another one may."""

    status: str
    text: str
    wait: float = 0.0  # seconds the server asks for


def _attempt(request: urllib.request.Request, name: str, part: Path, retry: Retry) -> Trouble | None:
    """One request for what is missing. None: nothing more is to come. RejectedItem: no use in asking again."""
    host = urllib.parse.urlsplit(request.full_url).hostname or ""
    start = _size(part)
    if start:
        request.add_header("Range", f"bytes={start}-")
    try:
        with _opener(host).open(request, timeout=retry.stall) as answer:
            return _save(answer, name, part, start, host)
    except urllib.error.HTTPError as error:
        if error.code == 416 and start:  # nothing lies beyond what is here: the md5 judges it
            return None
        return _answered(error.code, error.headers, name, host)
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise RejectedItem("network", f"{host} does not prove that it is {host} ({reason.verify_message}); check the "
                                          f"address "
                                      "and this machine's certificates") from None
        if getattr(reason, "errno", None) in (28, 122):
            raise InputError(f"{part}: the disk is full; make room and run again") from None
        return Trouble("network", f"{name} from {host} broke off ({type(reason).__name__})")


def _answered(code: int, headers: Any, name: str, host: str) -> Trouble:
    """A refusal as a sentence. RejectedItem: for good."""
    if code in PASSING:
        wait = headers.get("Retry-After", "")
        return Trouble("throttled" if code == 429 else "network", f"{host} answers {code} for {name}",
                       float(wait) if wait.isdigit() else 0.0)
    if code in (401, 403):
        raise RejectedItem("network", f"{host} refuses {name} ({code}): the key is wrong or has run out; ask for a new one")
    if code in (404, 410):
        raise RejectedItem("network", f"{host} has no {name} ({code}); check the address")
    raise RejectedItem("network", f"{host} answers {code} for {name}, which another try will not change; check the address")


def _save(answer: Any, name: str, part: Path, start: int, host: str) -> Trouble | None:
    """Appends what comes to the `start` bytes that are here; if the server sends all of it again, these are passed over."""
    if "text/html" in answer.headers.get("Content-Type", ""):
        raise RejectedItem("network", f"{host} sends a web page instead of {name}: the key is wrong or has run out, or the "
                                  "address is wrong")
    given = answer.headers.get("Content-Range", "")
    if answer.status == 206 and not given.startswith(f"bytes {start}-"):
        return Trouble("network", f"{host} sends another piece of {name} than was asked for")
    due = answer.headers.get("Content-Length")
    if due is not None and shutil.disk_usage(part.parent).free < int(due) + SPARE:
        raise InputError(f"{part.parent}: {int(due) / 2**30:.1f} GiB of {name} are still to come, "
                         f"{shutil.disk_usage(part.parent).free / 2**30:.1f} GiB are free; make room and run again")
    got, known, shown = 0, 0 if answer.status == 206 else start, time.monotonic()
    with part.open("ab") as file:
        while block := answer.read1(CHUNK):
            file.write(block[max(known - got, 0):])
            got += len(block)
            if time.monotonic() - shown >= 30:
                shown = time.monotonic()
                print(f"{name}: {part.stat().st_size / 2**30:.2f} GiB are here", file=sys.stderr, flush=True)
            if shutil.disk_usage(part.parent).free < SPARE:  # a body without a length may never end
                raise InputError(f"{part.parent}: the disk is nearly full at {part.stat().st_size} bytes of {name}; make room "
                                 f"and "
                                 "run again")
    if due is not None and got < int(due):
        return Trouble("network", f"{name} from {host} broke off after {got} of {due} bytes")
    return None


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def allowed(address: str) -> bool:
    """Whether this is https to some host, or http to this machine."""
    try:
        parts = urllib.parse.urlsplit(address)
    except ValueError:
        return False
    return bool(parts.hostname) and (parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK))


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows to https only. The password is in an unredirected header, so it stays with the first server."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if not allowed(newurl) or (req.type == "https" and not newurl.startswith("https:")):
            raise RejectedItem("network", f"{req.host} redirects to where there is no https, which is not followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener(host: str) -> urllib.request.OpenerDirector:
    direct = [urllib.request.ProxyHandler({})] if host in LOOPBACK else []
    return urllib.request.build_opener(_Redirects, *direct)
