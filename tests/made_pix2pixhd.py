"""Pix2pixHD small: its networks, its checkpoints as the authors' code writes them."""

import torch
from small import method

from model.methods import pix2pixhd as p

AUTHORS = {"ngf": 64, "downsamplings": 4, "blocks": 9, "padding": "zero", "ndf": 64, "scales": 2}


def sizes(**changes):
    return p.Networks.model_validate({**AUTHORS, **changes})


def small(**changes):
    return sizes(**{"ngf": 4, "ndf": 4, "downsamplings": 2, "blocks": 2, **changes})


def made(**changes):
    return method("pix2pixhd", **changes)


def named(one, kind, seed=0):
    """A checkpoint of that kind as the authors' code writes it: published names, random values."""
    draw, weights = torch.Generator().manual_seed(seed), one.weights()
    return {theirs: torch.randn(weights[ours].shape, generator=draw) * 0.1 for theirs, ours in one.published(kind).items()}


def unit(images):
    return images * 2 - 1


def kept(state, path):
    torch.save(state, path)
    return path
