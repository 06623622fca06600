"""Reads params.yaml and params/DATASET.yaml strictly: every value spelled out, no unknown key, one sentence per mistake."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.core.errors import InputError


class Strict(BaseModel):
    """A section of a params file: frozen, no coercion, no unknown key. No defaults: DVC sees only what is spelled out."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


Section = TypeVar("Section", bound=BaseModel)


class Data(Strict):
    """The section `data` of params/DATASET.yaml: the source and what each data stage does with it."""

    source: str
    fetch: dict[str, Any]  # the source's own Config
    frames: dict[str, Any]
    landmarks: dict[str, Any]
    split: dict[str, Any]
    engine: dict[str, Any]  # where the data stages run


class DatasetParams(Strict):
    """The whole of params/DATASET.yaml."""

    data: Data
    learn: dict[str, dict[str, Any]]  # method -> the method's own Config
    _file: Path = Path("params/DATASET.yaml")  # named in messages; set by `dataset`

    def where(self, keys: str) -> str:
        """`params/DATASET.yaml: keys`, for messages."""
        return f"{self._file}: {keys}"

    def method(self, name: str) -> dict[str, Any]:
        """The configuration of a method. InputError, naming the closest known method, when this file has none."""
        section: dict[str, Any] = pick(self.learn, name, self.where("learn"))
        return section


class Params(Strict):
    """The whole of params.yaml: what is chosen per run."""

    seed: int
    datasets: list[str]
    methods: list[str]
    shots: list[int]
    train: dict[str, Any]  # how training runs; does not affect its result
    adapt: dict[str, Any]
    cross: dict[str, Any]
    score: dict[str, Any]
    timing: dict[str, Any]
    report: dict[str, Any]
    study: dict[str, Any]


def parse(model: type[Section], mapping: object, where: str) -> Section:
    """Validates `mapping` as a `model`. InputError on the first mistake: `where.key: what was found; the way out`.

    `where` names a section, as in `params.yaml: score`, or a whole file, as in `params.yaml:`.
    """
    try:
        return model.model_validate(mapping)
    except ValidationError as error:
        raise InputError(_sentence(model, error, where)) from None


def load(path: Path) -> Params:
    """Reads params.yaml. InputError when it is missing, is not YAML, or breaks the schema."""
    mapping = _read(path, "run from the root of the checkout or pass --params")
    if old := [key for key in ("data", "learn") if isinstance(mapping, dict) and key in mapping]:
        raise InputError(f"{path}: {old[0]}: unknown key; it belongs to one data set: move it to {folder(path)}/DATASET.yaml")
    return parse(Params, mapping, f"{path}:")


def dataset(path: Path, name: str) -> DatasetParams:
    """Reads params/NAME.yaml beside `path`, the params.yaml. InputError when missing, not YAML, or against the schema."""
    file = folder(path) / f"{name}.yaml"
    if name not in (known := known_datasets(path)):
        raise InputError(f"{file}: no such data set; {_hint(name, known)}")
    given = parse(DatasetParams, _read(file, "add it for a new data set"), f"{file}:")
    given._file = file
    return given


def known_datasets(path: Path) -> list[str]:
    """The data sets that have a file beside `path`, the params.yaml; sorted."""
    return sorted(file.stem for file in folder(path).glob("*.yaml"))


def folder(path: Path) -> Path:
    """The folder of the data sets' files: params/ beside `path`, the params.yaml."""
    return path.parent / "params"


def _read(path: Path, way_out: str) -> object:
    from ruamel.yaml import YAML, YAMLError

    try:
        return YAML(typ="safe").load(path.read_text())
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; {way_out}") from None
    except YAMLError as error:
        raise InputError(f"{path}: not valid YAML ({' '.join(str(error).split())[:200]})") from None


def pick(mapping: Mapping[str, Any], key: str, where: str) -> Any:
    """mapping[key]. InputError, naming the closest known key, when it is absent."""
    if key not in mapping:
        raise InputError(f"{where}: no entry {key!r}; {_hint(key, list(mapping))}")
    return mapping[key]


def _sentence(model: type[BaseModel], error: ValidationError, where: str) -> str:
    first = error.errors(include_url=False)[0]
    keys = ".".join(map(str, first["loc"]))
    place = f"{where}{' ' if where.endswith(':') else '.'}{keys}" if keys else where.removesuffix(":")
    if first["type"] == "extra_forbidden":
        known = _fields(model, first["loc"][:-1])
        return f"{place}: unknown key; {_hint(str(first['loc'][-1]), known)}"
    if first["type"] == "missing":
        return f"{place}: this key is missing; add it (the file in the repository has it)"
    return f"{place}: found {first['input']!r}; {first['msg'][0].lower()}{first['msg'][1:]}"


def _fields(model: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """The keys allowed at `path` inside `model`."""
    for step in path:
        field = model.model_fields.get(str(step))
        kinds = [field.annotation, *getattr(field.annotation, "__args__", ())] if field else []
        inner = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        model = inner[0] if inner else model
    return list(model.model_fields)


def _hint(key: str, known: list[str]) -> str:
    near = difflib.get_close_matches(key, known, 1)
    return f"did you mean {near[0]!r}?" if near else "known: " + ", ".join(map(str, known))
