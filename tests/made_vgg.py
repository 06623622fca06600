"""Files of VGG with small random weights."""

import dataclasses

import torch

from model.backbones import registry


def hash_unknown(monkeypatch, name):
    monkeypatch.setitem(registry.REGISTRY, name, dataclasses.replace(registry.REGISTRY[name], sha256=""))


def vgg_weights(kind, numbered, seed=0):
    """Small random weights under the names of the published files, the unused layers included."""
    from model.backbones.perceptual import VGG_CHANNELS, VGG_CONVS

    generator, found, c, index = torch.Generator().manual_seed(seed), {}, 3, 0
    for block, (count, c_out) in enumerate(zip(VGG_CONVS[kind], VGG_CHANNELS), 1):
        for n in range(1, count + 1):
            name = f"features.{index}" if numbered else f"conv{block}_{n}"
            unused = block == 5 and n > 1
            found[f"{name}.weight"] = (torch.zeros(1) if unused else
                                       torch.randn(c_out, c, 3, 3, generator=generator) * (2 / (9 * c)) ** 0.5)
            found[f"{name}.bias"] = torch.randn(1 if unused else c_out, generator=generator)
            c, index = c_out, index + 2
        index += 1
    head = ("classifier.0", "classifier.3", "classifier.6") if numbered else ("fc6", "fc7", "fc8")
    return found | {f"{name}.{part}": torch.zeros(1) for name in head for part in ("weight", "bias")}
