"""pix2pixHD (Wang et al. 2018, NVIDIA/pix2pixHD) as the paper compares with it: landmark image in, frame out.

No network gets the identity as input: meta-learning trains one G and one D on all training people, and both are fine-tuned on
the T frames of a new person. Only the global generator: the local enhancer is meant for images of 2048x1024. Sizes, losses,
order of updates and optimiser are those of the published code; python -m model.published.parity_pix2pixhd compares the networks
with it. Inside, images and landmark images are in [-1, 1].
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, PositiveInt
from torch import Tensor, nn

from model.api import DataInfo, Episode, Head, Settings
from model.backbones.perceptual import VGG
from model.few_shot.adversarial import Precision, autocast, device, finite, frozen
from model.published import importer
from model.training import distributed
from model.training.optim import Adam, Schedule
from pipeline.core.errors import InputError

CHUNK = 16  # frames generated at a time
SLOPE = 0.2  # of D's leaky ReLU
VGG_WEIGHTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)  # of relu1_1, 2_1, 3_1, 4_1, 5_1 (models/networks.py, VGGLoss)

Maps = list[list[Tensor]]  # the five maps of the discriminator at each scale, the finest first


class Networks(BaseModel):
    """Sizes of G and D. The authors' defaults at 256 px: 64, 4, 9, zero; 64, 2."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    ngf: int  # channels after G's first convolution; twice as many after each downsampling
    downsamplings: int
    blocks: int  # residual ones
    padding: Literal["zero", "reflect"]  # of G's strided and transposed convolutions; see `Generator`
    ndf: int  # channels of D's first map
    scales: int  # number of discriminators, each on images half as large as the one before


class Tuning(BaseModel):
    """Settings of fine-tuning. The paper: 40 epochs in batches of 8, that is 40, 40 and 160 steps for 1, 8 and 32 frames."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    epochs: int  # passes over the T frames
    max_steps: int | None  # upper limit of the steps; null: none
    batch: int
    lr: float  # constant

    def steps(self, T: int) -> int:
        """Updates on T frames."""
        steps = self.epochs * -(-T // self.batch)
        return steps if self.max_steps is None else min(steps, self.max_steps)


class Config(importer.Config):
    """Settings of networks, losses, optimiser, training and fine-tuning."""

    micro_batch: PositiveInt  # episodes per process and backward pass; at or above its share of the batch: all at once
    precision: Precision
    networks: Networks
    features: float  # weight of feature matching and of the VGG term; 10 for both in the published code
    vgg: bool  # the VGG19 term (torchvision's weights, provided by the user), as in the published code
    adam: Adam
    lr: float  # of G and of D
    schedule: Schedule
    tuning: Tuning


class Residual(nn.Module):
    """x + IN(conv(relu(IN(conv(x))))), 3x3, reflected borders."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(c, c, 3), nn.Conv2d(c, c, 3)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, c, h, w) -> the same shape."""
        h = F.relu(normalised(self.conv1(reflected(x, 1))))
        return x + normalised(self.conv2(reflected(h, 1)))


class Generator(nn.Module):
    """The global generator (models/networks.py, GlobalGenerator): down, residual blocks, up; instance norm without parameters.

    On a flat image, such as thin lines on black, instance norm amplifies the small effect of zero padding, and spots appear.
    padding "reflect" is the authors' advice against it (their issue 46); "zero" is their default.
    """

    def __init__(self, net: Networks) -> None:
        super().__init__()
        wide = [net.ngf * 2**n for n in range(net.downsamplings + 1)]
        self.reflect = net.padding == "reflect"
        zeros = 0 if self.reflect else 1
        self.head = nn.Conv2d(3, net.ngf, 7)
        self.down = nn.ModuleList(nn.Conv2d(a, b, 3, 2, zeros) for a, b in pairwise(wide))
        self.blocks = nn.ModuleList(Residual(wide[-1]) for _ in range(net.blocks))
        self.up = nn.ModuleList(nn.ConvTranspose2d(a, b, 3, 2, zeros, zeros) for a, b in pairwise(wide[::-1]))
        self.tail = nn.Conv2d(net.ngf, 3, 7)

    def forward(self, y: Tensor) -> Tensor:
        """y (B, 3, H, W) in [-1, 1] -> x_hat (B, 3, H, W) in [-1, 1]; H and W multiples of 2^downsamplings."""
        h = F.relu(normalised(self.head(reflected(y, 3))))
        for conv in self.down:
            h = F.relu(normalised(self.halved(conv, h)))
        for block in self.blocks:
            h = block(h)
        for conv in self.up:
            h = F.relu(normalised(self.doubled(conv, h)))
        return torch.tanh(self.tail(reflected(h, 3)))

    def halved(self, conv: nn.Module, h: Tensor) -> Tensor:
        """h (B, c, h, w) -> (B, 2c, h/2, w/2)."""
        out: Tensor = conv(reflected(h, 1) if self.reflect else h)
        return out

    def doubled(self, conv: nn.Module, h: Tensor) -> Tensor:
        """h (B, c, h, w) -> (B, c/2, 2h, 2w). With reflection, the crop keeps the pixels that zero padding would give."""
        out: Tensor = conv(reflected(h, 1))[..., 3:-2, 3:-2] if self.reflect else conv(h)
        return out


class Patches(nn.Module):
    """One PatchGAN (models/networks.py, NLayerDiscriminator with n_layers 3)."""

    def __init__(self, ndf: int) -> None:
        super().__init__()
        wide = (6, *(min(ndf * 2**n, 512) for n in range(4)), 1)
        strides = (2, 2, 2, 1, 1)
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 4, s, 2) for (a, b), s in zip(pairwise(wide), strides))

    def forward(self, h: Tensor) -> list[Tensor]:
        """h (B, 6, H, W) -> five maps; the last, (B, 1, H/8 + 3, W/8 + 3), holds the scores."""
        maps = []
        for n, conv in enumerate(self.convs):
            h = conv(h)
            if 0 < n < 4:
                h = normalised(h)
            if n < 4:
                h = F.leaky_relu(h, SLOPE)
            maps.append(h)
        return maps


class Discriminator(nn.Module):
    """PatchGANs on the image and on smaller ones (models/networks.py, MultiscaleDiscriminator)."""

    def __init__(self, net: Networks) -> None:
        super().__init__()
        self.scales = nn.ModuleList(Patches(net.ndf) for _ in range(net.scales))

    def forward(self, y: Tensor, x: Tensor) -> Maps:
        """Landmark images y and images x, (B, 3, H, W) in [-1, 1] -> maps of each scale, the finest first."""
        h, found = torch.cat([y, x], 1), []
        for n, scale in enumerate(self.scales):
            h = F.avg_pool2d(h, 3, 2, 1, count_include_pad=False) if n else h
            found.append(scale(h))
        return found


def normalised(h: Tensor) -> Tensor:
    """Instance norm without parameters or running statistics; in float32, since it amplifies rounding on flat maps."""
    return F.instance_norm(h.float())


def reflected(h: Tensor, n: int) -> Tensor:
    """h with n reflected pixels added at each border."""
    return F.pad(h, (n, n, n, n), "reflect")


def initialised(part: nn.Module) -> None:
    """Initialises weights of convolutions by N(0, 0.02); biases keep torch's initialisation, as in the published code."""
    if isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(part.weight, 0.0, 0.02)


def l_gan(judged: Maps, truth: float) -> Tensor:
    """sum over scales of mean (D_s - truth)^2: least squares; truth is 1 for real, 0 for generated."""
    return torch.stack([(maps[-1].float() - truth).square().mean() for maps in judged]).sum()


def l_fm(real: Maps, fake: Maps) -> Tensor:
    """1/S sum_s sum_j mean |D_sj(x) - D_sj(x_hat)| over all maps but the scores; no gradient reaches those of x."""
    terms = [F.l1_loss(b.float(), a.detach().float()) for r, f in zip(real, fake) for a, b in zip(r[:-1], f[:-1])]
    return torch.stack(terms).sum() / len(real)


def l_vgg(net: VGG, x: Tensor, x_hat: Tensor) -> Tensor:
    """sum_l v_l mean |f_l(x) - f_l(x_hat)|, v = VGG_WEIGHTS; x, x_hat (B, 3, H, W) in the range that `net` takes."""
    with torch.no_grad():
        real = net.taps(x)
    terms = [v * F.l1_loss(b.float(), a.float()) for v, a, b in zip(VGG_WEIGHTS, real, net.taps(x_hat), strict=True)]
    return torch.stack(terms).sum()


class Pair:
    """A G and a D trained against each other: of all training people, or of one new person."""

    def __init__(self, G: Generator, D: Discriminator, config: Config, lr: float, vgg: VGG | None) -> None:
        self.G, self.D, self.config, self.vgg = G, D, config, vgg
        self.optimisers = {"G": config.adam.over(G.parameters(), lr), "D": config.adam.over(D.parameters(), lr)}

    def learn(self, x: Tensor, y: Tensor, step: int, who: str) -> dict[str, float]:
        """One update of G and of D, both from the frames of the G before it. x, y (B, 3, H, W) in [-1, 1].

        InputError: a term is not finite.
        """
        self.zero_grad()
        numbers = self.backward(x, y, step, who)
        self.step()
        return numbers

    def backward(self, x: Tensor, y: Tensor, step: int, who: str, share: float = 1.0) -> dict[str, float]:
        """Adds the gradients of both, times `share`, the fraction of the batch in x and y -> the terms, times the same."""
        terms, l_dsc = self.losses(x, y)
        numbers = finite({**terms, "l_dsc": l_dsc}, step, who)
        loss = torch.stack([term * (1.0 if name == "l_gan" else self.config.features) for name, term in terms.items()]).sum()
        for objective in (loss, l_dsc):
            (share * objective).backward()
        return {name: share * number for name, number in numbers.items()}

    def zero_grad(self) -> None:
        """Clears the gradients before the first backward pass of an update."""
        for optimiser in self.optimisers.values():
            optimiser.zero_grad()

    def step(self) -> None:
        """Makes a step of both optimisers with the current gradients."""
        for optimiser in self.optimisers.values():
            optimiser.step()

    def losses(self, x: Tensor, y: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """({l_gan, l_fm, l_vgg} of G, l_dsc of D) from one forward pass of G and three of D. D is constant in G's terms."""
        with autocast(self.config.precision, x.device):
            x_hat = self.G(y)
            fake, real = self.D(y, x_hat.detach()), self.D(y, x)
            with frozen(self.D):
                judged = self.D(y, x_hat)
            terms = {"l_gan": l_gan(judged, 1.0), "l_fm": l_fm(real, judged)}
            if self.vgg is not None:
                terms["l_vgg"] = l_vgg(self.vgg, x, x_hat.float())
        return terms, 0.5 * (l_gan(fake, 0.0) + l_gan(real, 1.0))


class Pix2PixHD(importer.Baseline):
    """One G and one D of all training people; both are fine-tuned on the T frames of a new person."""

    name, label = "pix2pixhd", "Pix2pixHD"
    driven_by: ClassVar[Literal["landmarks", "frames"]] = "landmarks"
    fine_tunes = shares_batches = True
    Config: ClassVar[type[Settings]] = Config
    kinds = ("G", "D")
    extras = frozenset({"running_mean", "running_var", "num_batches_tracked"})  # of instance norm, as torch < 0.4 wrote them

    def __init__(self, config: Any, facts: DataInfo, seed: int = 0) -> None:
        super().__init__(config, facts, seed)
        least = 2 ** (config.networks.downsamplings + 1)
        if facts.size < least or facts.size % (least // 2):
            raise InputError(f"pix2pixhd: {facts.size} px cannot be halved {config.networks.downsamplings} times down to 2 px "
                             f"or more; use a multiple of {least // 2} from {least} on, or lower networks.downsamplings")
        self.place, self.step = device(), 0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.G = Generator(config.networks).apply(initialised).to(self.place)
            self.D = Discriminator(config.networks).apply(initialised).to(self.place)

    def whose(self) -> str:
        return "imported weights" if self.config.pretrained and not self.config.steps else "ours"

    def published(self, kind: str) -> dict[str, str]:
        """Names of `*_net_G.pth` (56 at the authors' sizes) or `*_net_D.pth` (20) -> ours. Their scale 0 is the coarsest."""
        return {theirs: f"{kind}.{ours}" for theirs, ours in published_names(kind, self.config.networks).items()}

    @cached_property
    def pair(self) -> Pair:
        return Pair(self.G, self.D, self.config, self.config.lr, self.vgg)

    @cached_property
    def vgg(self) -> VGG | None:
        """VGG19 on images in [-1, 1] without further normalisation, as in the published code (their issue 136)."""
        if not self.config.vgg:
            return None
        from model.backbones import perceptual

        net = perceptual.vgg19("torchvision").to(self.place)
        net.mean.zero_()
        net.std.fill_(1.0)
        return net

    def backbones(self) -> dict[str, str]:
        from model.backbones import registry

        return super().backbones() | (registry.hashes("vgg19_torchvision") if self.config.vgg else {})

    @property
    def nets(self) -> dict[str, nn.Module]:
        return {"G": self.G, "D": self.D}

    def learn(self, episode: Episode) -> dict[str, float]:
        """One update on the targets and their landmark images; source frames are not used. InputError: a term is not finite.

        `episode` is this process's share of the batch; the returned scalars are those of the whole batch.
        """
        size = self.facts.size
        if episode.x_t.shape[1:] != (3, size, size):
            raise InputError(f"an episode has targets {tuple(episode.x_t.shape)}, but the method is for {size} px: make both "
                             "from the same data")
        lr = self.config.lr * self.config.schedule.factor(self.step, self.config.steps)
        for optimiser in self.pair.optimisers.values():
            optimiser.param_groups[0]["lr"] = lr
        x, y = self._received(episode.x_t, episode.y_t)
        self.pair.zero_grad()
        shares = []
        for part_x, part_y, i in zip(*(whole.split(self.config.micro_batch) for whole in (x, y, episode.i))):
            with distributed.together():
                videos = "videos " + ", ".join(map(str, i.tolist()))
                shares.append(self.pair.backward(part_x, part_y, self.step, videos, len(i) / len(episode.i)))
        distributed.mean_gradients([*self.G.parameters(), *self.D.parameters()])
        self.pair.step()
        self.step += 1
        return distributed.mean({name: sum(share[name] for share in shares) for name in shares[0]})

    def adapt(self, x: Tensor, y: Tensor, seed: int = 0, report: Callable[[int, int], None] | None = None) -> Head:
        """Fine-tunes copies of G and D on the T frames, with new Adam moments; the copy of G generates.

        Frames are not mirrored: left and right parts of the face have different colours in y, so that a mirrored pair would
        show the right eye in the left one's colour. In meta-learning the episode reader can mirror, because it rasterises the
        landmarks itself.
        """
        tuning = self.config.tuning
        own = Pair(copy.deepcopy(self.G), copy.deepcopy(self.D), self.config, tuning.lr, self.vgg)
        x, y = self._received(x, y)
        steps = tuning.steps(len(x))
        for step, rows in zip(range(steps), _batches(len(x), tuning.batch, seed)):
            own.learn(x[rows], y[rows], step, "the new person")
            if report:
                report(step + 1, steps)
        return self.head(own.G)

    def preview(self, x: Tensor, y: Tensor) -> Head:
        """The head of the meta-learned G, without fine-tuning."""
        return self.head(copy.deepcopy(self.G))

    def head(self, G: Generator) -> Head:
        """A person's own G -> the head."""
        G = G.requires_grad_(False)
        G.zero_grad()  # frees the gradients, which take as much memory as the weights

        def generate(pose: Tensor) -> Tensor:
            with autocast(self.config.precision, self.place):
                frames = [G(part).float() for part in self._received(pose)[0].split(CHUNK)]
            return (torch.cat(frames).to(pose.device) + 1) / 2

        return Head(generate, self.facts.size)

    def _received(self, *images: Tensor) -> list[Tensor]:
        """Images in [0, 1] -> in [-1, 1], on the device of the networks."""
        return [image.to(self.place) * 2 - 1 for image in images]

    def state(self) -> dict[str, Any]:
        return {"step": self.step, "G": self.G.state_dict(), "D": self.D.state_dict(),
                **{f"optimiser_{name}": optimiser.state_dict() for name, optimiser in self.pair.optimisers.items()}}

    def load_state(self, state: dict[str, Any]) -> None:
        self.step = state["step"]
        self.G.load_state_dict(state["G"])
        self.D.load_state_dict(state["D"])
        for name, optimiser in self.pair.optimisers.items():
            optimiser.load_state_dict(state[f"optimiser_{name}"])


def published_names(kind: str, net: Networks) -> dict[str, str]:
    """Published name of each tensor of G or D -> its name in `Generator` or `Discriminator`."""
    layers = _layers_G(net) if kind == "G" else _layers_D(net)
    return {f"{theirs}.{part}": f"{ours}.{part}" for theirs, ours in layers.items() for part in ("weight", "bias")}


def _layers_G(net: Networks) -> dict[str, str]:
    """Published name of each layer of G -> ours. A convolution with its norm and activation counts 3, a block counts 1."""
    n, block, up = net.downsamplings, 4 + 3 * net.downsamplings, 4 + 3 * net.downsamplings + net.blocks
    layers = {"model.1": "head", **{f"model.{4 + 3 * k}": f"down.{k}" for k in range(n)}}
    for k in range(net.blocks):
        theirs, ours = f"model.{block + k}.conv_block", f"blocks.{k}"
        layers |= {f"{theirs}.1": f"{ours}.conv1", f"{theirs}.5": f"{ours}.conv2"}
    return layers | {f"model.{up + 3 * k}": f"up.{k}" for k in range(n)} | {f"model.{up + 3 * n + 1}": "tail"}


def _layers_D(net: Networks) -> dict[str, str]:
    """Published name of each layer of D -> ours."""
    return {f"scale{scale}_layer{layer}.0": f"scales.{net.scales - 1 - scale}.convs.{layer}"
            for scale in range(net.scales) for layer in range(5)}


def _batches(T: int, batch: int, seed: int) -> Iterator[Sequence[int]]:
    """Yields row indices of shuffled epochs forever; the last batch of an epoch may be smaller."""
    order = torch.Generator().manual_seed(seed)
    while True:
        yield from (rows.tolist() for rows in torch.randperm(T, generator=order).split(batch))


METHOD = Pix2PixHD
