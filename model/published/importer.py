"""Imports published checkpoints of the baselines: untrusted files, matched by name and shape, stored as safetensors.

Unpickling may run code in the file. torch's loader of plain tensors is therefore tried first; a file that it rejects is opened
only if the user trusts it. After the import the pickle is not opened again.
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
    """Initial weights, as written and printed by `python -m stages.import_weights`."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    file: str  # in weights/
    sha256: str


class Config(Learning):
    """Settings of a baseline."""

    pretrained: Pretrained | None  # null: trained from scratch; with `steps: 0` the weights are used unchanged


class Baseline(Method):
    """A method by other authors, which may start from a published checkpoint."""

    kinds: ClassVar[tuple[str, ...]]  # the files of a checkpoint, optional ones last
    extras: ClassVar[frozenset[str]]  # last parts of the names of tensors that a file may contain and that are ignored

    def __init__(self, config: Any, facts: DataInfo, seed: int = 0) -> None:
        super().__init__(config, facts, seed)
        self.label = f"{type(self).label} ({self.whose()})"

    @abstractmethod
    def whose(self) -> str:
        """The origin of the weights, for the label."""

    @abstractmethod
    def published(self, kind: str) -> dict[str, str]:
        """Published name of each tensor in that file -> its name in `weights()`."""

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
    """Published files -> one safetensors file in weights/, with its origin. InputError at the first difference."""
    if not 1 <= len(files) <= len(method.kinds):
        raise InputError(f"{method.name}: a checkpoint consists of {' and '.join(method.kinds)}; {len(files)} files were given")
    own, source = method.weights(), []
    found: dict[str, Tensor] = {}
    for kind, path in zip(method.kinds, files):
        names = method.published(kind)
        tensors = matched(opened(path, trust), {theirs: own[ours].shape for theirs, ours in names.items()}, method.extras, path)
        found |= {names[theirs]: value.to(own[names[theirs]].dtype).contiguous() for theirs, value in tensors.items()}
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
    """The state dict of a torch file (bare, or under "state_dict"), without DataParallel's prefix `module.`.

    InputError when the file cannot be read, or contains more than tensors without `trust`. Its code can run only with `trust`.
    """
    if not path.is_file() or not 0 < path.stat().st_size <= LARGEST:
        raise InputError(f"{path}: " + ("there is no such file" if not path.is_file() else
                                     f"{path.stat().st_size} bytes are no checkpoint; one has 1 to {LARGEST}"))
    try:
        if zipfile.is_zipfile(path) and _unpacked(path) > LARGEST:
            raise InputError(f"{path}: unpacks to more than {LARGEST} bytes; it is no checkpoint")
        found = _loaded(path, trust)
    except InputError:
        raise
    except Exception as error:  # a broken or malicious file may make the reader raise anything
        raise InputError(_why(path, error, trust)) from error
    if isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
        found = found["state_dict"]
    if not isinstance(found, dict) or not found or not all(isinstance(value, Tensor) for value in found.values()):
        raise InputError(f"{path}: contains no dictionary of tensors; give the file of the network's weights")
    return {re.sub(r"^module\.", "", str(name)): value.data for name, value in found.items()}


def _unpacked(path: Path) -> int:
    with zipfile.ZipFile(path) as archive:
        return sum(member.file_size for member in archive.infolist())


def _loaded(path: Path, trust: bool) -> Any:
    """The file's content, by the loader of plain tensors; by the unrestricted one only if that fails and `trust` is set."""
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
        return (f"{path}: contains more than tensors ({found[1]}), and opening it could run code; pass --trust only if you "
                "know who made the file")
    return f"{path}: cannot be read as a torch file ({type(error).__name__}); it is truncated or another kind of file"


def matched(found: Mapping[str, Tensor], due: Mapping[str, Sequence[int]], extras: frozenset[str],
            where: Path) -> dict[str, Tensor]:
    """The tensors named in `due`, all finite and of the given shape. InputError at the first wrong name, shape or value."""
    for name, shape in due.items():
        if name not in found:
            raise InputError(f"{where}: has no {name!r} ({len(found)} tensors, expected {len(due)}); it is another network's "
                             "file, or other sizes are configured")
        if tuple(found[name].shape) != tuple(shape):
            raise InputError(f"{where}: {name!r} has shape {tuple(found[name].shape)}, expected {tuple(shape)}; other sizes "
                             "are configured, or it is another network's file")
        if not _finite(found[name]):
            raise InputError(f"{where}: {name!r} does not hold finite floating-point numbers; get another copy of the file")
    for name in found:
        if name not in due and name.rpartition(".")[2] not in extras:
            raise InputError(f"{where}: {name!r} is unknown to this network; it is another network's file")
    return {name: found[name] for name in due}


def _finite(value: Tensor) -> bool:
    """Whether the tensor is dense, on the CPU and finite: a file may also contain sparse tensors, or shapes without values."""
    plain = value.layout == torch.strided and value.device.type == "cpu" and value.is_floating_point()
    return plain and bool(value.isfinite().all())


def read(given: Pretrained) -> tuple[dict[str, Tensor], dict[str, str]]:
    """(tensors, metadata) of an imported file. InputError when it is missing or its sha256 differs from the one stated."""
    from safetensors import safe_open

    path = registry.folder() / given.file
    if not path.is_file() or Path(given.file).name != given.file:
        raise InputError(f"pretrained.file: there is no {path}; create it with `python -m stages.import_weights`")
    if (sha := registry.sha256(path)) != given.sha256:
        raise InputError(f"{path} has sha256 {sha}, but pretrained.sha256 is {given.sha256}; import the file again")
    with safe_open(path, "pt") as file:
        names = file.keys()
        return {name: file.get_tensor(name) for name in names}, dict(file.metadata() or {})
