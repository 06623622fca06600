"""FID: Fréchet distance of the Inception-2015 features of Heusel et al. 2017. With another network it is not called FID.

Needs the weights file and the extra `fid` (torch-fidelity implements the network for these weights). Resize and quantisation
are torch-fidelity's: 8-bit RGB in, TensorFlow-1 bilinear resize to 299 px.
"""

from __future__ import annotations

from eval.metrics.fd import Frechet
from eval.scoring.features import Inception


class Fid(Inception, Frechet):
    """Fréchet distance of Inception-2015 features."""

    label = "FID"
    compares = (f"Fréchet distance of the pooled Inception-2015 features (2048) of all real and all generated hold-out frames; "
                f"{Inception.recipe}. With fewer than 2048 frames the covariances are rank-deficient and the value is biased "
                f"upwards")


COLUMNS = ("fid",)
METRIC = Fid
