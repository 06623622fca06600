"""KID (Bińkowski et al. 2018): kernel distance of Inception-2015 features. With another network it is not called KID."""

from __future__ import annotations

from eval.metrics.kd import WORDS, Kernel
from eval.scoring.features import Inception


class Kid(Inception, Kernel):
    """Kernel distance of Inception-2015 features."""

    label = "KID"
    compares = f"kernel distance of the pooled Inception-2015 features (2048): {WORDS}; {Inception.recipe}"


COLUMNS = ("kid",)
METRIC = Kid
