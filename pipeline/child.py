"""Runs one program that reads what strangers made: limited in time, memory and files, without our environment, gone with us."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline import limited
from pipeline.ledger import Unusable

SEEN = ("PATH", "LD_LIBRARY_PATH", "TMPDIR", "LANG")  # of the environment: what finding programs takes, no key and no password
# The ffmpeg of imageio-ffmpeg, linked statically, crashes where it loads the system's converters of alphabets (MPEG-TS).
OWN = {"GCONV_PATH": "/nonexistent"}
PRINTED = 1 << 24  # bytes that are kept of what it prints, where nobody asks for more
PIECE = 4096  # bytes that a pipe which is ready takes without waiting


def run(command: Sequence[str], *, seconds: int, memory: int, clock: float, largest: int = 0, given: bytes | None = None,
        more: Mapping[str, str] | None = None, folder: Path | None = None,
        most: int = PRINTED) -> subprocess.CompletedProcess[bytes]:
    """The ended process, its output captured, in a session of its own (Ctrl-C is the parent's to handle).

    seconds of processor time; clock: seconds by the clock; memory: MiB of address space; largest: bytes of a file it writes;
    given: its standard input; more: added to the environment; most: bytes that are kept of its output, PRINTED of its log, the
    rest is dropped. Unusable `timeout`: it needed more time.
    """
    bounds = [str(seconds), str(memory * 2**20), str(largest), str(os.getpid())]
    until = time.monotonic() + clock
    with subprocess.Popen(
            [sys.executable, "-I", "-S", str(limited.__file__), *bounds, *command], cwd=folder, start_new_session=True,
            stdin=subprocess.DEVNULL if given is None else subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=OWN | {name: os.environ[name] for name in SEEN if name in os.environ} | dict(more or {})) as process:
        try:
            output, log = _heard(process, given or b"", most, until)
            code = process.wait(max(until - time.monotonic(), 0))
        except BaseException as problem:
            os.killpg(process.pid, signal.SIGKILL)  # grandchildren included; not reaped yet, so the number is still its own
            if not isinstance(problem, TimeoutError | subprocess.TimeoutExpired):
                raise
            raise Unusable("timeout", f"it took more than {clock:g} s by the clock") from None
    if code in (-signal.SIGXCPU, -signal.SIGKILL):  # SIGKILL at the hard limit
        raise Unusable("timeout", f"it took more than {seconds} s of processor time")
    return subprocess.CompletedProcess(list(command), code, output, log)


def _heard(process: subprocess.Popen[bytes], given: bytes, most: int, until: float) -> tuple[bytes, bytes]:
    """The first `most` bytes of its output and PRINTED of its log, once both have ended. TimeoutError: not by then."""
    room: dict[Any, int] = {process.stdout: most, process.stderr: PRINTED}
    kept = {pipe: bytearray() for pipe in room}
    with selectors.DefaultSelector() as open_ones:
        for pipe in room:
            open_ones.register(pipe, selectors.EVENT_READ)
        if process.stdin:
            open_ones.register(process.stdin, selectors.EVENT_WRITE)
        while open_ones.get_map():
            if not (ready := open_ones.select(max(until - time.monotonic(), 0))):
                raise TimeoutError
            for key, _ in ready:
                if key.fileobj is process.stdin:
                    given = _told(key.fd, given)
                    ended = not given
                else:
                    block = os.read(key.fd, 1 << 20)
                    kept[key.fileobj] += block[:room[key.fileobj] - len(kept[key.fileobj])]
                    ended = not block
                if ended:
                    open_ones.unregister(key.fileobj)
                    key.fileobj.close()  # type: ignore[union-attr]
    return bytes(kept[process.stdout]), bytes(kept[process.stderr])


def _told(pipe: int, given: bytes) -> bytes:
    """What is left to be said; nothing where nobody listens any more."""
    try:
        return given[os.write(pipe, given[:PIECE]):]
    except BrokenPipeError:
        return b""
