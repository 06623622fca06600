"""Downloads one large file over https: resumed by range, retried with growing pauses, verified by md5. The key is never shown.

The caller takes address and key from the environment. Messages name only file and host, because an address may contain the key.
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
TRANSIENT = {408, 425, 429, 500, 502, 503, 504}  # status codes worth a retry


class Retry(Strict):
    """When failed requests are retried."""

    tries: int = Field(ge=1)  # consecutive tries without a new byte before giving up
    pause: float = Field(ge=0)  # seconds before the second try; doubled each time
    longest: float = Field(ge=0)  # longest pause, seconds; also if the server asks for more
    stall: float = Field(gt=0)  # seconds without a byte that end a try


@dataclass(frozen=True)
class Server:
    """The server of the files. `key` replaces {key} in the address; without {key} there, it is user:password."""

    address: str = field(repr=False)
    key: str = field(repr=False)

    def request(self, name: str) -> urllib.request.Request:
        """The request for one file. InputError: no address, not https, or a key that cannot be sent."""
        quoted = {"file": urllib.parse.quote(name, ""), "key": urllib.parse.quote(self.key, "")}
        pattern = self.address if "{file}" in self.address else self.address.rstrip("/") + "/{file}"
        if not re.fullmatch(r"[!-~]+", pattern) or not allowed(pattern):
            raise InputError("the server's address is not an https:// address; set it as docs/voxceleb.md says")
        request = urllib.request.Request(pattern.replace("{file}", quoted["file"]).replace("{key}", quoted["key"]))
        if self.key and "{key}" not in pattern:
            if ":" not in self.key:
                raise InputError("the server's address has no {key} and the key is not user:password, so it cannot be sent; "
                                 "set them as docs/voxceleb.md says")
            request.add_unredirected_header("Authorization", "Basic " + b64encode(self.key.encode()).decode())
        return request


def fetch(server: Server, name: str, md5: str, folder: Path, retry: Retry) -> None:
    """Downloads folder/name and verifies its md5; after a wrong md5 it is downloaded once more.

    A partial file stays in folder/name.part. RejectedItem: the server refuses the file, lacks it, or stays unreachable.
    InputError: the address cannot be used, or the disk is full.
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
            raise RejectedItem("network", f"{name} arrived twice with a wrong md5, {found} where {md5} is expected; it was "
                                          "deleted")


def hash_of(path: Path) -> str:
    """md5 of a file, hexadecimal, as publishers of large archives list it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _receive(server: Server, name: str, part: Path, retry: Retry) -> None:
    """Sends requests until `part` is complete. RejectedItem: `retry.tries` in a row without a new byte, or a final answer."""
    most, idle = _size(part), 0
    while True:
        failure = _attempt(server.request(name), name, part, retry)
        if failure is None:
            return
        idle = 0 if _size(part) > most else idle + 1
        most = max(most, _size(part))
        if idle >= retry.tries:
            raise RejectedItem(failure.status, f"{failure.text} ({idle} tries without a new byte); {_size(part)} bytes are "
                                               "kept, run again to resume")
        time.sleep(min(max(retry.pause * 2**idle, failure.wait), retry.longest))


@dataclass(frozen=True)
class Failure:
    """Why a request did not complete the file; a retry may."""

    status: str
    text: str
    wait: float = 0.0  # seconds the server asks for


def _attempt(request: urllib.request.Request, name: str, part: Path, retry: Retry) -> Failure | None:
    """Sends one request for the missing bytes. None: the file is complete. RejectedItem: a retry is useless."""
    host = urllib.parse.urlsplit(request.full_url).hostname or ""
    start = _size(part)
    if start:
        request.add_header("Range", f"bytes={start}-")
    try:
        with _opener(host).open(request, timeout=retry.stall) as response:
            return _save(response, name, part, start, host)
    except urllib.error.HTTPError as error:
        if error.code == 416 and start:  # no bytes beyond `start`: the md5 decides
            return None
        return _http_error(error.code, error.headers, name, host)
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise RejectedItem("network", f"the certificate of {host} cannot be verified ({reason.verify_message}); check the "
                                          "address and this machine's certificates") from None
        if getattr(reason, "errno", None) in (28, 122):
            raise InputError(f"{part}: the disk is full; make room and run again") from None
        return Failure("network", f"{name} from {host} broke off ({type(reason).__name__})")


def _http_error(code: int, headers: Any, name: str, host: str) -> Failure:
    """The failure for an HTTP status code. RejectedItem: a final one."""
    if code in TRANSIENT:
        wait = headers.get("Retry-After", "")
        return Failure("throttled" if code == 429 else "network", f"{host} answers {code} for {name}",
                       float(wait) if wait.isdigit() else 0.0)
    if code in (401, 403):
        raise RejectedItem("network", f"{host} refuses {name} ({code}): the key is wrong or has expired; request a new one")
    if code in (404, 410):
        raise RejectedItem("network", f"{host} has no {name} ({code}); check the address")
    raise RejectedItem("network", f"{host} answers {code} for {name}, which a retry does not change; check the address")


def _save(response: Any, name: str, part: Path, start: int, host: str) -> Failure | None:
    """Appends the response to the `start` bytes of `part`; skips these if the server sends the whole file again."""
    if "text/html" in response.headers.get("Content-Type", ""):
        raise RejectedItem("network", f"{host} sends a web page instead of {name}: the key is wrong or has expired, or the "
                                      "address is wrong")
    given = response.headers.get("Content-Range", "")
    if response.status == 206 and not given.startswith(f"bytes {start}-"):
        return Failure("network", f"{host} sends another range of {name} than requested")
    due = response.headers.get("Content-Length")
    if due is not None and shutil.disk_usage(part.parent).free < int(due) + SPARE:
        raise InputError(f"{part.parent}: {int(due) / 2**30:.1f} GiB of {name} are missing, "
                         f"{shutil.disk_usage(part.parent).free / 2**30:.1f} GiB are free; make room and run again")
    got, known, shown = 0, 0 if response.status == 206 else start, time.monotonic()
    with part.open("ab") as file:
        while block := response.read1(CHUNK):
            file.write(block[max(known - got, 0):])
            got += len(block)
            if time.monotonic() - shown >= 30:
                shown = time.monotonic()
                print(f"{name}: {part.stat().st_size / 2**30:.2f} GiB downloaded", file=sys.stderr, flush=True)
            if shutil.disk_usage(part.parent).free < SPARE:  # a body without a length may never end
                raise InputError(f"{part.parent}: the disk is nearly full at {part.stat().st_size} bytes of {name}; make room "
                                 "and run again")
    if due is not None and got < int(due):
        return Failure("network", f"{name} from {host} broke off after {got} of {due} bytes")
    return None


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def allowed(address: str) -> bool:
    """Whether an address is https to any host, or http to this machine."""
    try:
        parts = urllib.parse.urlsplit(address)
    except ValueError:
        return False
    return bool(parts.hostname) and (parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK))


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to https only. The password is in an unredirected header, so only the first server gets it."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if not allowed(newurl) or (req.type == "https" and not newurl.startswith("https:")):
            raise RejectedItem("network", f"{req.host} redirects to an address without https, which is not followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener(host: str) -> urllib.request.OpenerDirector:
    direct = [urllib.request.ProxyHandler({})] if host in LOOPBACK else []
    return urllib.request.build_opener(_Redirects, *direct)
