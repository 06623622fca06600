"""Compares X2Face with the published code: same weights, same images, largest difference between the outputs.

`python -m model.published.parity_x2face DIR [FILE] [--trust]`, where DIR is a clone of github.com/oawiles/X2Face, on any
branch.

THIS RUNS THE CODE IN DIR, with your permissions. Read it first, or run it in an isolated environment. Nothing is written: the
changes that the code needs to run today are made in memory only (see ADAPTED). FILE is a published checkpoint; without one both
get the same random weights. All computations are in float64 on the CPU, where rounding is far below the tolerance. The exit
status is 1 if a relative difference is above 1e-5.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import io
import re
import sys
import types
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.api import DataInfo
from model.methods.x2face import METHOD, X2Face
from model.published.importer import matched, opened
from pipeline.core.errors import InputError

WITHIN = 1e-5  # relative to the largest output
FILES = ("SkipNet", "NoSkipNet_X2Face", "NoSkipNet_X2Face_pose", "UnwrappedFace")  # each imports those before it
ADAPTED = (  # pattern in the published code -> replacement for current torch, and for machines without a GPU
    (r"\.cuda\(\)", ""),
    (r"'xavier', \[0\]", "'xavier', []"),  # its list of GPUs
    (r"\binit\.(uniform|constant|xavier_normal|kaiming_normal|orthogonal)\(", r"init.\1_("),
    (r"init\.uniform_\((.*?), 1\.0, 0\.02\)", r"init.uniform_(\1, 0.02, 1.0)"),  # bounds reversed, accepted by torch 0.2
    (r"mode='bilinear'\)", "mode='bilinear', align_corners=True)"),  # the default before torch 0.4
    (r"nn\.functional\.grid_sample\(", "grid_sample_of_its_time("))
SETTINGS = {"size": 256, "ngf": 64,  # the only sizes of the published code
            "combine": "weighted", "precision": "fp32", "pretrained": None, "steps": 0, "batch": 1, "K": 1, "threads": 1,
            "augment": {}, "log_every": 1, "save_every": 1, "optimiser": {"kind": "sgd", "lr": 1e-3, "momentum": 0.9},
            "schedule": {"warm_up": 1, "decay_from": 1, "final": 1.0}, "plateau": None, "stage2": None}


def main(arguments: list[str]) -> int:
    """Prints one line per comparison; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m model.published.parity_x2face", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="DIR", type=Path, help="a clone of github.com/oawiles/X2Face; ITS CODE IS RUN")
    parser.add_argument("file", metavar="FILE", type=Path, nargs="?", help="a published checkpoint; else random weights")
    parser.add_argument("--trust", action="store_true", help="open FILE even if that may run code contained in it")
    given = parser.parse_args(arguments)
    try:
        config = METHOD.Config.model_validate(SETTINGS)
        ours = METHOD(config, DataInfo(config.size, 1))
        take(ours, weights(ours, given.file, given.trust))
        theirs = network(given.folder)
        theirs.load_state_dict({name: ours.weights()[mine] for name, mine in ours.published("").items()})
        found = differences(ours, theirs)
    except InputError as refused:
        print(f"error: {refused}", file=sys.stderr)
        return 1
    for what, difference in found.items():
        print(f"{what}: largest relative difference {difference:.2e}{'' if difference <= WITHIN else f', ABOVE {WITHIN}'}")
    return int(not all(difference <= WITHIN for difference in found.values()))


def weights(ours: X2Face, file: Path | None, trust: bool) -> dict[str, Tensor]:
    """The weights of the file, or random ones with running statistics other than 0 and 1, under our names."""
    names, due = ours.published(""), ours.weights()
    if file:
        found = matched(opened(file, trust), {theirs: due[mine].shape for theirs, mine in names.items()}, ours.extras, file)
        return {names[theirs]: value.float() for theirs, value in found.items()}
    rng = torch.Generator().manual_seed(0)

    def random(name: str, value: Tensor) -> Tensor:
        number = torch.rand(value.shape, generator=rng).to(value.device)
        return {"running_mean": number - 0.5, "running_var": number + 0.5}.get(name.rpartition(".")[2], value)

    return {name: random(name, value) for name, value in due.items() if name in names.values()}


def take(ours: X2Face, given: dict[str, Tensor]) -> None:
    """Loads the weights into our networks, which keep their batch counters."""
    ours.load_weights({**ours.weights(), **given})


def network(folder: Path) -> nn.Module:
    """The published network, with a bottleneck of 128 between driving frame and flow.

    Runs the code in `folder`; InputError when that fails.
    """
    sources = {name: folder / "UnwrapMosaic" / f"{name}.py" for name in FILES}
    if absent := [str(path) for path in sources.values() if not path.is_file()]:
        raise InputError(f"{folder}: there is no {absent[0]}; give a clone of github.com/oawiles/X2Face")
    try:
        with _imported(sources) as modules, warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            net: nn.Module = modules["UnwrappedFace"].UnwrappedFaceWeightedAverage(
                output_num_channels=2, input_num_channels=3, inner_nc=128)
    except Exception as error:  # third-party code may raise anything
        raise InputError(f"{folder}: its code does not run ({type(error).__name__}: {error}); "
                         "give an unchanged clone") from error
    return net


@contextlib.contextmanager
def _imported(sources: dict[str, Path]) -> Iterator[dict[str, types.ModuleType]]:
    """The files as modules that can import each other; restores sys.modules afterwards."""
    before, modules = dict(sys.modules), {}
    try:
        for name, path in sources.items():
            modules[name] = sys.modules[name] = types.ModuleType(name)
            vars(modules[name])["grid_sample_of_its_time"] = functools.partial(F.grid_sample, align_corners=True)
            exec(compile(adapted(path.read_text()), str(path), "exec"), vars(modules[name]))
        yield modules
    finally:
        for name in sources:
            sys.modules.pop(name, None)
            if name in before:
                sys.modules[name] = before[name]


def adapted(source: str) -> str:
    """The source of a published file, changed to run unchanged in effect under Python 3 and current torch: tabs, ADAPTED."""
    source = source.expandtabs(8)
    for pattern, replacement in ADAPTED:
        source = re.sub(pattern, replacement, source)
    return source


@torch.no_grad()
def differences(ours: X2Face, theirs: nn.Module) -> dict[str, float]:
    """Compared part -> max |ours - theirs| / max |theirs|. Afterwards both networks are in float64 on the CPU."""
    ours.place = torch.device("cpu")
    for net in (*ours.nets.values(), theirs):
        net.to(ours.place, torch.float64).eval()
    rng = torch.Generator().manual_seed(1)
    x = torch.rand(4, 3, 8, 8, generator=rng, dtype=torch.float64)
    driving_frame, *sources = F.interpolate(x, ours.facts.size, mode="bicubic").clamp(0, 1).split(1)
    embedding, driving = (theirs.get_submodule(name) for name in ("pix2pixUnwrapped", "pix2pixSampler"))
    found = {"embedding network": relative(ours.embedding(sources[0]), embedding(sources[0])[0]),
             "driving network": relative(ours.driving(driving_frame), driving(driving_frame)[0])}
    for count, name in ((1, "whole, 1 source"), (3, "whole, 3 sources")):
        x_hat = ours.forward(torch.stack(sources[:count], 1), driving_frame)
        found[name] = relative(x_hat, theirs(driving_frame, *sources[:count]))
    return found


def relative(a: Tensor, b: Tensor) -> float:
    """max |a - b| / max |b|"""
    return float((a - b).abs().max() / b.abs().max())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
