"""Measures everything that wants a GPU, on a machine that has torch and little else: python benchmarks/gpu/run.py --out DIR

Five parts, each a process of its own with a time limit. What is measured is in DIR/gpu.json as soon as it is there; a part that
fails or runs out of its time leaves a sentence beside what it has measured. Networks have the paper's sizes and random weights.
`python -m benchmarks.gpu.tables DIR/gpu.json` prints the tables of docs/gpu.md. `--wheels`, run where there is a package index,
gets what such a machine may lack, to be carried there with the checkout.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PARTS = {"correct": 90, "table2": 150, "steps": 150, "loader": 40, "train": 480}  # seconds, at most
WANTED = {"pydantic": "pydantic", "ruamel": "ruamel.yaml", "tqdm": "tqdm"}  # module -> package that --wheels gets
PYTHONS = ("3.11", "3.12")
LEAST, GRACE = 20, 15  # seconds with which a part is begun; after its limit, until it is killed
QUICK = 900  # seconds, at most, of a part in tiny, as a test machine may be busy, and of a part that is measured alone


@dataclass
class Bench:
    """One part at work: how long it has, and where its results go."""

    file: Path
    part: str
    quick: bool  # everything in tiny, to see that it works
    deadline: float  # by time.monotonic
    data: Path | None

    def left(self) -> float:
        """Seconds."""
        return self.deadline - time.monotonic()

    def keep(self, name: str, value: Any) -> None:
        """Writes one result down, now."""
        note(self.file, lambda body: body["parts"][self.part]["results"].__setitem__(name, value))
        print(f"{self.part}: {name}: {json.dumps(value)[:300]}", flush=True)

    def lacks(self, name: str, reason: str) -> None:
        """Writes down why there is no such result."""
        note(self.file, lambda body: body["parts"][self.part]["errors"].__setitem__(name, reason))
        print(f"{self.part}: {name}: {reason}", flush=True)

    def attempt(self, name: str, act: Callable[[], Any], need: float = 5.0) -> bool:
        """Keeps what `act` returns, or the reason why it did not; whether it did. Not begun with under `need` seconds left."""
        import gc

        import torch

        try:
            if self.left() < need:
                raise TimeoutError(f"not measured: {max(self.left(), 0):.0f} s were left")
            self.keep(name, act())
            return True
        except Exception as error:  # noqa: BLE001 - the next measurement goes on
            self.lacks(name, sentence(error))
            return False
        finally:
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()


def wait() -> None:
    """Returns when the device is idle."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def sentence(error: BaseException) -> str:
    """An error as one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def note(file: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Changes the results on disk, whole or not at all."""
    body = json.loads(file.read_text())
    change(body)
    part = file.with_name(file.name + ".part")
    part.write_text(json.dumps(body, indent=1, sort_keys=True) + "\n")
    os.replace(part, file)


def begin(file: Path, quick: bool) -> None:
    """Results to go on from: parts measured before into the same folder, at the same size, are kept."""
    before = json.loads(file.read_text()) if file.exists() else {}
    parts = before.get("parts", {}) if before.get("quick") == quick else {}
    file.write_text(json.dumps({"schema": 1, "quick": quick, "parts": parts}))


def facts() -> dict[str, Any]:
    """The machine, as a part sees it: the process that starts them must not hold memory of the GPU."""
    import torch

    gpu = torch.cuda.is_available()
    try:
        asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        driver = subprocess.run(asked, capture_output=True, text=True, timeout=20, check=True).stdout.split()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        driver = None
    return {"device": torch.cuda.get_device_name() if gpu else "CPU", "torch": torch.__version__, "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version() if gpu else None, "driver": driver, "python": platform.python_version(),
            "cores": len(os.sched_getaffinity(0)),
            "memory_gib": round(torch.cuda.get_device_properties(0).total_memory / 2**30, 1) if gpu else None}


def child(given: argparse.Namespace) -> None:
    """One part, in this process."""
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    bench = Bench(given.out / "gpu.json", given.child, given.quick, time.monotonic() + given.seconds, given.data)
    note(bench.file, lambda body: body.update(facts()))
    importlib.import_module(f"benchmarks.gpu.{given.child}").measure(bench)


def wheels(folder: Path) -> None:
    """Gets WANTED and what it needs, unpacked, for Linux on x86-64: into a folder for each of PYTHONS."""
    for version in PYTHONS:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-warn-conflicts", "--no-compile", "--upgrade"]
        where = ["--target", str(folder / version), "--only-binary=:all:", "--implementation", "cp",
                 "--python-version", version, "--platform", "manylinux2014_x86_64", "-c", str(ROOT / "constraints.txt")]
        subprocess.run([*pip, *where, *WANTED.values()], check=True)


def carried(wheels: Path) -> list[str]:
    """What the parts need on their path: nothing where all of WANTED is installed. SystemExit: it is nowhere."""
    if all(importlib.util.find_spec(name) for name in WANTED):
        return []
    folder = wheels / "{}.{}".format(*sys.version_info)
    if not folder.is_dir():
        raise SystemExit(f"error: {', '.join(WANTED.values())} are not all installed and {folder} is not there; run "
                         "`python benchmarks/gpu/run.py --wheels` where there is a package index and bring that folder along")
    return [str(folder.resolve())]


def run(part: str, seconds: float, given: argparse.Namespace) -> None:
    """One part in a process of its own; how it ended goes into the results."""
    file, start = given.out / "gpu.json", time.monotonic()
    note(file, lambda body: body["parts"].__setitem__(part, {"results": {}, "errors": {}}))
    more = [*(["--quick"] if given.quick else []), *(["--data", str(given.data.resolve())] if given.data else [])]
    command = [sys.executable, __file__, "--out", str(given.out.resolve()), "--child", part, "--seconds", str(seconds), *more]
    path = filter(None, [str(ROOT), os.environ.get("PYTHONPATH"), *carried(given.packages)])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path)}
    try:
        ended = subprocess.run(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True, timeout=seconds + GRACE)
        if ended.returncode:
            said = ended.stderr.strip().splitlines() or ["it said nothing"]
            note(file, lambda body: body["parts"][part]["errors"].update(
                {"the part": f"ended with code {ended.returncode}: {said[-1][:300]}"}))
            print(ended.stderr[-2000:], file=sys.stderr, flush=True)
    except subprocess.TimeoutExpired:
        note(file, lambda body: body["parts"][part]["errors"].update({"the part": f"stopped after {seconds + GRACE:.0f} s"}))
    note(file, lambda body: body["parts"][part].update(seconds=round(time.monotonic() - start, 1)))


def late(part: str, body: dict[str, Any]) -> None:
    """A part that was not begun; what was measured of it before stays."""
    kept = body["parts"].setdefault(part, {"results": {}, "errors": {}, "seconds": 0.0})
    kept["errors"]["the part"] = "not begun: the time was over"


def main() -> None:
    """All parts or those named, within the given minutes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    act = parser.add_mutually_exclusive_group(required=True)
    act.add_argument("--out", type=Path)
    act.add_argument("--wheels", action="store_true", help=f"get {', '.join(WANTED.values())} for machines without an index")
    parser.add_argument("--packages", type=Path, default=ROOT / "benchmarks/gpu/wheels",
                        help="where --wheels puts them and the parts find them")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--minutes", type=float, default=9.5, help="for all parts together")
    parser.add_argument("--quick", action="store_true", help="everything in tiny, on whatever device there is")
    parser.add_argument("--data", type=Path, help="folder with frames/, landmarks/ and split/ for the training")
    parser.add_argument("--child", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        return child(given)
    if given.wheels:
        return wheels(given.packages)
    end = time.monotonic() + 60 * given.minutes
    carried(given.packages)
    given.out.mkdir(parents=True, exist_ok=True)
    begin(given.out / "gpu.json", given.quick)
    for part in given.parts:
        alone = len(given.parts) == 1 and part != "train"
        seconds = min(QUICK if given.quick or alone else PARTS[part], end - time.monotonic() - GRACE)
        if seconds >= LEAST:
            run(part, seconds, given)
        else:
            note(given.out / "gpu.json", partial(late, part))
    print(f"{given.out / 'gpu.json'}: {', '.join(given.parts)}")
    return None


if __name__ == "__main__":
    main()
