"""One update of a public implementation of the same networks, from a checkout of it: what ours are measured beside.

shrubb/latent-pose-reenactment, whose author is a co-author of the paper. Its networks, losses and training loop run as they
are; stand-ins are the loader of configuration files, which is not needed, and torchvision's VGG, here with random weights.
"""

from __future__ import annotations

import copy
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

REPOSITORY, COMMIT = "https://github.com/shrubb/latent-pose-reenactment", "d40e6ea"
CRITERIONS = ("adversarial", "featmat", "perceptual", "idt_embed")  # dis_embed, that is L_MCH, only in meta-learning
SETTINGS: dict[str, Any] = {  # the defaults of its train.py and of its files
    "in_channels": 3, "out_channels": 3, "num_channels": 64, "max_num_channels": 512, "embed_channels": 512, "norm_layer": "in",
    "gen_padding": "zero", "gen_num_downsample_blocks": 4, "gen_num_residual_blocks": 4, "embed_padding": "zero",
    "embed_num_blocks": 6, "average_function": "sum", "dis_padding": "zero", "dis_num_blocks": 7, "image_size": 256,
    "lr_gen": 5e-5, "lr_dis": 2e-4, "beta1": 0.0, "optimizer": "Adam", "perc_weight": 1e-2, "idt_embed_weight": 2e-3,
    "fm_weight": 10.0, "dis_embed_weight": 1e-2, "gan_type": "gan", "vgg_weights_dir": "", "device": "cpu", "num_gpus": 1,
    "detailed_metrics": True, "iteration": 0}
WIDTHS = {"vgg19": (64, 64, 0, 128, 128, 0, 256, 256, 256, 256, 0, 512, 512, 512, 512, 0, 512, 512, 512, 512, 0),
          "vgg16": (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0)}  # 0: pooling


def acts(root: Path, videos: int, K: int) -> dict[str, Callable[[], object]]:
    """G's forward, the meta step and the fine-tune step of one 256 px image, K source frames."""
    import torch

    with imported(root):
        nets = {part: import_module(f"{part}s.FSTH").Wrapper for part in ("embedder", "generator", "discriminator")}
        runner = import_module("runners.holycow")
        criterions = {name: import_module(f"criterions.{name}").Wrapper for name in (*CRITERIONS, "dis_embed")}
        args = Namespace(**SETTINGS, num_labels=videos, finetune=False)
        E, G, D = (nets[part].get_net(args) for part in ("embedder", "generator", "discriminator"))
        losses = {name: wrapper.get_net(args) for name, wrapper in criterions.items()}
    draw = torch.Generator().manual_seed(0)
    pose, target = (torch.rand(1, 3, 256, 256, generator=draw) * 2 - 1 for _ in range(2))
    sources, poses = (torch.rand(1, K, 3, 256, 256, generator=draw) * 2 - 1 for _ in range(2))
    e_hat = torch.rand(1, 512, generator=draw)

    def step(args: Namespace, E: Any, G: Any, D: Any, found: list[Any], given: dict[str, Any]) -> Callable[[], object]:
        module = runner.TrainingModule(E, G, D, found, [], {}).train()
        optimisers = runner.get_optimizer(E, G, args), nets["discriminator"].get_optimizer(D, args)
        wanted = {"target_rgbs": target, "label": torch.tensor([0])}
        return lambda: runner.run_epoch([(given, wanted)], module, *optimisers, 0, args, "train")

    tuned = [copy.deepcopy(net) for net in (E, G, D)]
    for net in tuned:
        net.enable_finetuning({"embeds": e_hat})

    def forward() -> None:
        with torch.no_grad():
            G({"embeds": e_hat, "dec_stickmen": pose})

    given = {"dec_stickmen": pose}
    return {"G": forward,
            "meta step": step(args, E, G, D, [*losses.values()], {**given, "enc_rgbs": sources, "enc_stickmen": poses}),
            "fine-tune step": step(Namespace(**{**vars(args), "finetune": True}), tuned[0], tuned[1], tuned[2],
                                   [losses[name] for name in CRITERIONS], given)}


@contextmanager
def imported(root: Path) -> Iterator[None]:
    """Within, its packages are found, and stand-ins for what is not installed. Their names are free again afterwards."""
    before = set(sys.modules)
    made: dict[str, Any] = {name: ModuleType(name) for name in ("torchvision", "yamlenv")}
    made["torchvision"].models = Namespace(**{name: lambda name=name: _VGG(WIDTHS[name]) for name in WIDTHS})
    with patch.dict(sys.modules, made), patch.object(sys, "path", [str(root), *sys.path]), patch("torch.load", lambda _: {}):
        yield
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(root)):
            del sys.modules[name]


def _VGG(widths: tuple[int, ...]) -> Any:
    """The part of torchvision's VGG that is used. It keeps its random weights whatever it is told to load."""
    from torch import nn

    layers: list[nn.Module] = []
    c_in = 3
    for width in widths:
        layers += [nn.Conv2d(c_in, width, 3, padding=1), nn.ReLU(inplace=True)] if width else [nn.MaxPool2d(2)]
        c_in = width or c_in
    net: Any = nn.Module()
    net.features, net.classifier = nn.Sequential(*layers), nn.Sequential()
    net.load_state_dict = net.features.load_state_dict = lambda _: None
    return net
