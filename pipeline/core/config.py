"""params.yaml, strictly: every value spelled out, no unknown key, one sentence for each mistake."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.core.errors import Refused


class Strict(BaseModel):
    """A section of params.yaml: frozen, no coercion, no unknown key. No defaults: DVC sees only what is spelled out."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


Section = TypeVar("Section", bound=BaseModel)


class Data(Strict):
    """One data set: its source and what each data stage does with it."""

    source: str
    fetch: dict[str, Any]  # the source's own Config
    frames: dict[str, Any]
    landmarks: dict[str, Any]
    split: dict[str, Any]
    engine: dict[str, Any]  # where the data stages' work is done


class Params(Strict):
    """The whole of params.yaml."""

    seed: int
    datasets: list[str]
    methods: list[str]
    shots: list[int]
    data: dict[str, Data]
    learn: dict[str, dict[str, dict[str, Any]]]  # data set -> method -> the method's own Config
    train: dict[str, Any]  # how training runs, never what comes out
    adapt: dict[str, Any]
    cross: dict[str, Any]
    score: dict[str, Any]
    timing: dict[str, Any]
    report: dict[str, Any]
    study: dict[str, Any]


def parse(model: type[Section], mapping: object, where: str) -> Section:
    """`mapping` as a `model`. Refused with the first mistake as `where.key: what was found; the way out`."""
    try:
        return model.model_validate(mapping)
    except ValidationError as error:
        raise Refused(_sentence(model, error, where)) from None


def load(path: Path) -> Params:
    """params.yaml. Refused when it is missing, is not YAML, or breaks the schema."""
    from ruamel.yaml import YAML, YAMLError

    try:
        mapping = YAML(typ="safe").load(path.read_text())
    except FileNotFoundError:
        raise Refused(f"{path}: there is no such file; run from the root of the checkout or pass --params") from None
    except YAMLError as error:
        raise Refused(f"{path}: not valid YAML ({' '.join(str(error).split())[:200]})") from None
    return parse(Params, mapping, str(path))


def pick(mapping: Mapping[str, Any], key: str, where: str) -> Any:
    """mapping[key]; Refused with the nearest known key when absent."""
    if key not in mapping:
        raise Refused(f"{where}: no entry {key!r}; {_hint(key, list(mapping))}")
    return mapping[key]


def _sentence(model: type[BaseModel], error: ValidationError, where: str) -> str:
    first = error.errors(include_url=False)[0]
    place = ".".join([where, *map(str, first["loc"])])
    if first["type"] == "extra_forbidden":
        known = _fields(model, first["loc"][:-1])
        return f"{place}: unknown key; {_hint(str(first['loc'][-1]), known)}"
    if first["type"] == "missing":
        return f"{place}: this key is missing; add it (the published params.yaml has it)"
    return f"{place}: found {first['input']!r}; {first['msg'][0].lower()}{first['msg'][1:]}"


def _fields(model: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """The keys that may stand at `path` inside `model`."""
    for step in path:
        field = model.model_fields.get(str(step))
        kinds = [field.annotation, *getattr(field.annotation, "__args__", ())] if field else []
        inner = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        model = inner[0] if inner else model
    return list(model.model_fields)


def _hint(key: str, known: list[str]) -> str:
    near = difflib.get_close_matches(key, known, 1)
    return f"did you mean {near[0]!r}?" if near else "known: " + ", ".join(map(str, known))
