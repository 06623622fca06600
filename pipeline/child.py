"""Runs one program that reads what strangers made: limited in time, memory and files, without our environment, gone with us."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline import limited
from pipeline.ledger import Unusable

SEEN = ("PATH", "LD_LIBRARY_PATH", "TMPDIR", "LANG")  # of the environment: what finding programs takes, no key and no password


def run(command: Sequence[str], *, seconds: int, memory: int, clock: float, largest: int = 0, given: bytes | None = None,
        more: Mapping[str, str] | None = None, folder: Path | None = None) -> subprocess.CompletedProcess[bytes]:
    """The ended process, its output captured, in a session of its own (Ctrl-C is the parent's to handle).

    seconds of processor time; clock: seconds by the clock; memory: MiB of address space; largest: bytes of a file it writes;
    given: its standard input; more: added to the environment. Unusable `timeout`: it needed more time.
    """
    bounds = [str(seconds), str(memory * 2**20), str(largest), str(os.getpid())]
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", str(limited.__file__), *bounds, *command], cwd=folder, start_new_session=True,
        stdin=subprocess.DEVNULL if given is None else subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={name: os.environ[name] for name in SEEN if name in os.environ} | dict(more or {}))
    with process:
        try:
            out, error = process.communicate(given, timeout=clock)
        except BaseException as problem:
            os.killpg(process.pid, signal.SIGKILL)  # grandchildren included; not reaped yet, so the number is still its own
            if not isinstance(problem, subprocess.TimeoutExpired):
                raise
            raise Unusable("timeout", f"it took more than {clock:g} s by the clock") from None
    if process.returncode in (-signal.SIGXCPU, -signal.SIGKILL):  # SIGKILL at the hard limit
        raise Unusable("timeout", f"it took more than {seconds} s of processor time")
    return subprocess.CompletedProcess(list(command), process.returncode, out, error)

