"""Imports published weights of a baseline into weights/ and prints what to write into params/DATASET.yaml to use them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from pipeline.core import config
from pipeline.core.errors import InputError
from stages import _cli


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = _cli.parser(__doc__, "params")
    _cli.add(made, "dataset", required=False, default="voxceleb1", help="whose file in params/ says the networks' sizes")
    made.add_argument("method", help="x2face or pix2pixhd")
    made.add_argument("files", nargs="+", type=Path, help="x2face: its one file; pix2pixhd: *_net_G.pth [*_net_D.pth]")
    made.add_argument("--trained-on", required=True, help="the data they saw, as the tables shall say: VoxCeleb1")
    made.add_argument("--trust", action="store_true", help="open the file even if that may run code which it carries")
    return made


def main(words: Sequence[str] | None = None) -> None:
    """Writes weights/METHOD-*.safetensors. InputError, with the first difference, where a file is not what it should be."""
    given = parser().parse_args(words)
    from model import api
    from model.backbones import registry
    from model.published import importer

    dataset = config.dataset(given.params, given.dataset)
    section, where = dataset.method(given.method), dataset.where(f"learn.{given.method}")
    kind = api.load(given.method)
    if not issubclass(kind, importer.Baseline):
        raise InputError(f"{given.method}: has no published weights to import; x2face and pix2pixhd have")
    settings = config.parse(kind.Config, {**section, "pretrained": None}, where)
    method = kind(settings, api.DataInfo(settings.size, 1))
    file = importer.import_weights(method, given.files, given.trained_on, given.trust)
    print(f"{file}: written. To start from it, write into {where}\n"
          f"  pretrained: {{file: {file.name}, sha256: {registry.sha256(file)}}}\n"
          "and, to use it as it is, steps: 0")


if __name__ == "__main__":
    _cli.run(main)
