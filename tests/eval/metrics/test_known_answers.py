"""Every column against a closed form, and against code that shares nothing with it."""

import numpy as np
import pytest
from made_metrics import COLUMNS, SIZE, Describer, Landmarker, face, lpips_net, noisy, points_of, smooth, stand_in, value


@pytest.fixture(params=COLUMNS)
def column(request, monkeypatch):
    found = stand_in(request.param, monkeypatch, whole=True)
    found.patch = monkeypatch.setattr
    return found


def flat(shade):
    return np.full((1, 3, 20, 20), shade, np.float32)


def known_ssim(found):
    # Two constant gray images: variances vanish, and what is left of the formula is (2ab + C1)/(a² + b² + C1).
    return found.per_frame(flat(0.2), flat(0.6), None)[0], (2 * 0.12 + 1e-4) / (0.04 + 0.36 + 1e-4), 1e-6


def known_l1(found):
    a, b = flat(0.2), flat(0.6)
    b[:, 0] = 0.2
    return found.per_frame(a, b, None)[0], 0.8 / 3, 1e-6


def known_psnr(found):
    return found.per_frame(flat(0.2), flat(0.3), None)[0], 20, 1e-6  # MSE = 0.01


def known_sharpness(found):
    # A ramp along the diagonal beside one of twice its slope.
    ramp = np.broadcast_to(np.add.outer(np.arange(20), np.arange(20)) / 100, (1, 3, 20, 20)).astype(np.float32)
    return found.per_frame(ramp, 2 * ramp, None)[0], 0.5, 1e-6


def known_csim(found):
    # Descriptors e and 4 e + 3 f with e, f orthonormal: the cosine is 4/5.
    sides = iter((np.eye(6), 3 * np.roll(np.eye(6), 1, 1) + 4 * np.eye(6)))
    found._describe = lambda images, points: next(sides)
    return found.per_frame(smooth(1), smooth(1), face(6))[0], 0.8, 1e-12


def known_iderr(found):
    # Real descriptors e_1, e_2 (orthonormal), generated e_1 twice: the mean (e_1 + e_2)/2 has product 1/2 with e_1, not √½.
    sides = iter((np.eye(6)[[0, 1]], np.eye(6)[[0, 0]]))
    found._describe = lambda images, points: next(sides)
    return found.per_frame(smooth(1, n=2), smooth(1, n=2), face(2))[0], 0.5, 1e-12


def known_nme(found):
    # Every point 3 right and 4 down of where it was: a distance of 5, over that of the outer eye corners.
    found.found = lambda fake, points: points + np.array([3.0, 4.0])
    return found.per_frame(smooth(1, n=1), smooth(1, n=1), face(1))[0], 5 / np.hypot(*(face(1)[0, 36] - face(1)[0, 45])), 1e-6


def known_akd(found):
    # (3 + 4) / 2 pixels of 48 are so many of 256.
    found.found = lambda fake, points: points + np.array([3.0, 4.0])
    return found.per_frame(smooth(1, n=1), smooth(1, n=1), face(1))[0], 3.5 * 256 / SIZE, 1e-6


def known_lpips(found):
    # Orthogonal features of length 1 everywhere: each layer's distance is the sum of the two channels' weights.
    import torch

    net = lpips_net(found.net)
    maps = [[torch.eye(w.numel())[j].view(1, -1, 1, 1).expand(-1, -1, 4, 4) for w in net.heads] for j in (0, 1)]
    turn = iter(maps)
    net.taps = lambda x: next(turn)
    try:
        due = sum(float(w.ravel()[:2].sum()) for w in net.heads)
        return found.per_frame(smooth(1, n=1), smooth(2, n=1), None)[0], due, 1e-6
    finally:
        del net.taps


def known_fd(found):
    # One dimension: (μ_r − μ_f)² + (σ_r − σ_f)².
    real, fake = np.array([[0.0], [2.0], [4.0]]), np.array([[10.0], [11.0], [12.0]])
    return found.value(real, fake, np.arange(3)), 81 + 1, 1e-9


def known_kd(found):
    # One dimension, k = (xy + 1)³. Real 1, 3 of one person and 2, 2 of another: across people 3³ and 7³; generated all 0: 1.
    real, fake = np.array([[1.0], [3.0], [2.0], [2.0]]), np.zeros((4, 1))
    return found.value(real, fake, np.array([0, 0, 1, 1])), (3**3 + 7**3) / 2 + 1 - 2, 1e-12


KNOWN = {"fid": known_fd, "kid": known_kd} | {name.removeprefix("known_"): test for name, test in globals().copy().items()
                                              if name.startswith("known_")}


def test_known_answer(column):
    found, due, tolerance = KNOWN[column.name.split("_")[0]](column)
    assert found == pytest.approx(due, rel=tolerance)


def of_ssim(found, real, fake):
    from skimage.metrics import structural_similarity

    wang = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    settings = {} if found.name == "ssim_skimage" else wang
    if found.name == "ssim_gray":
        real, fake = (np.einsum("nchw,c->nhw", x.astype(np.float64), (0.299, 0.587, 0.114)) for x in (real, fake))
    axis = None if found.name == "ssim_gray" else 0
    pairs = zip(real.astype(np.float64), fake.astype(np.float64))
    return np.mean([structural_similarity(x, y, channel_axis=axis, data_range=1, **settings) for x, y in pairs])


def of_psnr(found, real, fake):
    from skimage.metrics import peak_signal_noise_ratio

    return np.mean([peak_signal_noise_ratio(x.astype(np.float64), y.astype(np.float64), data_range=1)
                    for x, y in zip(real, fake)])


def of_l1(found, real, fake):
    return sum(abs(float(a) - float(b)) for a, b in zip(real.flat, fake.flat)) / real.size


def of_sharpness(found, real, fake):
    import cv2

    def energy(image):
        gray = cv2.cvtColor(image.transpose(1, 2, 0), cv2.COLOR_RGB2GRAY).astype(np.float64)
        step = np.array([[-1.0, 1]])
        along, down = (cv2.filter2D(gray, -1, kernel, anchor=(0, 0)) for kernel in (step, step.T))
        return cv2.magnitude(along, down)[:-1, :-1].mean()

    return np.mean([min(energy(x) / energy(y), energy(y) / energy(x)) for x, y in zip(real, fake)])


def descriptors(images):
    pixels = np.rint(images.transpose(0, 2, 3, 1) * 255).astype(np.uint8)
    return [Describer()(image, None).astype(np.float64) for image in pixels]


def of_csim(found, real, fake):
    from scipy.spatial.distance import cosine

    return np.mean([1 - cosine(a, b) for a, b in zip(descriptors(real), descriptors(fake))])


def of_iderr(found, real, fake):
    from scipy.spatial.distance import cosine

    return np.mean([cosine(a, b) for a in descriptors(real) for b in descriptors(fake)])


def redetected(images):
    return [*Landmarker().predict(np.rint(images.transpose(0, 2, 3, 1) * 255).astype(np.uint8), None)]


def of_nme(found, real, fake):
    from scipy.spatial.distance import euclidean

    return np.mean([euclidean(p, q) / euclidean(points[36], points[45])
                    for points, other in zip(points_of(found, real), redetected(fake)) for p, q in zip(points, other)])


def of_akd(found, real, fake):
    from scipy.spatial.distance import cityblock

    apart = [cityblock(p.ravel(), q.ravel()) / 136 for p, q in zip(points_of(found, real), redetected(fake))]
    return np.mean(apart) * 256 / SIZE


def of_lpips(found, real, fake):
    """torchmetrics' LPIPS on the same random trunk."""
    import torch

    from model.backbones import registry

    registry.torchvision_ops()
    import torchvision
    from torchmetrics.functional.image import lpips
    from torchmetrics.functional.image.lpips import _LPIPS

    # Without the classifier, whose random start takes ten seconds.
    found.patch(lpips, "_get_tv_model_features", lambda net, _: torchvision.models.alexnet().features if net == "alexnet" else
                torchvision.models.vgg.make_layers(torchvision.models.vgg.cfgs["D"]))
    theirs, ours = _LPIPS(net=found.net, pnet_rand=True), lpips_net(found.net)
    convs = [layer for layer in theirs.net.modules() if isinstance(layer, torch.nn.Conv2d)]
    assert len(convs) == len(ours.convs)
    for conv, own in zip(convs, ours.convs):
        conv.load_state_dict(own.state_dict())
    with torch.no_grad():
        return float(theirs(torch.from_numpy(real), torch.from_numpy(fake), normalize=True).mean())


def of_fd(found, real, fake):
    from scipy.linalg import sqrtm

    r, f = found.features(real).astype(np.float64), found.features(fake).astype(np.float64)
    root = sqrtm(np.cov(r, rowvar=False) @ np.cov(f, rowvar=False))
    return ((r.mean(0) - f.mean(0)) ** 2).sum() + np.trace(np.cov(r, rowvar=False) + np.cov(f, rowvar=False) - 2 * root.real)


def of_kd(found, real, fake):
    r, f = found.features(real).astype(np.float64), found.features(fake).astype(np.float64)
    pairs = [(i, j) for i in range(len(r)) for j in range(len(r)) if i // 2 != j // 2]

    def k(x, y):
        return (sum(a * b for a, b in zip(x, y)) / len(x) + 1) ** 3

    return np.mean([k(r[i], r[j]) + k(f[i], f[j]) - k(r[i], f[j]) - k(f[i], r[j]) for i, j in pairs])


INDEPENDENT = {"fid": (of_fd, 1e-4), "fd": (of_fd, 1e-4), "kid": (of_kd, 1e-9), "kd": (of_kd, 1e-9), "ssim": (of_ssim, 1e-10),
               "psnr": (of_psnr, 1e-10), "l1": (of_l1, 1e-9), "sharpness": (of_sharpness, 1e-5), "csim": (of_csim, 1e-9),
               "iderr": (of_iderr, 1e-9), "nme": (of_nme, 1e-6), "akd": (of_akd, 1e-6), "lpips": (of_lpips, 1e-4)}


def test_agrees_with_an_independent_implementation(column):
    real = smooth(2)
    fake = noisy(smooth(3) * 0.5 + real * 0.5, 0.05)
    due, bound = INDEPENDENT[column.name.split("_")[0]]
    assert value(column, real, fake) == pytest.approx(due(column, real, fake), rel=bound)
