"""The params files as DVC changes them: `dvc exp run -S FILE:KEY=VALUE` changes that value and no other."""

import copy
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from dvc.utils import hydra, serialize
from dvc.utils.serialize._yaml import parse_yaml_for_update
from made_params import DATASETS, ROOT, published, read

from model.api import load
from pipeline.core import config

FILES = ["params.yaml", *(f"params/{name}.yaml" for name in DATASETS)]
METHODS = sorted(path.stem for path in (ROOT / "model" / "methods").glob("[!_]*.py"))


def leaves(tree: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], float]]:
    """(path, value) of every number below `tree`."""
    if isinstance(tree, dict | list):
        for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from leaves(value, (*path, key))
    elif isinstance(tree, int | float) and not isinstance(tree, bool):
        yield path, tree


def put(tree: Any, path: tuple[str | int, ...], value: float) -> Any:
    """A copy of `tree` with `value` at `path`."""
    tree = place = copy.deepcopy(tree)
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return tree


def override(path: tuple[str | int, ...], value: float) -> str:
    """KEY=VALUE of `-S FILE:KEY=VALUE`."""
    return f"{'.'.join(map(str, path))}={value}"


@pytest.mark.parametrize("file", FILES)
def test_every_number_can_be_set_by_itself(file, monkeypatch):
    before, tree = read(ROOT / file), parse_yaml_for_update((ROOT / file).read_text(), file)
    after = []

    @contextmanager
    def modified(_):  # in the place of reading and writing the file
        yield (given := copy.deepcopy(tree))
        after.append(given)

    monkeypatch.setitem(serialize.MODIFIERS, ".yaml", modified)
    found = list(leaves(before))
    assert len(found) > 30
    for path, value in found:
        hydra.apply_overrides(file, [override(path, value + 1)])
        assert after.pop() == put(before, path, value + 1), path


@pytest.mark.parametrize("file", FILES)
def test_all_numbers_can_be_set_to_values_of_their_own_in_the_file(file, tmp_path):
    due = read(ROOT / file)
    changes = [(path, value + n) for n, (path, value) in enumerate(leaves(due), 1000)]
    shutil.copy(ROOT / file, tmp_path / "params.yaml")
    hydra.apply_overrides(tmp_path / "params.yaml", [override(*change) for change in changes])
    for change in changes:
        due = put(due, *change)
    assert read(tmp_path / "params.yaml") == due


@pytest.mark.parametrize("file", FILES)
def test_no_file_has_shared_nodes(file):
    from ruamel.yaml import YAML
    from ruamel.yaml.tokens import AliasToken, AnchorToken

    text = (ROOT / file).read_text()
    assert not [token for token in YAML().scan(text) if isinstance(token, AliasToken | AnchorToken)] and "<<" not in text


@pytest.mark.parametrize("dataset", DATASETS)
def test_every_data_set_configures_every_method_and_each_section_is_its_method_s(dataset):
    given = config.dataset(ROOT / "params.yaml", dataset)
    assert sorted(given.learn) == METHODS
    for name in METHODS:
        config.parse(load(name).Config, given.method(name), given.where(f"learn.{name}"))


@pytest.mark.parametrize("dataset", DATASETS)
def test_the_data_sections_are_those_that_the_stages_read(dataset):
    import importlib

    from pipeline import split
    from pipeline.frames import extract
    from pipeline.landmarks import landmark_image
    from pipeline.parallel import executor
    from stages.fetch import Shards

    data = published(dataset)["data"]
    source = importlib.import_module(f"pipeline.sources.{data['source']}").Config
    fetch = {key: value for key, value in data["fetch"].items() if key not in Shards.model_fields}
    brought = {"origin": "videos"} if "origin" in source.model_fields else {}
    config.parse(Shards, {key: data["fetch"][key] for key in data["fetch"].keys() - fetch.keys()}, "fetch")
    for model, section in ((source, fetch | brought), (executor.Config, data["engine"]), (extract.Config, data["frames"]),
                           (landmark_image.Config, data["landmarks"]), (split.Config, data["split"])):
        config.parse(model, section, dataset)
