"""KID (Bińkowski et al. 2018) with the Inception-2015 features. Only with that network has it that name."""

from __future__ import annotations

from eval.metrics.kd import WORDS, Kernel
from eval.scoring.features import Inception


class Kid(Inception, Kernel):
    """With the features of Inception-2015."""

    label = "KID"
    compares = f"kernel distance of the pooled Inception-2015 features (2048): {WORDS}; {Inception.recipe}"


COLUMNS = ("kid",)
METRIC = Kid
