"""What wraps every stage: a lease, a parent-death signal, room on the disk, a resumable work folder, an atomic end."""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.core.errors import InputError
from pipeline.core.manifest import read_manifest, write_manifest

ROOT = Path(__file__).resolve().parents[2]
FREE = 512 * 2**20  # bytes that must be free before a stage starts


@dataclass
class Job:
    """One run of a stage."""

    work: Path  # survives an interruption; the next run with the same inputs, configuration and code goes on from it
    shelf: Path  # the same for what took days to make: there until a stage that reads `final` begins, see `forget`
    out: Path  # fresh; becomes `final` when published
    final: Path
    inputs: dict[str, dict[str, Any]] = field(default_factory=dict)  # manifests by the name of the input
    published: bool = False

    def publish(self, kind: str, body: Mapping[str, Any]) -> None:
        """Writes the manifest, moves the folder into place and drops the work folder."""
        write_manifest(self.out, kind, body)
        if self.final.exists():
            shutil.rmtree(self.final)
        os.replace(self.out, self.final)
        shutil.rmtree(self.work)
        self.published = True


@contextmanager
def run(name: str, *, out: Path, inputs: Mapping[str, Path], config: object) -> Iterator[Job]:
    """A stage's run. Inputs must be whole (manifest and sizes); only one process may make `out` at a time.

    Raises InputError when an input is not whole, the disk is nearly full or another process holds the lease.
    """
    die_with_parent(os.getppid())
    manifests = {key: read_manifest(path) for key, path in inputs.items()}
    key = _key(name, str(out), config, manifests)
    lease = ROOT / "work" / f"{_slug(out)}.lease"
    lease.parent.mkdir(exist_ok=True)
    with lease.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(f"{out}: another process is making it now; wait for it, or stop it") from None
        out.parent.mkdir(parents=True, exist_ok=True)
        if (free := shutil.disk_usage(out.parent).free) < FREE:
            raise InputError(f"{out}: {free / 2**20:.0f} MiB free on its disk, {FREE / 2**20:.0f} needed to start; make room")
        work = ROOT / "work" / name / key
        work.mkdir(parents=True, exist_ok=True)
        part = out.with_name(f".{out.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        for path in inputs.values():
            forget(path)
        job = Job(work, _shelves(out) / key, part, out, manifests)
        try:
            yield job
        finally:
            shutil.rmtree(part, ignore_errors=True)
        if not job.published:
            raise RuntimeError(f"stage {name} ended without publishing {out}")


@contextmanager
def beside(name: str, *, out: Path, inputs: Mapping[str, Path], config: object) -> Iterator[Job]:
    """A run of a stage as other processes see it that share its work: no lease, nothing published, `out` is thrown away."""
    die_with_parent(os.getppid())
    manifests = {key: read_manifest(path) for key, path in inputs.items()}
    key = _key(name, str(out), config, manifests)
    with tempfile.TemporaryDirectory() as part:
        yield Job(ROOT / "work" / name / key, _shelves(out) / key, Path(part), out, manifests)


def forget(out: Path) -> None:
    """Drops what the stage that made `out` has on its shelf.

    Not when it publishes: DVC may be killed while it hashes what was made, and would then remove it and have it made again.
    """
    shutil.rmtree(_shelves(out), ignore_errors=True)


def _shelves(out: Path) -> Path:
    return ROOT / "work" / "shelves" / _slug(out)


def _slug(out: Path) -> str:
    return str(out).strip("/.").replace("/", "-")


def _key(name: str, out: str, config: object, manifests: Mapping[str, Any]) -> str:
    """Resume state is used only by the same stage, configuration, inputs and code."""
    given = json.dumps([name, out, config, manifests, code()], sort_keys=True, default=str)
    return hashlib.sha256(given.encode()).hexdigest()[:16]


def code() -> str:
    """sha256 over every source file of the project and the tables beside them (crops, claims, a site's answers).

    Two results with the same one were computed by the same code.
    """
    digest = hashlib.sha256()
    for package in ("pipeline", "model", "eval", "stages"):
        for path in sorted((ROOT / package).rglob("*")):
            if path.suffix in (".py", ".yaml"):
                digest.update(path.read_bytes())
    return digest.hexdigest()


def die_with_parent(parent: int) -> None:
    """Has the kernel end this process when its parent ends (Linux): a killed `dvc repro` leaves no stage running."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:  # it ended before the call
            os.kill(os.getpid(), signal.SIGTERM)
