"""manifest.json of a stage's output: written last, so that a folder with a manifest is complete."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.core.errors import InputError
from pipeline.core.fileio import sha256, write_json

SCHEMA = 1


def write_manifest(folder: Path, kind: str, body: Mapping[str, Any]) -> None:
    """Writes folder/manifest.json with the size and hash of every file. Call it last: it marks the folder as complete."""
    files = {str(path.relative_to(folder)): {"bytes": path.stat().st_size, "sha256": sha256(path)}
             for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "manifest.json"}
    write_json(folder / "manifest.json", {**body, "schema": SCHEMA, "kind": kind, "files": files})


def read_manifest(folder: Path, kind: str | None = None) -> dict[str, Any]:
    """Reads a folder's manifest. InputError when it is missing, of another kind or schema, or a file differs in size."""
    path = folder / "manifest.json"
    try:
        manifest: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        raise InputError(f"{path}: missing, so {folder} is incomplete; run `dvc repro`") from None
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: not JSON ({error}); remove {folder} and run `dvc repro`") from None
    if manifest.get("schema") != SCHEMA or kind not in (None, manifest.get("kind")):
        raise InputError(f"{path}: found schema {manifest.get('schema')}, kind {manifest.get('kind')!r} where schema {SCHEMA}, "
                         f"kind {kind!r} is expected; remove {folder} and run `dvc repro`")
    for name, fact in manifest["files"].items():
        file = folder / name
        if not file.is_file() or file.stat().st_size != fact["bytes"]:
            found = f"{file.stat().st_size} bytes" if file.is_file() else "nothing"
            raise InputError(f"{file}: {found} where the manifest lists {fact['bytes']} bytes; run `dvc checkout`, "
                             f"or remove {folder} and run `dvc repro`")
    return manifest
