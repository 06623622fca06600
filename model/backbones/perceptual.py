"""Frozen feature networks for the content loss (paper, section 3.2: L_CNT) and the Fréchet distance.

Each takes RGB images (N, 3, H, W) in [0, 1] and converts them itself; only the image gets a gradient.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.backbones.registry import REGISTRY, remember, require, sha256, state
from pipeline.core.errors import InputError

EFFICIENTNET_STAGES = (  # repeats, kernel, stride, expansion, channels: EfficientNet (Tan & Le 2019), table 1, unscaled
    (1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320))
TAPPED = (2, 4, 10)  # blocks whose output `taps` returns after the stem's: strides 2; 4, 8, 16
BATCH_NORM_EPS = 1e-3


class SameConv(nn.Conv2d):
    """Convolution with TensorFlow's SAME padding: the odd pixel goes to the right and bottom."""

    def forward(self, x: Tensor) -> Tensor:
        k, s = self.kernel_size[0], self.stride[0]
        if s == 1:
            return F.conv2d(x, self.weight, self.bias, 1, k // 2, 1, self.groups)
        h, w = (max((-(-n // s) - 1) * s + k - n, 0) for n in x.shape[-2:])
        x = F.pad(x, (w // 2, w - w // 2, h // 2, h - h // 2))
        return F.conv2d(x, self.weight, self.bias, s, 0, 1, self.groups)


class Block(nn.Module):
    """Inverted residual block: expand 1x1, depthwise kxk, project 1x1; no squeeze-and-excitation in the Lite family."""

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = c_in * expansion
        self.expand = SameConv(c_in, wide, 1) if expansion > 1 else None
        self.depthwise = SameConv(wide, wide, kernel, stride, groups=wide)
        self.project = SameConv(wide, c_out, 1)
        self.residual = stride == 1 and c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        h = x if self.expand is None else F.relu6(self.expand(x), inplace=True)
        h = self.project(F.relu6(self.depthwise(h), inplace=True))
        return x + h if self.residual else h


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0 (ImageNet). Batch norm is folded into the convolutions, so train() and eval() are the same.

    weights: tensors under the names of the published file; InputError names the first that differs.
    """

    def __init__(self, weights: dict[str, Tensor], where: str = "weights") -> None:
        super().__init__()
        self.stem = SameConv(3, 32, 3, 2)
        blocks, c = [], 32
        for repeats, kernel, stride, expansion, c_out in EFFICIENTNET_STAGES:
            for first in (True,) + (False,) * (repeats - 1):
                blocks.append(Block(c, c_out, kernel, stride if first else 1, expansion))
                c = c_out
        self.blocks = nn.ModuleList(blocks)
        self.head, self.fc = SameConv(320, 1280, 1), nn.Linear(1280, 1000)
        self._load(weights, where)
        self.requires_grad_(False).eval()

    def taps(self, x: Tensor) -> list[Tensor]:
        """x (N, 3, H, W) RGB [0, 1] -> [stem (N, 32, H/2), blocks 2 (N, 24, H/4), 4 (N, 40, H/8), 10 (N, 112, H/16)].

        Does not resize. On the CPU always in float32, also under autocast: the gradient of the depthwise convolutions takes
        2.4 times as long in bfloat16 (B = 8, 64 px: forward 9 + backward 11 ms against 7 + 26).
        """
        bfloat16 = x.device.type != "cpu" and torch.is_autocast_enabled(x.device.type)
        with torch.autocast(x.device.type, enabled=bfloat16):
            h = F.relu6(self.stem(self._prepared(x)), inplace=True)
            found = [h]
            for n, block in enumerate(self.blocks[: TAPPED[-1] + 1]):
                h = block(h)
                if n in TAPPED:
                    found.append(h)
        return found

    def pool(self, x: Tensor) -> Tensor:
        """x (N, 3, H, W) RGB [0, 1] -> features before the classifier, averaged over the image (N, 1280).

        Trained at 224 px: pass `to_size(x, 224)`.
        """
        h = F.relu6(self.stem(self._prepared(x)), inplace=True)
        for block in self.blocks:
            h = block(h)
        return F.relu6(self.head(h), inplace=True).mean((2, 3))

    def classify(self, x: Tensor) -> Tensor:
        """x (N, 3, 224, 224) RGB [0, 1] -> ImageNet logits (N, 1000)."""
        logits: Tensor = self.fc(self.pool(x))
        return logits

    @staticmethod
    def _prepared(x: Tensor) -> Tensor:
        return x.float() * (255 / 128) - 127 / 128  # (255 x - 127) / 128

    def _load(self, weights: dict[str, Tensor], where: str) -> None:
        convs: list[tuple[SameConv, str, str]] = [(self.stem, "_conv_stem", "_bn0")]
        for n, block in enumerate(self.blocks):
            assert isinstance(block, Block)
            layers = [(block.expand, "_expand_conv", "_bn0"), (block.depthwise, "_depthwise_conv", "_bn1"),
                      (block.project, "_project_conv", "_bn2")]
            convs += [(c, f"_blocks.{n}.{a}", f"_blocks.{n}.{b}") for c, a, b in layers if c is not None]
        convs.append((self.head, "_conv_head", "_bn1"))
        shapes = {f"{a}.weight": tuple(c.weight.shape) for c, a, _ in convs}
        shapes |= {f"{b}.{part}": (c.out_channels,) for c, _, b in convs
                   for part in ("weight", "bias", "running_mean", "running_var")}
        shapes |= {f"{b}.num_batches_tracked": () for _, _, b in convs}
        check(weights, shapes | {"_fc.weight": (1000, 1280), "_fc.bias": (1000,)}, where)
        for conv, a, b in convs:
            gamma, beta, mean, var = (weights[f"{b}.{p}"] for p in ("weight", "bias", "running_mean", "running_var"))
            scale = gamma / torch.sqrt(var + BATCH_NORM_EPS)
            conv.weight.data = weights[f"{a}.weight"] * scale[:, None, None, None]
            conv.bias.data = beta - mean * scale  # type: ignore[union-attr]  # built with a bias
        self.fc.weight.data, self.fc.bias.data = weights["_fc.weight"], weights["_fc.bias"]


VGG_CONVS = {"vgg19": (2, 2, 4, 4, 4), "vggface": (2, 2, 3, 3, 3)}  # convolutions before each pooling
VGG_CHANNELS = (64, 128, 256, 512, 512)
VGG_INPUT = {  # factor on [0, 1], channel order, mean, std: the input each file was trained with
    "vgg19_caffe": (255.0, "BGR", (103.939, 116.779, 123.68), (1.0, 1.0, 1.0)),
    "vgg19_torchvision": (1.0, "RGB", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    # The Caffe VGGFace is BGR; this file was converted from the MatConvNet release, which uses the same means in RGB order.
    "vggface_caffe": (255.0, "RGB", (129.186279, 104.762382, 93.593964), (1.0, 1.0, 1.0)),
}


class VGG(nn.Module):
    """VGG19 or VGGFace up to conv5_1 (paper, L_CNT: VGG19 layers 1, 6, 11, 20, 29; VGGFace 1, 6, 11, 18, 25)."""

    def __init__(self, weights: dict[str, Tensor], kind: str, pool: str = "max", where: str = "weights") -> None:
        super().__init__()
        if pool not in ("max", "avg"):
            raise InputError(f"pool is 'max' or 'avg', not {pool!r}")
        self.pool, self.counts = pool, VGG_CONVS[kind.split("_")[0]]
        factor, order, mean, std = VGG_INPUT[kind]
        self.factor, self.bgr = factor, order == "BGR"
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)
        self.convs = nn.ModuleDict()
        c = 3
        for block, (count, c_out) in enumerate(zip((*self.counts[:4], 1), VGG_CHANNELS), 1):
            for n in range(1, count + 1):
                self.convs[f"conv{block}_{n}"] = nn.Conv2d(c, c_out, 3, padding=1)
                c = c_out
        self._load(weights, where)
        self.requires_grad_(False).eval()

    def taps(self, x: Tensor) -> list[Tensor]:
        """x (N, 3, H, W) RGB [0, 1] -> ReLU after conv1_1, 2_1, 3_1, 4_1, 5_1: (N, 64, H), ... (N, 512, H/16)."""
        h = ((x.flip(1) if self.bgr else x) * self.factor - self.mean) / self.std
        h = h.contiguous(memory_format=torch.channels_last)
        found: list[Tensor] = []
        for name, conv in self.convs.items():
            if name.endswith("_1") and found:
                h = F.max_pool2d(h, 2) if self.pool == "max" else F.avg_pool2d(h, 2)
            h = F.relu_(conv(h))
            if name.endswith("_1"):
                found.append(h)
        return found

    def _load(self, weights: dict[str, Tensor], where: str) -> None:
        files, names = self._file_names("conv1_1.weight" not in weights), list(self.convs)
        shapes = {f"{files[name]}.{part}": tuple(getattr(self.convs[name], part).shape)
                  for name in names for part in ("weight", "bias")}
        layers = [files[name] for name in files if name not in names] + ["fc6", "fc7", "fc8"]
        layers += [f"classifier.{n}" for n in (0, 3, 6, 1, 4)]  # numbering of torchvision and of older conversions
        unused = {f"{layer}.{part}" for layer in layers for part in ("weight", "bias")}
        check({name: value for name, value in weights.items() if name not in unused}, shapes, where)
        for name in names:
            for part, memory in (("weight", torch.channels_last), ("bias", torch.preserve_format)):
                getattr(self.convs[name], part).data = weights[f"{files[name]}.{part}"].float().to(memory_format=memory)

    def _file_names(self, numbered: bool) -> dict[str, str]:
        """conv1_1 -> its name in the file: features.0 in torchvision's numbering, else the same."""
        found = dict[str, str]()
        index = 0
        for block, count in enumerate(self.counts, 1):
            for n in range(1, count + 1):
                found[f"conv{block}_{n}"] = f"features.{index}" if numbered else f"conv{block}_{n}"
                index += 2
            index += 1
        return found


def check(weights: dict[str, Tensor], shapes: dict[str, tuple[int, ...]], where: str) -> None:
    """InputError, naming the first tensor that is missing, of another shape, or unknown."""
    for name, shape in shapes.items():
        if name not in weights:
            raise InputError(f"{where} has no tensor {name!r} {shape}: it is not the weights file of this network")
        if tuple(weights[name].shape) != shape:
            raise InputError(f"{where}: {name!r} has shape {tuple(weights[name].shape)}, expected {shape}: "
                             f"it is not the weights file of this network")
    for name in weights:
        if name not in shapes:
            raise InputError(f"{where} has a tensor {name!r} that this network has not: it is another network's file")


def to_size(x: Tensor, size: int) -> Tensor:
    """x (N, C, H, W) -> (N, C, size, size), bilinear with antialiasing (aliasing shifts Fréchet distances)."""
    return F.interpolate(x, (size, size), mode="bilinear", antialias=True, align_corners=False)


def efflite0() -> EfficientNetLite0:
    """EfficientNet-Lite0 trained on ImageNet, frozen."""
    return EfficientNetLite0(state("efflite0"), where=str(require("efflite0")))


def vgg19(weights: str = "caffe", pool: str = "max") -> VGG:
    """VGG19 up to conv5_1, frozen. weights: "caffe" (the paper's) | "torchvision"; pool: "max" | "avg"."""
    return _vgg(f"vgg19_{weights}", pool)


def vggface(pool: str = "max") -> VGG:
    """VGGFace (VGG16) up to conv5_1, frozen; pool: "max" | "avg"."""
    return _vgg("vggface_caffe", pool)


def _vgg(name: str, pool: str) -> VGG:
    if name not in REGISTRY:
        raise InputError(f"weights: there is no {name!r}; the known ones are 'caffe' and 'torchvision'")
    net = VGG(state(name), kind=name, pool=pool, where=str(require(name)))
    remember(REGISTRY[name], sha256(require(name)))  # only after the file loaded without error
    return net
