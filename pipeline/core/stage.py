"""What wraps every stage: a lease, a parent-death signal, a check of free space, a resumable work folder, an atomic end."""

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

from pipeline.core import fingerprint
from pipeline.core.errors import InputError
from pipeline.core.fileio import write_json
from pipeline.core.manifest import read_manifest, write_manifest

ROOT = Path(__file__).resolve().parents[2]
KEY = "key.json"  # in a work folder: what it was made of
FREE = 512 * 2**20  # bytes that must be free before a stage starts
# What glibc does with freed memory: variable -> the same as an option of mallopt, by the numbers of malloc.h, and its value.
KEEP = {"MALLOC_MMAP_MAX_": (-4, 0), "MALLOC_TRIM_THRESHOLD_": (-1, -1), "MALLOC_TOP_PAD_": (-2, 1 << 26)}


@dataclass
class Job:
    """One run of a stage."""

    work: Path  # survives an interruption; the next run with the same inputs, configuration and code goes on from it
    shelf: Path  # as `work`, for results of days: kept until a stage that reads `final` begins, see `forget`
    out: Path  # fresh; becomes `final` when published
    final: Path
    code: str  # sha256 over the files that the stage runs: two results with the same one were computed by the same code
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
def run(name: str, *, out: Path, inputs: Mapping[str, Path], config: object, method: str = "",
        source: str = "") -> Iterator[Job]:
    """A stage's run. Inputs must be whole (manifest and sizes); only one process may make `out` at a time.

    method, source: what of stages/NAME.py's code is loaded by name (pipeline/core/fingerprint.py).
    InputError: an input is not whole, the disk is nearly full or another process holds the lease.
    """
    die_with_parent(os.getppid())
    manifests = {key: read_manifest(path) for key, path in inputs.items()}
    made_of = _made_of(name, out, config, manifests, fingerprint.files(name, method=method, source=source))
    key = _key(made_of)
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
        if not work.exists() and (why := _why_not_resumed(work, made_of)):
            print(why, file=sys.stderr, flush=True)
        work.mkdir(parents=True, exist_ok=True)
        write_json(work / KEY, made_of)
        part = out.with_name(f".{out.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        for path in inputs.values():
            forget(path)
        job = Job(work, _shelves(out) / key, part, out, fingerprint.digest(made_of["code"]), manifests)
        try:
            yield job
        finally:
            shutil.rmtree(part, ignore_errors=True)
        if not job.published:
            raise RuntimeError(f"stage {name} ended without publishing {out}")


@contextmanager
def beside(name: str, *, out: Path, inputs: Mapping[str, Path], config: object, method: str = "",
           source: str = "") -> Iterator[Job]:
    """A run of a stage for the other processes of a distributed training: no lease, nothing published, `out` is discarded."""
    die_with_parent(os.getppid())
    manifests = {key: read_manifest(path) for key, path in inputs.items()}
    code = fingerprint.files(name, method=method, source=source)
    key = _key(_made_of(name, out, config, manifests, code))
    with tempfile.TemporaryDirectory() as part:
        yield Job(ROOT / "work" / name / key, _shelves(out) / key, Path(part), out, fingerprint.digest(code), manifests)


def forget(out: Path) -> None:
    """Removes the kept work of the stage that made `out`.

    Not when it publishes: DVC may be killed while it hashes what was made, and would then remove it and have it made again.
    """
    shutil.rmtree(_shelves(out), ignore_errors=True)


def _shelves(out: Path) -> Path:
    return ROOT / "work" / "shelves" / _slug(out)


def _slug(out: Path) -> str:
    return str(out).strip("/.").replace("/", "-")


def _made_of(name: str, out: Path, config: object, manifests: Mapping[str, Any], code: Mapping[str, str]) -> dict[str, Any]:
    """What resumed work depends on: stage, output, configuration, inputs and code; it is kept beside the work as key.json."""
    inputs = {key: hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
              for key, manifest in manifests.items()}
    made: dict[str, Any] = json.loads(json.dumps({"stage": name, "out": str(out), "config": config, "inputs": inputs,
                                                  "code": dict(code)}, sort_keys=True, default=str))
    return made


def _key(made_of: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:16]


def _why_not_resumed(work: Path, made_of: Mapping[str, Any]) -> str:
    """A sentence on the newest work for the same output that cannot be resumed and why; "" if there is none."""
    others = [path for path in work.parent.glob(f"*/{KEY}") if json.loads(path.read_text())["out"] == made_of["out"]]
    if not others:
        return ""
    newest = max(others, key=lambda path: path.stat().st_mtime_ns)
    found = json.loads(newest.read_text())
    what = [f"{part}: {', '.join(changed(found[part], made_of[part]))}" for part in ("code", "config", "inputs")
            if found[part] != made_of[part]]
    return (f"{made_of['out']}: starting anew; {newest.parent.relative_to(ROOT)} was begun with other {'; '.join(what)}. "
            "docs/code-fingerprints.md says how to adopt it")


def adopt(work: Path, made_of: Mapping[str, Any]) -> Path:
    """Gives unfinished work, and the kept work of its output, the key of `made_of` -> its new folder."""
    key, shelves = _key(made_of), _shelves(Path(made_of["out"]))
    if (shelves / work.name).exists():
        os.replace(shelves / work.name, shelves / key)
    write_json(work / KEY, made_of)
    os.replace(work, work.with_name(key))
    return work.with_name(key)


def changed(before: Any, now: Any, name: str = "") -> list[str]:
    """Names of the entries in which two nested mappings or lists differ, parts joined by dots."""
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        before, now = dict(enumerate(before)), dict(enumerate(now))
    if not (isinstance(before, dict) and isinstance(now, dict)):
        return [name or "all of it"] if before != now else []
    keys = sorted(before.keys() | now.keys(), key=str)
    return [line for key in keys for line in changed(before.get(key), now.get(key), f"{name}.{key}".lstrip("."))]


def die_with_parent(parent: int) -> None:
    """Has the kernel end this process when its parent ends (Linux): a killed `dvc repro` leaves no stage running."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:  # it ended before the call
            os.kill(os.getpid(), signal.SIGTERM)


def keep_memory() -> None:
    """Has glibc keep freed memory for what comes next, in this process and those it starts, as the Makefile does.

    By itself it gives each large block back to the system, which clears its pages anew a moment later: on a CPU a sixth of the
    time of a training step. It reads the variables only when a process starts, so this one calls mallopt, too.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:
        for name, (option, value) in KEEP.items():
            mallopt(option, int(os.environ.setdefault(name, str(value)), 0))
