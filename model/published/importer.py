"""Published checkpoints of the baselines: opened as hostile, matched name by name and shape by shape, kept as safetensors.

Opening a pickle may run code that it carries. So torch's loader of plain tensors comes first, and what that refuses is opened
only where the user says that the file is to be trusted; afterwards nothing opens the pickle again.
"""

from __future__ import annotations

import os
import re
import warnings
import zipfile
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, ClassVar

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from model.api import DataInfo, Learning, Method
from model.backbones import registry
from pipeline.core.errors import InputError

LARGEST = 4 * 2**30  # bytes; the largest published file has 0.7 GiB


class Pretrained(BaseModel):
    """Weights to start from, as `python -m stages.import_weights` wrote and printed them."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    file: str  # in weights/
    sha256: str


class Config(Learning):
    """A method of others."""

    pretrained: Pretrained | None  # null: trained here from scratch; with steps: 0 used as it is


class Baseline(Method):
    """A method of others, which may start from a published checkpoint."""

    kinds: ClassVar[tuple[str, ...]]  # the files that a checkpoint consists of, those it may lack last
    extras: ClassVar[frozenset[str]]  # last parts of names that a file may have and that are not used

    def __init__(self, config: Any, facts: DataInfo, seed: int = 0) -> None:
        super().__init__(config, facts, seed)
        self.label = f"{type(self).label} ({self.whose()})"

    @abstractmethod
    def whose(self) -> str:
        """Whose weights these are, for the label."""

    @abstractmethod
    def published(self, kind: str) -> dict[str, str]:
        """Published name of each tensor of that file -> its name in `weights()`."""

    def prepare(self) -> str:
        if self.config.pretrained is None:
            return ""
        found, facts = read(self.config.pretrained)
        self.load_weights({**self.weights(), **found})
        return facts.get("trained_on", "not stated")

    def backbones(self) -> dict[str, str]:
        given = self.config.pretrained
        return {given.file: given.sha256} if given else {}


def import_weights(method: Baseline, files: Sequence[Path], trained_on: str, trust: bool) -> Path:
    """Published files -> one safetensors file in weights/, with where it came from. InputError at the first difference."""
    if not 1 <= len(files) <= len(method.kinds):
        raise InputError(f"{method.name}: a checkpoint consists of {' and '.join(method.kinds)}; {len(files)} files were given")
    due, source = method.weights(), []
    found: dict[str, Tensor] = {}
    for kind, path in zip(method.kinds, files):
        names = method.published(kind)
        tensors = matched(opened(path, trust), {theirs: due[ours].shape for theirs, ours in names.items()}, method.extras, path)
        found |= {names[theirs]: value.to(due[names[theirs]].dtype).contiguous() for theirs, value in tensors.items()}
        dated = datetime.fromtimestamp(path.stat().st_mtime, UTC).date()
        source.append(f"{path.name}, sha256 {registry.sha256(path)}, dated {dated}")
    from safetensors.torch import save_file

    out = registry.folder() / ("-".join([method.name, *(registry.sha256(path)[:8] for path in files)]) + ".safetensors")
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_suffix(".part")
    save_file(found, part, {"method": method.name, "source": "; ".join(source), "trained_on": trained_on})
    os.replace(part, out)
    return out


def opened(path: Path, trust: bool = False) -> dict[str, Tensor]:
    """The state dict of a torch file (bare, or under "state_dict"), DataParallel's `module.` taken off its names.

    InputError when the file cannot be read, or holds more than tensors and `trust` is not set: only then may its code run.
    """
    if not path.is_file() or not 0 < path.stat().st_size <= LARGEST:
        raise InputError(f"{path}: " + ("there is no such file" if not path.is_file() else
                                     f"{path.stat().st_size} bytes are no checkpoint; it has 1 to {LARGEST}"))
    try:
        if zipfile.is_zipfile(path) and _unpacked(path) > LARGEST:
            raise InputError(f"{path}: unpacks to more than {LARGEST} bytes; this is no checkpoint")
        found = _loaded(path, trust)
    except InputError:
        raise
    except Exception as error:  # whatever a broken or hostile file makes the reader raise
        raise InputError(_why(path, error, trust)) from error
    if isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
        found = found["state_dict"]
    if not isinstance(found, dict) or not found or not all(isinstance(value, Tensor) for value in found.values()):
        raise InputError(f"{path}: holds no dictionary of tensors; give the file of the network's weights")
    return {re.sub(r"^module\.", "", str(name)): value.data for name, value in found.items()}


def _unpacked(path: Path) -> int:
    with zipfile.ZipFile(path) as archive:
        return sum(member.file_size for member in archive.infolist())


def _loaded(path: Path, trust: bool) -> Any:
    """Tensors alone where that will do; everything else only on trust."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return torch.load(path, map_location="cpu", weights_only=True, encoding="latin1")
        except UnpicklingError:
            if not trust:
                raise
            return torch.load(path, map_location="cpu", weights_only=False, encoding="latin1")


def _why(path: Path, error: Exception, trust: bool) -> str:
    found = re.search(r"(?:[Uu]nsupported (?:global: )?GLOBAL|Unsupported class) ([\w.]+)", str(error))
    if found and not trust:
        return (f"{path}: holds more than tensors ({found[1]}), and opening it could run code; pass --trust only if you know "
                "who made the file")
    return f"{path}: cannot be read as a torch file ({type(error).__name__}); it is broken off or another kind of file"


def matched(found: Mapping[str, Tensor], due: Mapping[str, Sequence[int]], extras: frozenset[str],
            where: Path) -> dict[str, Tensor]:
    """The tensors of `due`, every one, finite and of its shape. InputError at the first name, shape or value that differs."""
    for name, shape in due.items():
        if name not in found:
            raise InputError(f"{where}: has no {name!r} ({len(found)} tensors, {len(due)} are due); it is another network's "
                             f"file, "
                             "or other sizes are configured")
        if tuple(found[name].shape) != tuple(shape):
            raise InputError(f"{where}: {name!r} is {tuple(found[name].shape)} where {tuple(shape)} is due; other sizes are "
                             "configured, or it is another network's file")
        if not _finite(found[name]):
            raise InputError(f"{where}: {name!r} does not hold finite floating-point numbers; take another copy of the file")
    for name in found:
        if name not in due and name.rpartition(".")[2] not in extras:
            raise InputError(f"{where}: {name!r} is unknown to this network; it is another network's file")
    return {name: found[name] for name in due}


def _finite(value: Tensor) -> bool:
    """Whether these are numbers, all in memory: a file may also hold sparse tensors, or shapes without numbers."""
    plain = value.layout == torch.strided and value.device.type == "cpu" and value.is_floating_point()
    return plain and bool(value.isfinite().all())


def read(given: Pretrained) -> tuple[dict[str, Tensor], dict[str, str]]:
    """(tensors, facts) of an imported file whose hash is the one stated. InputError otherwise."""
    from safetensors import safe_open

    path = registry.folder() / given.file
    if not path.is_file() or Path(given.file).name != given.file:
        raise InputError(f"pretrained.file: there is no {path}; `python -m stages.import_weights` makes one")
    if (sha := registry.sha256(path)) != given.sha256:
        raise InputError(f"{path} has sha256 {sha} where pretrained.sha256 says {given.sha256}; import the file again")
    with safe_open(path, "pt") as file:
        names = file.keys()
        return {name: file.get_tensor(name) for name in names}, dict(file.metadata() or {})
