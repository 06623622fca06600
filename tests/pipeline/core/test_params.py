"""The params files as DVC changes them: `dvc exp run -S FILE:KEY=VALUE` changes that value and no other."""

import copy
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import made_params
import pytest
from dvc.utils import hydra, serialize
from dvc.utils.serialize._yaml import parse_yaml_for_update
from made_params import DATASETS, ROOT, published, read

from model.api import load
from pipeline.core import config

DVC = [sys.executable, "-m", "dvc"]

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


def test_dvc_exp_run_runs_the_one_method_whose_number_was_set(tmp_path):
    """The parameters of dvc.yaml's stage `train`, with a command that only prints the file it was given."""
    from ruamel.yaml import YAML

    made_params.write(tmp_path, {"datasets": ["ci", "sample"], "methods": ["ff", "ft"]}, ci={}, sample=published("sample"))
    train = read(ROOT / "dvc.yaml")["stages"]["train"]
    stage = {"matrix": train["matrix"], "params": train["params"],
             "cmd": "cat params/${item.dataset}.yaml > ${item.dataset}-${item.method}.txt"}
    with (tmp_path / "dvc.yaml").open("w") as file:
        YAML().dump({"stages": {"train": stage}}, file)
    env = {**os.environ, "DVC_NO_ANALYTICS": "1", "HOME": str(tmp_path), "GIT_CONFIG_GLOBAL": os.devnull,
           **{f"GIT_{who}_{what}": "a@b" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}}
    for words in (["git", "init", "-q"], [*DVC, "init", "-q"], [*DVC, "repro", "-q"], ["git", "add", "."],
                  ["git", "commit", "-qm", "ran"], [*DVC, "exp", "run", "-S", "params/ci.yaml:learn.ff.steps=61"]):
        done = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    ran = [line for line in done.stdout.splitlines() if line.startswith("Running")]
    assert ran == ["Running stage 'train@ci-ff':"]
    assert read(tmp_path / "ci-ff.txt") == put(published("ci"), ("learn", "ff", "steps"), 61)


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
