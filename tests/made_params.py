"""params.yaml and params/DATASET.yaml for tests: the published ones, changed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[1]
DATASETS = sorted(path.stem for path in (ROOT / "params").glob("*.yaml"))


def read(path: Path) -> dict[str, Any]:
    """A YAML file as plain dicts, lists and scalars."""
    found: dict[str, Any] = YAML(typ="safe").load(path.read_text())
    return found


def published(dataset: str | None = None) -> dict[str, Any]:
    """params/DATASET.yaml; without a name params.yaml."""
    return read(ROOT / "params" / f"{dataset}.yaml" if dataset else ROOT / "params.yaml")


def write(folder: Path, changes: Mapping[str, Any], /, **datasets: Mapping[str, Any]) -> Path:
    """folder/params.yaml, and folder/params/NAME.yaml of each data set, which `datasets` becomes.

    `changes`: of params.yaml; a section is changed key by key. `data` or `learn` that a data set lacks is that of `ci`.
    """
    run = published()
    given = {"datasets": list(datasets) or run["datasets"], **changes}
    run |= {key: {**run.get(key, {}), **value} if isinstance(value, Mapping) else value for key, value in given.items()}
    (folder / "params").mkdir(exist_ok=True)
    _dump(folder / "params.yaml", run)
    for name, given in datasets.items():
        _dump(folder / "params" / f"{name}.yaml", {**published("ci"), **given})
    return folder / "params.yaml"


def _dump(path: Path, body: Mapping[str, Any]) -> None:
    with path.open("w") as file:
        YAML().dump(dict(body), file)
