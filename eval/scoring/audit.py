"""Verifies a results folder. Every function yields one sentence per mismatch: file, cell, metric, stored and recomputed value.

The folder is untrusted input: nothing in it is executed, and an unreadable file is a mismatch.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from eval.scoring import cell_summary, cross_reenactment, per_frame, protocol
from eval.scoring.real_frames import LABELS, Floor
from pipeline.core import fileio
from pipeline.core.errors import InputError
from pipeline.driving_pairs import Config as Drivers

RTOL, ATOL = 1e-4, 1e-5  # tolerance of a value scored again: differences of another processor's arithmetic
DATA = ("frames", "landmarks", "split")


class Again(NamedTuple):
    """What was scored again in one cell."""

    frames: int
    missing: list[str]  # metrics that cannot be computed here


def manifests(root: Path) -> dict[Path, dict[str, Any]]:
    """Folder -> manifest of every complete folder below `root`; {} if the manifest is not a JSON object."""
    found: dict[Path, dict[str, Any]] = {}
    for path in sorted(root.rglob("manifest.json")):
        try:
            body = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            body = None
        found[path.parent] = body if isinstance(body, dict) and isinstance(body.get("files"), dict) else {}
    return found


def files(folder: Path, manifest: Mapping[str, Any]) -> Iterator[str]:
    """Mismatches of size and hash of every listed file, and files that are not listed."""
    if not manifest:
        yield f"{folder / 'manifest.json'}: is not a manifest"
        return
    for name, fact in manifest["files"].items():
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            yield f"{folder / 'manifest.json'}: lists {name!r}, which is outside its folder"
        elif not path.is_file():
            yield f"{path}: listed in the manifest but missing"
        elif path.stat().st_size != fact.get("bytes"):
            yield f"{path}: stored {fact.get('bytes')} bytes, found {path.stat().st_size}"
        elif (found := fileio.sha256(path)) != fact.get("sha256"):
            yield f"{path}: stored sha256 {str(fact.get('sha256'))[:12]}…, recomputed {found[:12]}…"
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    for name in sorted(there - manifest["files"].keys() - {"manifest.json"}):
        if not (folder / name).with_name("manifest.json").exists() or (folder / name).parent == folder:
            yield f"{folder / name}: is not listed in the manifest"


def name(manifest: Mapping[str, Any]) -> str:
    """Name of the cell in the messages."""
    shots = manifest.get("shots")
    return f"{manifest.get('method')}" + ("" if shots is None else f" T={shots}")


def frames(manifest: Mapping[str, Any]) -> int:
    """The number of frames in a cell's manifest, with those of cross-reenactment; entries that are not integers count 0."""
    driven = manifest.get("cross")
    said = [manifest.get("frames"), driven.get("drawn") if isinstance(driven, dict) else 0]
    return sum(count for count in said if isinstance(count, int))


def derived(folder: Path, manifest: Mapping[str, Any], cache: Path | None) -> Iterator[str]:
    """Mismatches of metrics.json, cross.json and the manifest's counts with the per-frame results."""
    try:
        kept = per_frame.read(folder)
        due = {"metrics.json": cell_summary.summary(kept, per_frame.Recipe.of(manifest), cache)}
        if "cross" in manifest:
            due[cross_reenactment.SUMMARY] = cross_reenactment.summary(folder, manifest)
        said = {file: json.loads((folder / file).read_text(encoding="utf-8")) for file in due}
    except (InputError, OSError) as error:
        yield f"{folder}: {name(manifest)}: {error}"
        return
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        yield f"{folder}: {name(manifest)}: the manifest or a summary is malformed ({type(error).__name__}: {error})"
        return
    for file in due:
        yield from _differ(folder / file, name(manifest), said[file], due[file])
    counts = {"people": len(kept.lengths()), "frames": len(kept.row)}
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
    """Mismatches of one person of the cell, chosen by `rng` and scored again from images and data, and what was scored.

    Empty if the images or the data are missing. Metrics whose networks are missing are skipped.
    """
    floor = manifest.get("floor")
    images = Floor(str(floor), int(manifest["size"])) if floor in LABELS else folder.parent / "images"
    cell = protocol.Cell(images, *(data / part for part in DATA))
    inputs = {part: data / part for part in DATA} | ({} if isinstance(images, Floor) else {"images": images})
    if not all((path / "manifest.json").exists() for path in inputs.values()):
        return
    try:
        yield from _inputs(inputs, manifest)
        kept = per_frame.read(folder)
        people = protocol.people(cell)
        if not len(kept.person):  # a reference row of another person, with a single test person
            return
        person = str(rng.choice(np.unique(kept.person)))
        if person not in people:
            yield f"{folder / per_frame.TABLE}: {name(manifest)}: {person} is not a test person of {cell.split}"
            return
        config = protocol.Config(metrics=list(manifest["order"]), level=0.95, resamples=1, set_resamples=1, workers=1)
        again = protocol.score(person, cell=cell, config=config, cache=cache)
        yield from _person(folder, name(manifest), kept, again)
        yield Again(len(again.rows), list(again.missing))
        if "cross" in manifest:
            yield from _driven(folder, manifest, cell, person, cache)
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:  # a damaged shard, a metric unknown here
        yield f"{folder}: {name(manifest)}: cannot be scored again: {' '.join(str(error).split())}"


def _driven(folder: Path, manifest: Mapping[str, Any], cell: protocol.Cell, person: str, cache: Path) -> Iterator[str | Again]:
    """Mismatches of the person's cross-reenactment, scored again."""
    body = manifest["cross"]
    config = Drivers(drivers=body["drivers"], frames=body["frames"])
    cross_reenactment.people(cell, config)
    again = cross_reenactment.score(person, cell=cell, names=body["order"], drivers=config, cache=cache)
    kept, drivers = cross_reenactment.read(folder)
    at = np.flatnonzero(kept.person == person)
    if list(zip(drivers[at].tolist(), kept.row[at].tolist())) != again.frames:
        yield f"{folder / cross_reenactment.TABLE}: {name(manifest)}: driving frames of {person} are not those of the split"
        return
    yield from _columns(folder / cross_reenactment.TABLE, name(manifest), kept, at, person, again.columns)
    yield Again(len(again.frames), [])


def _inputs(inputs: Mapping[str, Path], manifest: Mapping[str, Any]) -> Iterator[str]:
    for part, place in inputs.items():
        path, due = place / "manifest.json", manifest.get("inputs", {}).get(part)
        if due and (found := fileio.sha256(path)) != due:
            yield f"{path}: {name(manifest)}: was scored with sha256 {str(due)[:12]}…, found {found[:12]}…"


def _columns(path: Path, cell: str, frames: per_frame.Stored, at: np.ndarray, person: str,
             again: Mapping[str, np.ndarray]) -> Iterator[str]:
    """The first mismatch of each column; at (m,): the person's rows of the table, again: their recomputed values."""
    for column, values in again.items():
        kept = frames.columns.get(column, np.full(len(frames.row), np.nan))[at]
        for j in np.flatnonzero(~np.isclose(kept, values, RTOL, ATOL, equal_nan=True))[:1]:
            yield (f"{path}: {cell}: {column} of {person} row {frames.row[at[j]]}: stored {kept[j]:.6g}, "
                   f"recomputed {values[j]:.6g}")


def _person(folder: Path, cell: str, frames: per_frame.Stored, again: per_frame.Scored) -> Iterator[str]:
    at = np.flatnonzero(frames.person == again.person)
    if not np.array_equal(frames.row[at], again.rows):
        yield f"{folder / per_frame.TABLE}: {cell}: rows of {again.person} are not the hold-out frames of the split"
        return
    yield from _columns(folder / per_frame.TABLE, cell, frames, at, again.person, again.columns)
    for column in again.features.keys() & frames.features.keys():
        for side, kept, values in zip(("real", "fake"), frames.features[column], again.features[column]):
            off = np.abs(kept[at] - values)  # (m, d)
            for j in np.flatnonzero(~(off.max(axis=1) <= 10 * RTOL * np.abs(values).max()))[:1]:
                k = off[j].argmax()
                yield (f"{folder / per_frame.FEATURES}: {cell}: {column}.{side}, number {k}, of {again.person} row "
                       f"{again.rows[j]}: stored {kept[at[j], k]:.6g}, recomputed {values[j, k]:.6g}")
