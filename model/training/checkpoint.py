"""Checkpoints of a training run: one folder each, complete or absent; the newest two are kept.

    checkpoint-00005000/state.json           step, logged rows, values of the method; size and sha256 of the other files
                        tensors.safetensors  the tensors of `Method.state`
                        table                what `Method.save_table` streams, if anything

Random generators are not stored: sampling depends on the step alone, and the loop seeds torch before each step.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from model.api import Method
from model.training.step_progress import say
from pipeline.core.errors import InputError

STATE, TENSORS, TABLE = "state.json", "tensors.safetensors", "table"
PAUSES = (1.0, 10.0)  # seconds before the second and the third attempt


def save(method: Method, step: int, logged: dict[str, Any], work: Path) -> bool:
    """Writes the state after `step` updates, with `logged` (JSON) -> whether it was written.

    After three failed attempts training can continue: earlier checkpoints stay. InputError when a tensor is not finite: such a
    state would replace a good one.
    """
    state, tensors = packed(method.state())
    for name, value in tensors.items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise InputError(f"after step {step}: {name} has values that are not finite; lower the learning rate or set "
                             "precision to fp32; earlier checkpoints are unchanged")
    for pause in (*PAUSES, None):
        try:
            _write(method, {"step": step, "method": state, **logged}, tensors, work)
            return True
        except (OSError, SafetensorError) as error:
            shutil.rmtree(_place(work, step).with_suffix(".part"), ignore_errors=True)
            then = f"trying again in {pause:.0f} s" if pause is not None else "continuing without it; earlier ones are kept"
            say(f"the checkpoint after step {step} cannot be written to {work} ({error}): {then}")
            time.sleep(pause or 0)
    return False


def load(method: Method, work: Path) -> dict[str, Any] | None:
    """Loads the newest intact checkpoint into `method` -> its step and the `logged` of `save`; None without a checkpoint."""
    found = _all(work)
    for folder in reversed(found):
        try:
            content, tensors = _read(folder)
        except (OSError, ValueError, KeyError, TypeError) as error:
            say(f"{folder} is damaged ({error}); " + ("starting anew" if folder == found[0] else "trying the one before"))
            continue
        method.load_state(unpacked(content.pop("method"), tensors))
        if (folder / TABLE).exists():
            method.load_table(folder / TABLE)
        say(f"resuming after step {content['step']}, from {folder}")
        return content
    return None


def _write(method: Method, content: dict[str, Any], tensors: dict[str, Tensor], work: Path) -> None:
    """Writes under a temporary name, renames once everything is on disk, then deletes all but the newest two."""
    place = _place(work, content["step"])
    part = place.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    save_file(tensors, part / TENSORS)
    method.save_table(part / TABLE)
    content |= {"files": {path.name: _facts(path) for path in sorted(part.iterdir())}}
    (part / STATE).write_text(json.dumps({"sha256": _digest(content), "content": content}))
    for path in (*part.iterdir(), part):
        _sync(path)
    shutil.rmtree(place, ignore_errors=True)  # a damaged one, or training would have resumed from it
    os.replace(part, place)
    _sync(work)
    kept = {place, *[path for path in _all(work) if path < place][-1:]}
    for path in {*work.glob("checkpoint-*")} - kept:
        shutil.rmtree(path, ignore_errors=True)


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Content and tensors of a checkpoint. ValueError when it differs from what was written, OSError when unreadable."""
    found = json.loads((folder / STATE).read_bytes())
    content: dict[str, Any] = found["content"]
    if _digest(content) != found["sha256"]:
        raise ValueError(f"the hash of {STATE} differs")
    for name, facts in content.pop("files").items():
        if _facts(folder / name) != facts:
            raise ValueError(f"size or hash of {name} differs")
    return content, load_file(folder / TENSORS)


def _all(work: Path) -> list[Path]:
    """Checkpoints, oldest first."""
    return sorted(work.glob("checkpoint-" + "[0-9]" * 8))


def _place(work: Path, step: int) -> Path:
    return work / f"checkpoint-{step:08d}"


def _facts(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _sync(path: Path) -> None:
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def packed(state: object) -> tuple[Any, dict[str, Tensor]]:
    """Nested dicts, lists and tuples of tensors and plain values -> the same structure as JSON, and its tensors by name.

    A dict becomes {"dict": [[key, value], …]}, because an optimiser's keys are integers; a tensor becomes its name and strides,
    because the fused Adam needs weights and moments in the same memory layout.
    """
    tensors: dict[str, Tensor] = {}

    def pack(value: Any, name: str) -> Any:
        if isinstance(value, Tensor):
            while name in tensors:
                name += "_"
            tensors[name] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
            return {"tensor": name, "stride": list(torch.empty_like(value, device="meta").stride())}
        if isinstance(value, dict):
            return {"dict": [[key, pack(item, f"{name}.{key}" if name else str(key))] for key, item in value.items()]}
        if isinstance(value, list | tuple):
            kind = "list" if isinstance(value, list) else "tuple"
            return {kind: [pack(item, f"{name}.{n}") for n, item in enumerate(value)]}
        return value

    return pack(state, ""), tensors


def unpacked(value: Any, tensors: dict[str, Tensor]) -> Any:
    """The inverse of `packed`."""
    if not isinstance(value, dict):
        return value
    if "tensor" in value:
        tensor = tensors[value["tensor"]]
        return torch.empty_strided(tensor.shape, value["stride"], dtype=tensor.dtype).copy_(tensor)
    if "dict" in value:
        return {key: unpacked(item, tensors) for key, item in value["dict"]}
    kind, items = next(iter(value.items()))
    return (list if kind == "list" else tuple)(unpacked(item, tensors) for item in items)
