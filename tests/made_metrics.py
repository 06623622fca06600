"""Pictures and stand-in networks for the tests of the metrics: their arithmetic is real, the weights are not the point."""

import importlib
from functools import lru_cache

import numpy as np

from eval.scoring import features, metric
from eval.scoring.metric import OfSets, PerFrame

COLUMNS = [name for file in metric.known() for name in importlib.import_module(f"eval.metrics.{file}").COLUMNS]
SIZE = 48


def smooth(seed, n=6, size=SIZE):
    """Random pictures with structure at several scales, multiples of 1/255."""
    import cv2

    rng = np.random.default_rng(seed)
    layers = [cv2.resize(rng.random((side, side, 3 * n)).astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
              for side in (3, 8, 20)]
    mixed = (0.5 * layers[0] + 0.3 * layers[1] + 0.2 * layers[2]).reshape(size, size, n, 3).transpose(2, 3, 0, 1)
    return eight_bits(mixed)


def eight_bits(images):
    return (np.rint(np.clip(images, 0, 1) * 255) / 255).astype(np.float32)


def noisy(images, sigma, seed=7):
    return eight_bits(images + sigma * np.random.default_rng(seed).standard_normal(images.shape))


def blurred(images, sigma):
    import cv2

    return eight_bits(np.stack([[cv2.GaussianBlur(plane, None, sigma) for plane in image] for image in images]))


class Describer:
    """A stand-in face network: the mean colours of a 4x4 grid."""

    def __call__(self, image, points):
        size = image.shape[0] // 4
        return image[:4 * size, :4 * size].reshape(4, size, 4, size, 3).mean((1, 3)).ravel().astype(np.float32) - 128


class Landmarker:
    """A stand-in landmark detector: fixed points, each moved by the brightness of a cell of a 4x4 grid."""

    def predict(self, images, boxes):
        grids = [Describer()(image, None).reshape(16, 3).mean(1) for image in images]
        return np.stack([face(1)[0] + 0.1 * np.resize(grid, 68)[:, None].astype(np.float32) for grid in grids])


class Pool:
    """A stand-in feature net."""

    def pool(self, x):
        import torch

        return torch.nn.functional.avg_pool2d(x, x.shape[-1] // 8).flatten(1) * 10


def lpips_trunk(net):
    """Random weights under torchvision's names."""
    import torch

    from model.backbones import lpips_networks

    generator, trunk, c, places = torch.Generator().manual_seed(0), {}, 3, iter(lpips_networks._places(net))
    for _, convs in lpips_networks.STAGES[net]:
        for c_out, kernel, _, _ in convs:
            name = f"features.{next(places)}"
            trunk[f"{name}.weight"] = torch.randn(c_out, c, kernel, kernel, generator=generator) * (2 / (kernel**2 * c)) ** 0.5
            trunk[f"{name}.bias"] = 0.1 * torch.randn(c_out, generator=generator)
            c = c_out
    return trunk


@lru_cache
def lpips_net(net):
    """LPIPS with its published heads on a random trunk."""
    from model.backbones import lpips_networks, registry

    return lpips_networks.Lpips(net, lpips_trunk(net), registry.state(f"lpips_{net}"), ("trunk", "heads"))


def face(n):
    """Landmarks of n frames, all alike: (n, 68, 2)."""
    return np.tile(np.random.default_rng(0).random((68, 2)).astype(np.float32) * SIZE, (n, 1, 1))


def stand_in(name, monkeypatch, whole=False):
    """A metric with its arithmetic real and its network a small fake.

    whole: LPIPS has its own trunk, else always AlexNet's, which is ten times faster than VGG16.
    """
    import torch

    found, module = metric.load(name), importlib.import_module(f"eval.metrics.{name.split('_')[0]}")
    monkeypatch.setattr(type(found), "backbones", {"net.bin": "0" * 64})
    if isinstance(found, features.Described):
        monkeypatch.setattr(features, "_descriptor", lambda name: Describer())
        found.width = 48
    if isinstance(found, features.Redetected):
        monkeypatch.setattr(features, "_landmarker", lambda name: Landmarker())
    if name.startswith("lpips"):
        net = lpips_net(found.net if whole else "alex")
        monkeypatch.setattr(module, "_network", lambda name: net)
    if isinstance(found, OfSets):
        monkeypatch.setattr(type(found), "forward", lambda self, x: Pool().pool(torch.from_numpy(x)).numpy())
        found.width = 192
    return found


def points_of(found, real):
    """Landmarks of the real frames, by the metric's own detector where it has one."""
    if not isinstance(found, features.Redetected):
        return face(len(real))
    return Landmarker().predict(np.rint(real.transpose(0, 2, 3, 1) * 255).astype(np.uint8), None)


def value(found, real, fake, whose=None):
    """Over people with two frames each unless `whose` says otherwise."""
    if isinstance(found, PerFrame):
        return found.per_frame(real, fake, points_of(found, real)).mean()
    return found.value(found.features(real), found.features(fake), np.arange(len(real)) // 2 if whose is None else whose)
