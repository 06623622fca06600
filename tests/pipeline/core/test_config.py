from pathlib import Path

import pytest
from ruamel.yaml import YAML

from pipeline.core import config
from pipeline.core.config import Strict
from pipeline.core.errors import Refused


class Inner(Strict):
    size: int
    margin: float


class Outer(Strict):
    name: str
    frames: Inner


GOOD = {"name": "a", "frames": {"size": 64, "margin": 0.5}}


def test_a_good_section_is_parsed_and_frozen():
    outer = config.parse(Outer, GOOD, "params.yaml")
    assert outer.frames.size == 64
    with pytest.raises(ValueError):
        outer.name = "b"


@pytest.mark.parametrize(("change", "sentence"), [
    ({"frames": {"size": 64, "margin": 0.5, "sise": 1}}, r"params\.yaml\.frames\.sise: unknown key; did you mean 'size'\?"),
    ({"frames": {"size": "64", "margin": 0.5}}, r"params\.yaml\.frames\.size: found '64'; input should be a valid integer"),
    ({"frames": {"size": 64}}, r"params\.yaml\.frames\.margin: this key is missing"),
    ({"name": 3}, r"params\.yaml\.name: found 3; input should be a valid string"),
])
def test_each_mistake_is_one_sentence_with_the_place_and_the_way_out(change, sentence):
    with pytest.raises(Refused, match=sentence):
        config.parse(Outer, {**GOOD, **change}, "params.yaml")


def test_a_missing_or_broken_file_is_named(tmp_path):
    with pytest.raises(Refused, match="no such file"):
        config.load(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_text("a: [1,\n")
    with pytest.raises(Refused, match="not valid YAML"):
        config.load(tmp_path / "params.yaml")


def test_an_unknown_entry_names_the_nearest_one():
    with pytest.raises(Refused, match="did you mean 'sample'"):
        config.pick({"sample": 1, "ci": 2}, "smaple", "params.yaml.data")


def test_the_published_params_are_valid():
    path = Path(__file__).resolve().parents[3] / "params.yaml"
    assert set(config.load(path).datasets) <= YAML(typ="safe").load(path.read_text())["data"].keys()
