"""Compares the pix2pixHD networks with the published code: the same weights must give the same output.

    git clone https://github.com/NVIDIA/pix2pixHD DIR
    python -m model.published.parity_pix2pixhd DIR [G.pth [D.pth]]

This RUNS THE CODE in DIR/models/networks.py: give it a clone that you trust, in an environment where that is safe. Both sides
get the same random images and the same random weights; at the authors' sizes the weights of the given files, if any. It prints
the largest difference divided by the largest value of the published output, for G and for each map of D. The exit status is 1
if one is above 1e-5 or an input is wrong.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from model.methods.pix2pixhd import Discriminator, Generator, Networks, Pix2PixHD, initialised, published_names
from model.published.importer import matched, opened
from pipeline.core.errors import InputError

LARGEST = 1e-5  # relative difference
SIZES = {  # pixels, networks
    "small": (64, Networks(ngf=16, downsamplings=3, blocks=2, padding="zero", ndf=16, scales=2)),
    "the authors'": (256, Networks(ngf=64, downsamplings=4, blocks=9, padding="zero", ndf=64, scales=2))}

State = Mapping[str, Tensor]  # by published names


def main() -> int:
    """Returns 0 if every difference is at most LARGEST, else 1."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("dir", type=Path, help="a clone of NVIDIA/pix2pixHD; its code is run")
    arguments.add_argument("files", nargs="*", type=Path, help="*_net_G.pth [*_net_D.pth] with the authors' sizes")
    given = arguments.parse_args()
    theirs, worst = repository(given.dir), 0.0
    for sizes, (pixels, net) in SIZES.items():
        files = given.files if sizes == "the authors'" else []
        for name, difference in differences(theirs, net, pixels, files):
            print(f"{sizes} sizes, {pixels} px, {name}: {difference:.2g}", flush=True)
            worst = max(worst, difference)
    print(f"largest relative difference {worst:.2g}, allowed {LARGEST:g}: " + ("equal" if worst <= LARGEST else "NOT EQUAL"))
    return int(worst > LARGEST)


def repository(folder: Path) -> ModuleType:
    """models/networks.py of the clone, executed as a module. InputError when the file is missing.

    Its last class imports VGG19 from torchvision, which is not needed here: an empty module replaces it while the file runs.
    """
    path = folder / "models" / "networks.py"
    if not path.is_file():
        raise InputError(f"{path}: there is no such file; give the folder of a clone of https://github.com/NVIDIA/pix2pixHD")
    module, empty, before = ModuleType("published_networks"), ModuleType("torchvision"), sys.modules.get("torchvision")
    empty.models = ModuleType("torchvision.models")  # type: ignore[attr-defined]
    sys.modules["torchvision"] = empty
    try:
        exec(compile(path.read_text(), str(path), "exec"), vars(module))
    finally:
        del sys.modules["torchvision"]
        if before is not None:
            sys.modules["torchvision"] = before
    return module


@torch.no_grad()
def differences(theirs: Any, net: Networks, pixels: int, files: Sequence[Path]) -> Iterator[tuple[str, float]]:
    """(what, largest difference over the largest published value) for G's output and each map of D."""
    if len(files) > 2:
        raise InputError(f"a checkpoint consists of G and D; {len(files)} files were given")
    torch.manual_seed(0)
    y, x = torch.rand(2, 2, 3, pixels, pixels) * 2 - 1  # both (2, 3, H, W)
    norm = theirs.get_norm_layer("instance")
    G = Generator(net).apply(initialised)
    published_G = theirs.GlobalGenerator(3, 3, net.ngf, net.downsamplings, net.blocks, norm)
    same_weights("G", net, G, published_G, files[:1])
    yield "G", relative(G(y), published_G(y))
    D = Discriminator(net).apply(initialised)
    published_D = theirs.MultiscaleDiscriminator(6, net.ndf, 3, norm, False, net.scales, True)
    same_weights("D", net, D, published_D, files[1:])
    for scale, (ours, due) in enumerate(zip(D(y, x), published_D(torch.cat([y, x], 1)), strict=True)):
        for layer, (a, b) in enumerate(zip(ours, due, strict=True)):
            yield f"D scale {scale} (0 the finest) map {layer} {tuple(b.shape[1:])}", relative(a, b)


def same_weights(kind: str, net: Networks, ours: nn.Module, theirs: nn.Module, files: Sequence[Path]) -> None:
    """Copies the weights of `ours`, or of a given file, into both. InputError when the file is of another network."""
    names, have = published_names(kind, net), ours.state_dict()
    state: State = {published: have[name] for published, name in names.items()}
    for file in files:
        state = matched(opened(file), {name: value.shape for name, value in state.items()}, Pix2PixHD.extras, file)
        ours.load_state_dict({names[name]: value for name, value in state.items()})
    theirs.load_state_dict(state, strict=True)


def relative(ours: Tensor, theirs: Tensor) -> float:
    """max |ours - theirs| / max |theirs|; infinite if the shapes differ or a value is not finite."""
    if ours.shape != theirs.shape or not bool(ours.isfinite().all() and theirs.isfinite().all()):
        return float("inf")
    return float((ours - theirs).abs().max() / theirs.abs().max())


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as error:
        sys.exit(str(error))
