"""The two processes of a comparison, and the checkout that one of them runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from pipeline.core.errors import InputError

ROOT = Path(__file__).resolve().parents[1]


class Side:
    """A process with the code of one checkout."""

    def __init__(self, root: Path, slowdown: float = 1.0) -> None:
        here = Path(__file__).parent
        self._process = subprocess.Popen(
            [sys.executable, str(here / "side.py"), str(root), str(here / "cases.py"), str(slowdown)], cwd=root, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "PYTHONHASHSEED": "0",
                 "CUDA_VISIBLE_DEVICES": ""})  # processor time says nothing of what a GPU does

    def ask(self, do: str, **request: Any) -> Any:
        """The answer. InputError: it has none."""
        assert self._process.stdin and self._process.stdout
        try:
            self._process.stdin.write(json.dumps({"do": do, **request}) + "\n")
            self._process.stdin.flush()
            answer = json.loads(self._process.stdout.readline())
        except (BrokenPipeError, json.JSONDecodeError):
            raise InputError(f"{do} {request}: the process ended; run benchmarks/side.py by hand to see why") from None
        if "error" in answer:
            raise InputError(answer["error"])
        return answer["value"]

    def stop(self) -> None:
        """Ends it."""
        self._process.terminate()
        self._process.communicate()


@contextmanager
def checkout(rev: str) -> Iterator[Path]:
    """The files of a commit in a folder that goes afterwards. InputError: there is no such commit."""
    with tempfile.TemporaryDirectory(prefix="gate-") as folder:
        added = subprocess.run(["git", "worktree", "add", "--quiet", "--detach", f"{folder}/base", rev], cwd=ROOT,
                               capture_output=True, text=True)
        if added.returncode:
            raise InputError(f"--base {rev}: {' '.join(added.stderr.split())}")
        try:
            yield Path(folder) / "base"
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", f"{folder}/base"], cwd=ROOT, check=True)


@contextmanager
def sides(base: Path, head: Path, planted: float) -> Iterator[tuple[Side, Side]]:
    """A process of each; the head slowed down on purpose."""
    with ExitStack() as stack:
        made = []
        for root, slowdown in ((base, 1.0), (head, planted)):
            made.append(Side(root, slowdown))
            stack.callback(made[-1].stop)
        yield made[0], made[1]
