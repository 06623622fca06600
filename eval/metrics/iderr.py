"""Identity error of Burkov et al. 2020: distance of a generated face from the person's mean descriptor, not from one frame."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from eval.scoring.features import Described


class IdentityError(Described):
    """1 − <e(x̂), m>, m = mean over the person's real frames of e(x), |e| = 1, m NOT normalised again.

    Equals 1 − the mean cosine of x̂ with every real frame. Real frames score 1 − |m|² on average, not 0.
    """

    better, unit, range = "lower", "1 − cosine", (0.0, 2.0)
    descriptors: ClassVar = {"iderr_dlib128": "dlib128", "iderr_facenet": "facenet_vggface2"}

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.label = f"identity error ({self.net})"
        self.compares = (f"face descriptors ({self.net}, {self.width} dimensions) of the generated frame and the mean "
                         f"descriptor of the person's real hold-out frames (Burkov et al. 2020; the mean is not re-normalised, "
                         f"so real frames do not reach 0 either); aligned by the real frame's 68 landmarks; {self.cut}")
        self.crosses = ("the generated frame, aligned by the 68 landmarks of the DRIVING frame, against the mean descriptor of "
                        f"the person's own real hold-out frames, each aligned by its own ({self.net}, {self.width} dimensions)")

    def per_frame(self, real: np.ndarray, fake: np.ndarray, points: np.ndarray) -> np.ndarray:
        """The errors of ONE person's frames, (n,): the mean descriptor is taken over `real`."""
        return self.driven(real, points, real, fake, points)

    def driven(self, own: np.ndarray, at: np.ndarray, driving: np.ndarray, fake: np.ndarray, points: np.ndarray) -> np.ndarray:
        """The errors in cross-reenactment, (n,): x̂ is aligned by the DRIVING landmarks, the person's own frames by theirs."""
        (known, e), (seen, e_hat) = self.units(own, at), self.units(fake, points)
        error = np.full(len(fake), np.nan)
        error[seen] = 1 - (e_hat * e.mean(axis=0)).sum(axis=1) if known.any() else np.nan
        return error  # (n,)


COLUMNS = tuple(IdentityError.descriptors)
METRIC = IdentityError
