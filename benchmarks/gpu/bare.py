"""For machines with torch but without `pydantic` or `ruamel.yaml`: as much of them as reading params/ takes.

Types are followed, values are not checked: the files are those of a checkout whose tests have passed. Never used where the
packages are.
"""

from __future__ import annotations

import importlib.util
import sys
import types
from collections.abc import Callable
from typing import Any, ClassVar, Literal, Union, get_args, get_origin, get_type_hints


def stand_in() -> list[str]:
    """Puts a stand-in where a package is missing -> the missing ones."""
    made: dict[str, Callable[[], None]] = {"pydantic": _pydantic, "ruamel": _ruamel}
    missing = [name for name in made if name not in sys.modules and importlib.util.find_spec(name) is None]
    for name in missing:
        made[name]()
    return ["ruamel.yaml" if name == "ruamel" else name for name in missing]


class Model:
    """In the place of pydantic.BaseModel."""

    def __init__(self, **given: Any) -> None:
        kinds = self.fields()
        if given.keys() != kinds.keys():
            raise ValueError(f"{type(self).__name__}: {sorted(given.keys() ^ kinds.keys())} missing or unknown")
        self.__dict__.update({name: _as(kind, given[name]) for name, kind in kinds.items()})

    @classmethod
    def fields(cls) -> dict[str, Any]:
        """Name -> type."""
        return {name: kind for name, kind in get_type_hints(cls).items() if get_origin(kind) is not ClassVar}

    @classmethod
    def model_validate(cls, given: Any) -> Any:
        """A mapping as this model."""
        return given if isinstance(given, cls) else cls(**given)

    def model_copy(self, update: dict[str, Any]) -> Any:
        """The same with changes."""
        return type(self)(**{**self.__dict__, **update})


def _as(kind: Any, value: Any) -> Any:
    """The value as its type has it. ValueError: it has none of the types."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _first(inner, value)
    if origin is Literal and value not in inner:
        raise ValueError(f"{value!r} is none of {inner}")
    if origin is list:
        return [_as(inner[0], one) for one in value]
    if isinstance(kind, type) and issubclass(kind, Model):
        if not isinstance(value, (dict, kind)):
            raise ValueError(f"{value!r} is no {kind.__name__}")
        return kind.model_validate(value)
    if (kind is type(None)) != (value is None):
        raise ValueError(f"{value!r} is no {kind}")
    return float(value) if kind is float else value


def _first(kinds: tuple[Any, ...], value: Any) -> Any:
    for kind in kinds:
        try:
            return _as(kind, value)
        except ValueError:
            continue
    raise ValueError(f"{value!r} is none of {kinds}")


def _pydantic() -> None:
    module: Any = types.ModuleType("pydantic")
    module.BaseModel, module.ConfigDict, module.ValidationError = Model, dict, ValueError
    module.Field = lambda **_: None
    module.field_validator = lambda *_: lambda act: act
    module.PositiveInt, module.PositiveFloat = int, float
    sys.modules["pydantic"] = module


def _ruamel() -> None:
    import yaml

    class YAML:
        """ruamel.yaml's safe reading by PyYAML."""

        def __init__(self, typ: str) -> None:
            assert typ == "safe"

        def load(self, text: str) -> Any:
            """The text as plain objects."""
            return yaml.safe_load(text)

    inside: Any = types.ModuleType("ruamel.yaml")
    inside.YAML, inside.YAMLError = YAML, yaml.YAMLError
    sys.modules["ruamel"], sys.modules["ruamel.yaml"] = types.ModuleType("ruamel"), inside
