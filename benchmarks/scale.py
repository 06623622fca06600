"""What a million utterances cost before any picture is touched: `python -m benchmarks.scale [--scratch FOLDER]`.

Synthetic shards of the published size (1,000 utterances, 8 pictures each; no pixels, and points that are holes in sparse files)
are published, planned, split and opened by the stages' own code, each step in a process of its own. Then DVC is asked for the
status of such outputs in a clone. Writes seconds, peak memory and files to benchmarks/results/scale.json; takes some 6 GB.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline import split
from pipeline.core import fileio, ledger, manifest
from pipeline.core.errors import InputError
from pipeline.core.shards import Tar
from pipeline.frames import extract
from pipeline.landmarks import detect_landmarks
from pipeline.parallel import shard_progress, sharded_map
from stages.fetch import LEDGER

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "results" / "scale.json"
COUNT, PER_SHARD, PICTURES, PEOPLE, A_VIDEO = 1_000_000, 1000, 8, 6000, 8
LIMITS = {"planning_seconds": 60.0, "planning_gib": 2.0, "dvc_status_seconds": 5.0}
STAGES = ("fetch", "frames", "landmarks", "split")


def names(number: np.ndarray) -> pd.DataFrame:
    """person, video and clip of utterances by their number, in order."""
    text = pd.DataFrame({"person": [f"id{n * PEOPLE // COUNT:05d}" for n in number.tolist()],
                         "video": [f"{n // A_VIDEO:011d}/{n % A_VIDEO:05d}" for n in number.tolist()]}, dtype="str")
    return text.assign(clip=text["person"] + "/" + text["video"])


def shards(work: Path, first: int, last: int) -> None:
    """What the tasks of frames and landmarks leave."""
    rng = np.random.default_rng(first)
    for number in range(first, last):
        clips = names(np.arange(number * PER_SHARD, (number + 1) * PER_SHARD))
        rows = clips.loc[clips.index.repeat(PICTURES)].reset_index(drop=True)
        of_a_clip, of_a_picture = rng.uniform(0, 224, (PER_SHARD, 4)), rng.uniform(0, 256, (4, len(rows)))
        length = rng.integers(60_000, 110_000, len(rows))
        boxes = dict(zip(["x0", "y0", "x1", "y1"], of_a_clip.round(1).repeat(PICTURES, axis=0).T))
        rows = rows.assign(frame=np.tile(np.arange(PICTURES) * 20, PER_SHARD), seconds=.0, shard=number, length=length,
                           offset=length.cumsum(), crc=length * 40_000, **boxes,
                           **dict(zip(detect_landmarks.FACE, of_a_picture)))
        made = folder(work / "frames", number)
        rows[list(extract.INDEX)].astype(extract.INDEX).to_parquet(made / "index.parquet", index=False)
        table = pd.DataFrame({"id": clips["clip"], "status": "ok", "reason": "", "frames": PICTURES}).astype(extract.LEDGER)
        table.to_parquet(made / "ledger.parquet", index=False)
        Tar(made / f"{number:05d}.tar").close()
        status = np.where(np.arange(len(rows)) % 50 == 0, "no-face", "ok")
        made = folder(work / "landmarks", number)
        rows[["clip", "frame"]].assign(status=status).astype(detect_landmarks.LEDGER).to_parquet(made / "ledger.parquet",
                                                                                                 index=False)
        np.lib.format.open_memmap(made / f"{number:05d}.npy", "w+", np.float32, (len(rows), 68, 2))
        fileio.write_json(made / detect_landmarks.FACTS, {"frames": len(rows), "with_landmarks": int((status == "ok").sum()),
                                               "error": None, "sha256": ["{}"]})


def folder(work: Path, number: int) -> Path:
    """The folder of one shard, with its counts."""
    made = work / f"{number:05d}"
    made.mkdir(parents=True)
    fileio.write_json(made / "counts.json", {"ok": PER_SHARD})
    return made


def written(work: Path, dead: int) -> None:
    """The ledger of the videos as `fetch` writes it, `dead` of 10 rows of lost videos."""
    def rows() -> Iterator[dict[str, str]]:
        for start in range(0, COUNT, PER_SHARD):
            part = names(np.arange(start, start + PER_SHARD))
            for k, (person, video, clip) in enumerate(part.itertuples(index=False, name=None)):
                if k % 10 < dead:
                    yield {"id": clip, "person": person, "video": video, "status": "gone", "reason": "Video unavailable"}
                else:
                    yield {"id": clip, "person": person, "video": video, "path": f"vox.zip#{start},70000,70000,4000000000,8",
                           "status": "ok"}

    place = work / ("dead" if dead else "videos")
    place.mkdir()
    table = ledger.write(place / "ledger.parquet", rows(), LEDGER)
    assert len(table) == COUNT and ledger.counts(table)


def frames_planned(work: Path) -> None:
    """Items of every shard, as they are sent to the workers."""
    table = pd.read_parquet(work / "videos" / "ledger.parquet")
    usable = table[table["status"] == "ok"].sort_values(["person", "video"])
    drained(sharded_map.cut(usable[["person", "video", "path", "boxes"]], PER_SHARD), COUNT)


def landmarks_planned(work: Path) -> None:
    """The same; and one shard's rows as a worker reads them."""
    plan = detect_landmarks.plan(pd.read_parquet(work / "out/frames/index.parquet", columns=["clip", "shard"]))
    drained(plan, COUNT)
    assert len(detect_landmarks._rows(work / "out/frames", len(plan.sizes) // 2)) == PER_SHARD * PICTURES


def drained(plan: sharded_map.Plan[Any], count: int) -> None:
    """Every shard's items, one shard at a time."""
    sent = sum(len(pickle.dumps(plan.shard(number))) for number in range(len(plan.sizes)))
    assert sum(plan.sizes) == count and sent > count


def frames_published(work: Path) -> None:
    """index.parquet, ledger.parquet, tars."""
    (work / "out/frames").mkdir(parents=True)
    assert len(extract.publish(work / "out/frames", sorted((work / "frames").iterdir()))) == COUNT


def completed(work: Path) -> None:
    """The frames' ledger with what was lost before: 1,000,000 rows and 900,000 more."""
    lost, made = (pd.read_parquet(work / name / "ledger.parquet") for name in ("dead", "out/frames"))
    assert ledger.summary(ledger.complete(work / "complete.parquet", made, lost)) == {"ok": COUNT, "gone": COUNT * 9 // 10}


def landmarks_published(work: Path) -> None:
    """Arrays and ledger.parquet."""
    (work / "out/landmarks").mkdir(parents=True)
    assert detect_landmarks.publish(work / "out/landmarks",
                                    sorted((work / "landmarks").iterdir()))["frames"] == COUNT * PICTURES


def splitted(work: Path) -> None:
    """The split, as its stage makes and writes it; the people of the last two per cent are the data set's test people."""
    from stages import split as stage

    out, tested = work / "out/split", [f"id{n:05d}" for n in range(PEOPLE - 118, PEOPLE)]
    out.mkdir(parents=True)
    index, found = stage.read(work / "out/frames", work / "out/landmarks")
    made = split.make(index, found, split.Config(test_people=50, sources=32, holdout=25, least=9), 0, {"id00012"}, tested)
    made.train.to_parquet(out / "train.parquet", index=False)
    made.excluded.to_parquet(out / "excluded.parquet", index=False)
    fileio.write_json(out / "test.json", made.test)


def opened(work: Path) -> None:
    """What training reads before its first step."""
    from pipeline.episodes import Faces

    for name, body in (("frames", {"size": 256}), ("landmarks", {}), ("split", {})):
        fileio.write_json(work / "out" / name / "manifest.json", {"schema": manifest.SCHEMA, "kind": name, "files": {}, **body})
    faces = Faces(work / "out/frames", work / "out/landmarks", work / "out/split", 256)
    assert faces.points(faces.train_rows(faces.num_videos // 2)).shape[1:] == (68, 2)


def looked(work: Path) -> None:
    """Ten looks of the progress line at finished shards."""
    watch = shard_progress.Watch(work / "frames", COUNT // PER_SHARD, b"thisrun.")
    assert all(watch.look() == {"ok": COUNT} for _ in range(10))


STEPS: dict[str, Callable[[Path], None]] = {
    **{f"make {part + 1} of 4": lambda work, part=part: shards(work, *(COUNT // PER_SHARD * k // 4 for k in (part, part + 1)))
       for part in range(4)},
    "ledger": lambda work: written(work, 0), "ledger, 90 % dead": lambda work: written(work, 9),
    "plan frames": frames_planned, "publish frames": frames_published, "complete the ledger": completed,
    "progress": looked,
    "plan landmarks": landmarks_planned, "publish landmarks": landmarks_published, "split": splitted, "open": opened}
PLANNING = ("plan frames", "plan landmarks", "split")


def measured(name: str, work: Path) -> dict[str, float]:
    """One step in a process of its own: seconds, and its peak memory in GiB."""
    start = time.monotonic()
    child = subprocess.Popen([sys.executable, "-m", "benchmarks.scale", "--scratch", str(work), "--step", name], cwd=ROOT)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise InputError(f"{name}: ended with code {child.returncode}")
    return {"seconds": round(time.monotonic() - start, 1), "gib": round(usage.ru_maxrss / 2**20, 2)}


def cloned(work: Path) -> dict[str, float]:
    """`dvc status` in a clone with these outputs; arrays are cut short, for DVC goes by size and time of a file it knows."""
    clone, data = work / "clone", work / "clone/data/voxceleb2"
    dvc = str(Path(sys.executable).with_name("dvc"))
    env = os.environ | {"DVC_NO_ANALYTICS": "1"}
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
    text = (clone / "params.yaml").read_text().replace("datasets: [sample]", "datasets: [voxceleb2]")
    (clone / "params.yaml").write_text(text)
    data.mkdir(parents=True)
    shutil.move(work / "videos", data / "videos")
    for name in STAGES[1:]:
        shutil.move(work / "out" / name, data / name)
    for path in (data / "landmarks").glob("*.npy"):
        path.unlink()  # it is a link to the shard's
        path.write_bytes(path.name.encode())
    cells = [f"{name}@voxceleb2" for name in STAGES]
    start = time.monotonic()
    subprocess.run([dvc, "commit", "-q", "-f", *cells], cwd=clone, env=env, check=True)
    recorded = time.monotonic() - start
    shown = subprocess.run([dvc, "status"], cwd=clone, env=env, capture_output=True, text=True, check=True).stdout
    assert "train@voxceleb2-ff:" in shown and not any(f"{cell}:" in shown for cell in cells), shown
    start = time.monotonic()
    subprocess.run([dvc, "status"], cwd=clone, env=env, capture_output=True, check=True)
    return {"seconds": round(time.monotonic() - start, 1), "commit_seconds": round(recorded, 1)}


def main() -> None:
    """All steps, or one of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scratch", type=Path)
    parser.add_argument("--step", choices=STEPS)
    args = parser.parse_args()
    if args.step:
        return STEPS[args.step](args.scratch)
    work = args.scratch or Path(tempfile.mkdtemp(prefix="scale-"))
    work.mkdir(parents=True, exist_ok=True)
    try:
        return report(work)
    finally:
        shutil.rmtree(work)


def report(work: Path) -> None:
    """Runs everything and writes the results. InputError: a limit is not kept."""
    steps = {name: told(name, measured(name, work)) for name in STEPS}
    files = {name: len(list((work / where).iterdir())) for name, where in (
        ("videos", "videos"), *((name, f"out/{name}") for name in STAGES[1:]))}
    facts: dict[str, Any] = {"utterances": COUNT, "pictures": COUNT * PICTURES, "steps": steps, "files": files,
                             "planning_seconds": round(sum(steps[name]["seconds"] for name in PLANNING), 1),
                             "planning_gib": max(steps[name]["gib"] for name in PLANNING)}
    facts |= {"dvc": told("dvc status", cloned(work))}
    facts |= {"dvc_status_seconds": facts["dvc"]["seconds"], "limits": LIMITS}
    RESULT.parent.mkdir(exist_ok=True)
    fileio.write_json(RESULT, facts)
    if broken := [f"{name} {facts[name]} > {limit}" for name, limit in LIMITS.items() if facts[name] > limit]:
        raise InputError("; ".join(broken))


def told(name: str, facts: dict[str, float]) -> dict[str, float]:
    """Prints what was measured."""
    print(f"{name:20} {json.dumps(facts)}", flush=True)
    return facts


if __name__ == "__main__":
    main()
