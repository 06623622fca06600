"""The methods that are measured: the paper's sizes, or tiny ones, and VGG content losses with random weights."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

from benchmarks import cases
from model.backbones import perceptual

VGG = {"kind": "vgg", "preset": "v2", "weights": "caffe", "pool": "max", "face": True}
SHOTS = (1, 8, 32)


def size(quick: bool, changes: dict[str, dict[str, Any]]) -> cases.Size:
    """The paper's configuration with the content loss of the paper, or that of `ci` with it and one step of fine-tuning."""
    playing = {**cases.PLAYING, "content": VGG}
    own = {"ff": playing, "ft": playing, "pix2pixhd": {"vgg": True}, "x2face": {}}
    short = cases.ONE_STEP if quick else {}
    return cases.Size("ci" if quick else "voxceleb2", 8,
                      {name: {**given, **short.get(name, {}), **changes.get(name, {})} for name, given in own.items()})


def method(name: str, quick: bool, **changes: Any) -> Any:
    """A method with random weights, its frozen networks included: time does not depend on them."""
    perceptual.vgg19 = lambda weights="caffe", pool="max": random_vgg(f"vgg19_{weights}", pool)
    perceptual.vggface = lambda pool="max": random_vgg("vggface_caffe", pool)
    return cases.method(name, size(quick, {name: changes}))


def tf32(allowed: bool) -> None:
    """Whether products of float32 numbers may be taken from their first 10 bits."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed


@cache
def _weights(kind: str) -> dict[str, Tensor]:
    draw, found, c = torch.Generator().manual_seed(0), {}, 3
    for block, (count, c_out) in enumerate(zip((*perceptual.VGG_CONVS[kind][:4], 1), perceptual.VGG_CHANNELS), 1):
        for n in range(1, count + 1):
            found[f"conv{block}_{n}.weight"] = torch.randn(c_out, c, 3, 3, generator=draw) * (2 / (9 * c)) ** .5
            found[f"conv{block}_{n}.bias"] = torch.zeros(c_out)
            c = c_out
    return found


def random_vgg(kind: str, pool: str) -> perceptual.VGG:
    """vgg19_caffe, vgg19_torchvision or vggface_caffe without its file."""
    return perceptual.VGG(_weights(kind.split("_")[0]), kind=kind, pool=pool)
