"""CSIM: cosine of two face descriptors. The column names the network; values of different networks are not comparable.

Both images are aligned by the landmarks of the TARGET (the real frame): no detector runs on the generated frame, so no
detection failure can be dropped. A frame without landmarks is NaN and is counted.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from eval.scoring.features import Described


class Csim(Described):
    """<e(x), e(x̂)> / (|e(x)| |e(x̂)|), e the descriptor of the face."""

    better, unit, range, main = "higher", "cosine", (-1.0, 1.0), True
    descriptors: ClassVar = {"csim_dlib128": "dlib128", "csim_facenet": "facenet_vggface2"}

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.label = f"CSIM ({self.net})"
        self.compares = (f"face descriptors ({self.net}, {self.width} dimensions) of the real and the generated frame, both "
                         f"aligned by the real frame's 68 landmarks, so no detection on generated frames and no dropped "
                         f"failures; {self.cut}")

    def per_frame(self, real: np.ndarray, fake: np.ndarray, points: np.ndarray) -> np.ndarray:
        seen, e, e_hat = self.described(real, fake, points)
        cosine = np.full(len(real), np.nan)
        cosine[seen] = (e * e_hat).sum(axis=1)
        return cosine  # (n,)


COLUMNS = tuple(Csim.descriptors)
METRIC = Csim
