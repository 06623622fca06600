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

from pipeline.core.ledger import RejectedItem
from pipeline.media import sandbox_exec

SEEN = ("PATH", "LD_LIBRARY_PATH", "TMPDIR", "LANG")  # of the environment: what finding programs takes, no key and no password
# The ffmpeg of imageio-ffmpeg, linked statically, crashes where it loads the system's converters of alphabets (MPEG-TS).
OWN = {"GCONV_PATH": "/nonexistent"}
PRINTED = 1 << 24  # bytes that are kept of what it prints; what comes after is dropped


def run(command: Sequence[str], *, seconds: int, memory: int, clock: float, most: int = PRINTED, largest: int = 0,
        given: bytes = b"", more: Mapping[str, str] | None = None,
        folder: Path | None = None) -> subprocess.CompletedProcess[bytes]:
    """The ended process, its output captured, in a session of its own (Ctrl-C is the parent's to handle).

    seconds of processor time; clock: seconds by the clock; memory: MiB of address space; most: bytes that are kept of its
    output, as PRINTED of its log; largest: bytes of a file it writes; given: its standard input; more: added to the
    environment. RejectedItem `timeout`: it needed more time.
    """
    until = time.monotonic() + clock
    with subprocess.Popen(bound(command, seconds, memory, largest), cwd=folder, start_new_session=True,
                          stdin=subprocess.PIPE if given else subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, env=environment() | dict(more or {})) as process:
        try:
            output, log = _heard(process, given, most, until)
            code = process.wait(max(until - time.monotonic(), 0))
        except BaseException as problem:
            os.killpg(process.pid, signal.SIGKILL)  # grandchildren included; not reaped yet, so the number is still its own
            if isinstance(problem, TimeoutError | subprocess.TimeoutExpired):
                raise RejectedItem("timeout", f"it took more than {clock:g} s by the clock") from None
            raise
    if code in (-signal.SIGXCPU, -signal.SIGKILL):  # SIGKILL at the hard limit
        raise RejectedItem("timeout", f"it took more than {seconds} s of processor time")
    return subprocess.CompletedProcess(list(command), code, output, log)


def bound(command: Sequence[str], seconds: int, memory: int, largest: int) -> list[str]:
    """The command that runs `command` under these limits, as `run` takes them, and ends with this process."""
    bounds = [str(seconds), str(memory * 2**20), str(largest), str(os.getpid())]
    return [sys.executable, "-I", "-S", str(sandbox_exec.__file__), *bounds, *command]


def environment() -> dict[str, str]:
    """All that such a program sees of ours."""
    return OWN | {name: os.environ[name] for name in SEEN if name in os.environ}


def _heard(process: subprocess.Popen[bytes], given: bytes, most: int, until: float) -> tuple[bytes, bytes]:
    """Tells it what is given and keeps what it prints, until it has closed both outputs. TimeoutError: not by then."""
    assert process.stdout and process.stderr
    kept = {process.stdout.fileno(): (bytearray(), most), process.stderr.fileno(): (bytearray(), PRINTED)}
    rest = memoryview(given)
    with selectors.DefaultSelector() as pipes:
        for number in kept:
            pipes.register(number, selectors.EVENT_READ)
        if process.stdin:
            os.set_blocking(process.stdin.fileno(), False)
            pipes.register(process.stdin, selectors.EVENT_WRITE)
        while any(number in pipes.get_map() for number in kept):
            if not (ready := pipes.select(max(until - time.monotonic(), 0))):
                raise TimeoutError
            for key, _ in ready:
                if key.fd in kept:
                    block = os.read(key.fd, 1 << 20)
                    data, room = kept[key.fd]
                    data += block[:room - len(data)]
                    if not block:
                        pipes.unregister(key.fd)
                else:
                    rest = rest[_told(key.fd, rest):]
                    if not rest and process.stdin:
                        pipes.unregister(process.stdin)
                        process.stdin.close()
    output, log = (bytes(data) for data, _ in kept.values())
    return output, log


def _told(number: int, rest: memoryview) -> int:
    """How many bytes it took; all, if it does not listen any more."""
    try:
        return os.write(number, rest)
    except BrokenPipeError:
        return len(rest)
