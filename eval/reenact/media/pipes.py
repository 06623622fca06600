"""Runs a program that reads or writes media through a pipe, under the limits of pipeline/media/sandbox.py."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pipeline.core.ledger import RejectedItem
from pipeline.media import sandbox

PIPE = 1 << 20  # capacity of a pipe, bytes


@contextmanager
def program(command: Sequence[str], *, seconds: int, memory: int, largest: int = 0) -> Iterator[subprocess.Popen[bytes]]:
    """The started program; its log is discarded. It is killed if it still runs when the context ends.

    seconds: of processor time; memory: MiB of address space; largest: bytes of a file it writes. Start it in a thread that
    outlives it: the kernel kills it when the thread ends.
    """
    with subprocess.Popen(sandbox.bound(command, seconds, memory, largest), start_new_session=True, stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=sandbox.environment(), bufsize=0,
                          pipesize=PIPE if sys.platform == "linux" else -1) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def read(process: subprocess.Popen[bytes], into: memoryview, timeout: float) -> bool:
    """Whether `into` was filled from its output; False at its end. RejectedItem `timeout`: no output for `timeout` seconds."""
    assert process.stdout
    done, number = 0, process.stdout.fileno()
    while done < len(into):
        if not select.select([number], [], [], timeout)[0]:
            raise RejectedItem("timeout", f"no output of the decoder for {timeout:g} s")
        if not (count := os.readv(number, [into[done:]])):
            return False
        done += count
    return True


def write(process: subprocess.Popen[bytes], data: memoryview, timeout: float) -> bool:
    """Whether all of `data` was written; False if it closed its input. RejectedItem `timeout`: no progress for so long."""
    assert process.stdin
    done, number = 0, process.stdin.fileno()
    os.set_blocking(number, False)
    while done < len(data):
        if not select.select([], [number], [], timeout)[1]:
            raise RejectedItem("timeout", f"the encoder accepted no data for {timeout:g} s")
        try:
            done += os.write(number, data[done:])
        except BlockingIOError:
            continue
        except BrokenPipeError:
            return False
    return True
