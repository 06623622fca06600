"""Fréchet distance of image features, named after the features: `fd_efflite0` is not FID and not comparable with it."""

from __future__ import annotations

import numpy as np

from eval.scoring.features import EffLite0
from eval.scoring.metric import OfSets


class Frechet(OfSets):
    """|μ_r − μ_f|² + tr Σ_r + tr Σ_f − 2 tr (Σ_r Σ_f)^½, unbiased covariances, float64."""

    better, unit, range, main = "lower", "squared feature distance", (0.0, float("inf")), True

    def value(self, real: np.ndarray, fake: np.ndarray, whose: np.ndarray) -> float:
        if min(len(real), len(fake)) < 2:
            return np.nan  # one frame has no covariance
        a, b = real.astype(np.float64), fake.astype(np.float64)
        shift = a.mean(0) - b.mean(0)
        a, b = a - a.mean(0), b - b.mean(0)
        n, m = len(a) - 1, len(b) - 1
        # With A, B the centred features, tr (Σ_r Σ_f)^½ is the sum of the singular values of A Bᵀ / sqrt(n m): exact for n < d,
        # unlike the square root of the rank-deficient d x d product. R of A = Q R keeps it small for n > d.
        a, b = _short(a), _short(b)
        cross = np.linalg.svd(a @ b.T, compute_uv=False).sum() / np.sqrt(n * m)
        return max(0.0, float(shift @ shift + (a**2).sum() / n + (b**2).sum() / m - 2 * cross))

    def resampled(self, real: np.ndarray, fake: np.ndarray, whose: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """The distance of each resample -> (R,), from inner products: no resample touches the d-dimensional features again."""
        centre = real.mean(0, dtype=np.float64)
        x = np.concatenate([real - centre, fake - centre])
        gram, n = x @ x.T, len(real)
        return np.array([_weighted(gram[:n, :n], gram[n:, n:], gram[:n, n:], np.asarray(w, np.float64)) for w in counts])


def _short(x: np.ndarray) -> np.ndarray:
    """x (n, d) -> R of x = Q R where n > d, else x: products keep their singular values, the matrix gets smaller."""
    return np.asarray(np.linalg.qr(x, "r")) if len(x) > x.shape[1] else x


def _weighted(rr: np.ndarray, ff: np.ndarray, rf: np.ndarray, w: np.ndarray) -> float:
    """The distance with frame j repeated w[j] times. rr, ff, rf (n, n): inner products of real and generated features."""
    keep = w > 0
    rr, ff, rf, w = rr[np.ix_(keep, keep)], ff[np.ix_(keep, keep)], rf[np.ix_(keep, keep)], w[keep]
    p = w / w.sum()
    to_r, to_f, across = p @ rr @ p, p @ ff @ p, p @ rf @ p  # <μ_r, μ_r>, <μ_f, μ_f>, <μ_r, μ_f>
    centred = rf - (p @ rf)[None, :] - (rf @ p)[:, None] + across
    n = w.sum() - 1
    cross = _nuclear(np.sqrt(w)[:, None] * centred * np.sqrt(w)) / n
    spread = (w @ np.diag(rr) - w.sum() * to_r + w @ np.diag(ff) - w.sum() * to_f) / n
    return max(0.0, float(to_r + to_f - 2 * across + spread - 2 * cross))


def _nuclear(m: np.ndarray) -> float:
    """Sum of the singular values of m (n, n), in half the time of an SVD; values below 1e-7 of the largest are noise."""
    squared = np.linalg.eigvalsh(m @ m.T)
    return float(np.sqrt(squared[squared > 1e-14 * squared[-1]]).sum())


class FrechetEffLite0(EffLite0, Frechet):
    """Fréchet distance of EfficientNet-Lite0 features."""

    label = "FD (EfficientNet-Lite0)"
    compares = (f"Fréchet distance of the pooled EfficientNet-Lite0 features (1280) of all real and all generated hold-out "
                f"frames; {EffLite0.recipe}. NOT an FID: another network, another scale. Biased upwards for few frames, like "
                f"every Fréchet distance")


COLUMNS = ("fd_efflite0",)
METRIC = FrechetEffLite0
