"""Does a results folder hold what it says? Every function yields one sentence a mismatch: file, cell, metric, both values.

The folder may be somebody else's: nothing in it is executed, and whatever cannot be read is a mismatch.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from eval import protocol, stored
from pipeline import store
from pipeline.config import Refused

RTOL, ATOL = 1e-4, 1e-5  # of a value scored again: another processor's arithmetic, not another number
DATA = ("frames", "landmarks", "split")


class Again(NamedTuple):
    """What was scored again in one cell."""

    frames: int
    missing: list[str]  # metrics that cannot be computed here


def manifests(root: Path) -> dict[Path, dict[str, Any]]:
    """Folder -> manifest, of every whole folder below `root`; {} where the manifest is not a JSON object."""
    found: dict[Path, dict[str, Any]] = {}
    for path in sorted(root.rglob("manifest.json")):
        try:
            body = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            body = None
        found[path.parent] = body if isinstance(body, dict) and isinstance(body.get("files"), dict) else {}
    return found


def files(folder: Path, manifest: Mapping[str, Any]) -> Iterator[str]:
    """Bytes and hash of every listed file, and files that are not listed."""
    if not manifest:
        yield f"{folder / 'manifest.json'}: is no manifest"
        return
    for name, fact in manifest["files"].items():
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            yield f"{folder / 'manifest.json'}: lists {name!r}, which is outside its folder"
        elif not path.is_file():
            yield f"{path}: listed in the manifest and not there"
        elif path.stat().st_size != fact.get("bytes"):
            yield f"{path}: stored {fact.get('bytes')} bytes, found {path.stat().st_size}"
        elif (found := store.sha256(path)) != fact.get("sha256"):
            yield f"{path}: stored sha256 {str(fact.get('sha256'))[:12]}…, recomputed {found[:12]}…"
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    for name in sorted(there - manifest["files"].keys() - {"manifest.json"}):
        if not (folder / name).with_name("manifest.json").exists() or (folder / name).parent == folder:
            yield f"{folder / name}: is not listed in the manifest"


def name(manifest: Mapping[str, Any]) -> str:
    """The cell, as the sentences call it."""
    return f"{manifest.get('method')} T={manifest.get('shots')}"


def derived(folder: Path, manifest: Mapping[str, Any], cache: Path | None) -> Iterator[str]:
    """metrics.json and the counts of the manifest against the per-frame results."""
    try:
        frames = stored.read(folder)
        due = protocol.summary(frames, stored.Recipe.of(manifest), cache)
        said = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    except (Refused, OSError) as error:
        yield f"{folder}: {name(manifest)}: {error}"
        return
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        yield f"{folder}: {name(manifest)}: the manifest or metrics.json is not of this kind ({type(error).__name__}: {error})"
        return
    yield from _differ(folder / "metrics.json", name(manifest), said, due)
    counts = {"people": len(frames.lengths()), "frames": len(frames.row)}
    yield from _differ(folder / "manifest.json", name(manifest), {key: manifest.get(key) for key in counts}, counts)


def _differ(path: Path, cell: str, said: Any, due: Any, key: str = "") -> Iterator[str]:
    if isinstance(said, dict) and isinstance(due, dict):
        for part in sorted(said.keys() | due.keys()):
            below = f"{key}.{part}" if key else part
            yield from _differ(path, cell, said.get(part, "nothing"), due.get(part, "nothing"), below)
    elif said != due:
        yield f"{path}: {cell}: {key}: stored {said}, recomputed {due}"


def scored_again(folder: Path, manifest: Mapping[str, Any], data: Path, rng: np.random.Generator,
                 cache: Path) -> Iterator[str | Again]:
    """One person of the cell, drawn by `rng`, scored again from images and data; yields also what was done.

    Nothing where the images or the data are not there. Metrics whose networks are not here are left out.
    """
    cell = protocol.Cell(folder.parent / "images", *(data / part for part in DATA))
    if not all((path / "manifest.json").exists() for path in (cell.images, cell.frames, cell.landmarks, cell.split)):
        return
    try:
        yield from _inputs(cell, manifest)
        frames = stored.read(folder)
        person = str(rng.choice(np.unique(frames.person)))
        if person not in protocol.people(cell):
            yield f"{folder / stored.TABLE}: {name(manifest)}: person {person} is no test person of {cell.split}"
            return
        config = protocol.Config(metrics=list(manifest["order"]), level=0.95, resamples=1, set_resamples=1, workers=1)
        again = protocol.score(person, cell=cell, config=config, cache=cache)
        yield from _person(folder, name(manifest), frames, again)
        yield Again(len(again.rows), list(again.missing))
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:  # a damaged shard, a metric unknown here
        yield f"{cell.images}: {name(manifest)}: cannot be scored again: {' '.join(str(error).split())}"


def _inputs(cell: protocol.Cell, manifest: Mapping[str, Any]) -> Iterator[str]:
    for part in ("images", *DATA):
        path, due = getattr(cell, part) / "manifest.json", manifest.get("inputs", {}).get(part)
        if due and (found := store.sha256(path)) != due:
            yield f"{path}: {name(manifest)}: was scored with sha256 {str(due)[:12]}…, found {found[:12]}…"


def _person(folder: Path, cell: str, frames: stored.Stored, again: protocol.Scored) -> Iterator[str]:
    at = np.flatnonzero(frames.person == again.person)
    if not np.array_equal(frames.row[at], again.rows):
        yield f"{folder / stored.TABLE}: {cell}: rows of {again.person} are not the hold-out frames of the split"
        return
    for column, values in again.columns.items():
        kept = frames.columns.get(column, np.full(len(frames.row), np.nan))[at]
        for j in np.flatnonzero(~np.isclose(kept, values, RTOL, ATOL, equal_nan=True))[:1]:
            yield (f"{folder / stored.TABLE}: {cell}: {column} of {again.person} row {again.rows[j]}: stored {kept[j]:.6g}, "
                   f"recomputed {values[j]:.6g}")
    for column in again.features.keys() & frames.features.keys():
        for side, kept, values in zip(("real", "fake"), frames.features[column], again.features[column]):
            off = np.abs(kept[at] - values)  # (m, d)
            for j in np.flatnonzero(~(off.max(axis=1) <= 10 * RTOL * np.abs(values).max()))[:1]:
                k = off[j].argmax()
                yield (f"{folder / stored.FEATURES}: {cell}: {column}.{side}, number {k}, of {again.person} row "
                       f"{again.rows[j]}: stored {kept[at[j], k]:.6g}, recomputed {values[j, k]:.6g}")
