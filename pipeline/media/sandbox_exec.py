"""Runs a program under hard limits: `python -I -S sandbox_exec.py CPU_SECONDS MEMORY_BYTES FILE_BYTES PARENT COMMAND…`.

A separate script that needs only the standard library: it starts in milliseconds, and no code runs between fork and exec.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys


def limit(cpu_seconds: int, memory: int, largest: int, parent: int) -> None:
    """Limits this process irrevocably: CPU time, address space, size of written files (0: none), no core dump, no orphan."""
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds + 1))
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))  # does not apply to pipes, which carry the results
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG; survives exec
        if os.getppid() != parent:  # the parent exited before the call
            os._exit(1)


if __name__ == "__main__":
    limit(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
    os.execv(sys.argv[5], sys.argv[5:])
