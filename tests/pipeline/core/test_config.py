import re

import made_params
import pytest
from made_params import DATASETS, ROOT, published

from pipeline.core import config
from pipeline.core.config import Strict
from pipeline.core.errors import InputError


class Inner(Strict):
    size: int
    margin: float


class Outer(Strict):
    name: str
    frames: Inner


GOOD = {"name": "a", "frames": {"size": 64, "margin": 0.5}}


def test_a_good_section_is_parsed_and_frozen():
    outer = config.parse(Outer, GOOD, "params.yaml:")
    assert outer.frames.size == 64
    with pytest.raises(ValueError):
        outer.name = "b"


@pytest.mark.parametrize(("change", "sentence"), [
    ({"frames": {"size": 64, "margin": 0.5, "sise": 1}}, r"params\.yaml: frames\.sise: unknown key; did you mean 'size'\?"),
    ({"frames": {"size": "64", "margin": 0.5}}, r"params\.yaml: frames\.size: found '64'; input should be a valid integer"),
    ({"frames": {"size": 64}}, r"params\.yaml: frames\.margin: this key is missing"),
    ({"name": 3}, r"params\.yaml: name: found 3; input should be a valid string"),
])
def test_each_mistake_is_one_sentence_with_the_place_and_the_way_out(change, sentence):
    with pytest.raises(InputError, match=sentence):
        config.parse(Outer, {**GOOD, **change}, "params.yaml:")


def test_a_missing_or_broken_file_is_named(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        config.load(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_text("a: [1,\n")
    with pytest.raises(InputError, match="not valid YAML"):
        config.load(tmp_path / "params.yaml")


def test_an_unknown_entry_names_the_nearest_one():
    with pytest.raises(InputError, match="did you mean 'sample'"):
        config.pick({"sample": 1, "ci": 2}, "smaple", "params.yaml.data")


def test_a_section_is_named_with_its_file():
    with pytest.raises(InputError, match=r"params/ci\.yaml: data\.outer\.frames\.size: found 'x'"):
        config.parse(Outer, {"name": "a", "frames": {"size": "x", "margin": 0.5}}, "params/ci.yaml: data.outer")
    with pytest.raises(InputError, match=r"^params\.yaml: found \[1\]; "):
        config.parse(Outer, [1], "params.yaml:")


def test_each_published_data_set_is_valid():
    path = ROOT / "params.yaml"
    assert set(config.load(path).datasets) <= set(config.known_datasets(path)) == set(DATASETS)
    for name in DATASETS:
        assert config.dataset(path, name).model_dump() == published(name)


def test_a_mistake_in_the_file_of_a_data_set_is_named_by_file_and_key(tmp_path):
    given = published("ci")
    given["data"]["sorce"] = given["data"].pop("source")
    given["learn"]["ff"]["steps"] = 1
    path = made_params.write(tmp_path, {}, ci=given)
    with pytest.raises(InputError, match=rf"^{tmp_path}/params/ci\.yaml: data\.source: this key is missing"):
        config.dataset(path, "ci")
    given["data"]["source"] = "sample"
    made_params.write(tmp_path, {}, ci=given)
    with pytest.raises(InputError, match=rf"^{tmp_path}/params/ci\.yaml: data\.sorce: unknown key; did you mean 'source'\?"):
        config.dataset(path, "ci")
    del given["data"]["sorce"]
    made_params.write(tmp_path, {}, ci=given)
    found = config.dataset(path, "ci")
    assert found.method("ff")["steps"] == 1 and found.where("learn.ff") == f"{tmp_path}/params/ci.yaml: learn.ff"
    with pytest.raises(InputError, match=r"params/ci\.yaml: learn: no entry 'fff'; did you mean 'ff'\?"):
        found.method("fff")


def test_an_unknown_data_set_is_refused_with_the_nearest_file(tmp_path):
    path = made_params.write(tmp_path, {}, ci={}, sample={})
    for name, near in (("smaple", r"did you mean 'sample'\?"), ("xyz", "known: ci, sample"), ("../params", "known")):
        with pytest.raises(InputError, match=rf"params/{re.escape(name)}\.yaml: .*{near}"):
            config.dataset(path, name)
    (tmp_path / "params" / "ci.yaml").write_text("data: [1,\n")
    with pytest.raises(InputError, match=r"params/ci\.yaml: not valid YAML"):
        config.dataset(path, "ci")


@pytest.mark.parametrize("key", ["data", "learn"])
def test_a_params_yaml_that_still_has_the_data_sets_says_where_they_are_now(tmp_path, key):
    path = made_params.write(tmp_path, {key: {}})
    with pytest.raises(InputError, match=rf"params\.yaml: {key}: .*{tmp_path}/params/DATASET\.yaml"):
        config.load(path)
