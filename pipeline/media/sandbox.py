"""Runs a program that reads untrusted input: limited in time, memory and files, without our environment, killed with us."""

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

SEEN = ("PATH", "LD_LIBRARY_PATH", "TMPDIR", "LANG")  # passed environment variables: enough to find programs, no secrets
# The statically linked ffmpeg of imageio-ffmpeg crashes when it loads the system's character set converters (MPEG-TS).
OWN = {"GCONV_PATH": "/nonexistent"}
PRINTED = 1 << 24  # bytes kept of its output; the rest is dropped


def run(command: Sequence[str], *, seconds: int, memory: int, clock: float, most: int = PRINTED, largest: int = 0,
        given: bytes = b"", more: Mapping[str, str] | None = None,
        folder: Path | None = None) -> subprocess.CompletedProcess[bytes]:
    """Runs `command` in a session of its own (Ctrl-C is handled by the parent); returns the finished process with its output.

    seconds: processor time; clock: wall time, seconds; memory: MiB of address space; most: bytes kept of standard output
    (PRINTED of standard error); largest: bytes of a file it writes; given: its standard input; more: added to the
    environment; folder: its working directory. RejectedItem `timeout`: a time limit was exceeded.
    """
    until = time.monotonic() + clock
    with subprocess.Popen(bound(command, seconds, memory, largest), cwd=folder, start_new_session=True,
                          stdin=subprocess.PIPE if given else subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, env=environment() | dict(more or {})) as process:
        try:
            output, log = _communicate(process, given, most, until)
            code = process.wait(max(until - time.monotonic(), 0))
        except BaseException as problem:
            os.killpg(process.pid, signal.SIGKILL)  # with grandchildren; not reaped yet, so the id is not reused
            if isinstance(problem, TimeoutError | subprocess.TimeoutExpired):
                raise RejectedItem("timeout", f"it took more than {clock:g} s of wall time") from None
            raise
    if code in (-signal.SIGXCPU, -signal.SIGKILL):  # SIGKILL at the hard limit
        raise RejectedItem("timeout", f"it took more than {seconds} s of processor time")
    return subprocess.CompletedProcess(list(command), code, output, log)


def bound(command: Sequence[str], seconds: int, memory: int, largest: int) -> list[str]:
    """The command line that runs `command` under these limits (as for `run`) and dies with this process."""
    bounds = [str(seconds), str(memory * 2**20), str(largest), str(os.getpid())]
    return [sys.executable, "-I", "-S", str(sandbox_exec.__file__), *bounds, *command]


def environment() -> dict[str, str]:
    """The environment of a sandboxed program."""
    return OWN | {name: os.environ[name] for name in SEEN if name in os.environ}


def _communicate(process: subprocess.Popen[bytes], given: bytes, most: int, until: float) -> tuple[bytes, bytes]:
    """Writes `given` to standard input and reads both outputs until they are closed. TimeoutError: not by `until`."""
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
                    rest = rest[_write(key.fd, rest):]
                    if not rest and process.stdin:
                        pipes.unregister(process.stdin)
                        process.stdin.close()
    output, log = (bytes(data) for data, _ in kept.values())
    return output, log


def _write(number: int, rest: memoryview) -> int:
    """Number of bytes written; all of them if the reader has closed the pipe."""
    try:
        return os.write(number, rest)
    except BrokenPipeError:
        return len(rest)
