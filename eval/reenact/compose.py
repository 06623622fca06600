"""From drawn crops to the pictures of the film: alone, beside the driver, or put back into a whole picture."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

import cv2
import numpy as np

from pipeline.frames import crops

View = Literal["crop", "side", "paste", "still"]
LEAST = 256  # pixels of a side of a drawn crop in `crop` and `side`: what is smaller is enlarged
EDGE = 0.08  # of the crop's side: over so much it fades into the person's own still
FADE = 0.06  # of the face's height: over so much the face fades into the driver's picture
FOREHEAD = 0.25  # of the height from brows to chin: so much above the brows belongs to the face
MOST = 1.5  # times the drawn contrast; a smooth face in hard light would become noise
LABEL = "synthetic"


@dataclass(frozen=True)
class Drawn:
    """One picture on its way out."""

    face: np.ndarray  # (size, size, 3) uint8, drawn
    picture: np.ndarray | None  # (H, W, 3) uint8, the driver's
    frame: crops.Frame | None  # of the crop in the driver's picture
    pose: np.ndarray  # (size, size, 3) uint8, landmark image
    points: np.ndarray | None  # (68, 2) in pixels of `face`; None: no face, `face` holds the last pose


def enlarged(size: int) -> int:
    """Pixels of a side of a drawn crop in the film."""
    return max(size, LEAST) // 2 * 2


def crop(drawn: Drawn) -> np.ndarray:
    """The drawn crop, enlarged to LEAST."""
    return resized(drawn.face, enlarged(len(drawn.face)))


def side(drawn: Drawn) -> np.ndarray:
    """The driver's crop, its landmark image where there is no picture, and the drawn one beside it."""
    size = enlarged(len(drawn.face))
    if drawn.picture is None or drawn.frame is None:
        left = resized(drawn.pose, size) if drawn.picture is None else np.zeros((size, size, 3), np.uint8)
    else:
        left = shown(drawn.picture, drawn.frame.box, size)
    return np.concatenate([left, crop(drawn)], 1)


def shown(picture: np.ndarray, box: crops.Box, size: int) -> np.ndarray:
    """The square `box` of a picture as (size, size, 3), the border repeated: crops.cut for the eye, fifty times as fast."""
    x0, y0 = round(box[0]), round(box[1])
    side, (height, width) = max(round(box[2] - box[0]), 1), picture.shape[:2]
    out = max(-x0, 0), max(x0 + side - width, 0), max(-y0, 0), max(y0 + side - height, 0)  # pixels beyond each border
    if min(side - out[0] - out[1], side - out[2] - out[3]) < 1:
        return np.zeros((size, size, 3), np.uint8)
    part = picture[max(y0, 0):y0 + side, max(x0, 0):x0 + side]
    return resized(cv2.copyMakeBorder(part, out[2], out[3], out[0], out[1], cv2.BORDER_REPLICATE), size)


def paste(drawn: Drawn) -> np.ndarray:
    """The drawn face in the driver's picture, which stays as it is outside the face and where it shows none."""
    assert drawn.picture is not None
    if drawn.points is None or drawn.frame is None:
        return drawn.picture
    mask, box = face_mask(drawn.points, len(drawn.face)), drawn.frame.box
    return _into(drawn.picture, toned(drawn.face, shown(drawn.picture, box, len(drawn.face)), mask), mask, box)


def toned(face: np.ndarray, there: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The drawn face in the light of the place: inside the mask each channel's mean becomes that of `there`.

    All (size, size, …); all channels are spread alike, by MOST at most: one by one, a grey picture would colour the noise.
    """
    weight = mask.reshape(-1, 1) / max(float(mask.sum()), 1e-6)
    drawn, due = (image.reshape(-1, 3).astype(np.float32) for image in (face, there))
    (m, s), (m_due, s_due) = (_spread(pixels, weight) for pixels in (drawn, due))
    out = (drawn - m) * np.clip(s_due.mean() / max(s.mean(), 1), 1 / MOST, MOST) + m_due
    return np.asarray(np.rint(out).clip(0, 255).reshape(face.shape), np.uint8)


def _spread(pixels: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mean = (pixels * weight).sum(0)
    return mean, np.sqrt((np.square(pixels - mean) * weight).sum(0))


def still(whole: np.ndarray, box: crops.Box, drawn: Drawn) -> np.ndarray:
    """The drawn crop in the person's own picture (H, W, 3), faded at its edge."""
    return _into(whole, drawn.face, _square(len(drawn.face)), box)


def face_mask(points: np.ndarray, size: int) -> np.ndarray:
    """(size, size) float32 in [0, 1]: 1 inside the face, fading inwards, 0 outside the hull of points (68, 2) and forehead."""
    brows = points[17:27]
    up = (points[27] - points[8]) * FOREHEAD
    hull = cv2.convexHull(np.concatenate([points, brows + up]).astype(np.float32))
    mask = np.zeros((size * 4, size * 4), np.uint8)
    cv2.fillConvexPoly(mask, np.rint((hull + .5) * 4 - .5).astype(np.int32), 1)
    depth = cv2.distanceTransform(cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT), cv2.DIST_L2, 5)[1:-1, 1:-1] / 4
    fade = max(FADE * float(np.ptp(points[:, 1])), 1.0)
    return np.asarray(cv2.resize(np.clip(depth / fade, 0, 1), (size, size), interpolation=cv2.INTER_AREA), np.float32)


@cache
def _square(size: int) -> np.ndarray:
    """(size, size) float32: 1 inside, fading to 0 at the edge."""
    from_edge = np.minimum(np.arange(size), np.arange(size)[::-1]) / (EDGE * size)
    return np.asarray(np.minimum.outer(from_edge, from_edge).clip(0, 1), np.float32)


def _into(whole: np.ndarray, face: np.ndarray, mask: np.ndarray, box: crops.Box) -> np.ndarray:
    """A copy of `whole` with `face` in the square `box`, as far as `mask` (both of the face's size) lets it."""
    height, width = whole.shape[:2]
    x0, y0 = max(int(np.floor(box[0])), 0), max(int(np.floor(box[1])), 0)
    x1, y1 = min(int(np.ceil(box[2])), width), min(int(np.ceil(box[3])), height)
    if x1 <= x0 or y1 <= y0:
        return whole
    step = len(face) / (box[2] - box[0])  # pixels of the drawn crop a pixel of the picture
    back = np.array([[step, 0, (x0 + .5 - box[0]) * step - .5], [0, step, (y0 + .5 - box[1]) * step - .5]])
    kind = cv2.INTER_CUBIC if step < 1 else cv2.INTER_LINEAR

    def placed(image: np.ndarray, border: int) -> np.ndarray:
        return np.asarray(cv2.warpAffine(image, back, (x1 - x0, y1 - y0), flags=kind | cv2.WARP_INVERSE_MAP, borderMode=border))

    share = placed(mask, cv2.BORDER_CONSTANT).clip(0, 1)[..., None]
    out = whole.copy()
    there = out[y0:y1, x0:x1]
    mixed = there + share * (placed(face, cv2.BORDER_REPLICATE).astype(np.float32) - there)
    there[...] = np.where(share > 0, np.rint(mixed).clip(0, 255), there)
    return out


def resized(image: np.ndarray, size: int) -> np.ndarray:
    """A square image at another size."""
    kind = cv2.INTER_CUBIC if size > len(image) else cv2.INTER_AREA
    return image if size == len(image) else np.asarray(cv2.resize(image, (size, size), interpolation=kind))


def even(image: np.ndarray) -> np.ndarray:
    """Without the last row and column where a side is odd: H.264 in 4:2:0 has no odd sides."""
    return np.ascontiguousarray(image[:len(image) // 2 * 2, :image.shape[1] // 2 * 2])


def labelled(image: np.ndarray) -> np.ndarray:
    """A copy with LABEL in white on black in the lower right corner, where `side` has the drawn face; letters a thirtieth of
    the height."""
    return _stamped(image, *_stamp(image.shape[0], image.shape[1]))


@cache
def _stamp(height: int, width: int) -> tuple[np.ndarray, int]:
    """The label (h, w, 3) and its distance from the corner."""
    font, letters = cv2.FONT_HERSHEY_SIMPLEX, max(height / 30, 10)
    scale = min(letters / 21, width / 2 / cv2.getTextSize(LABEL, font, 1.0, 1)[0][0])  # its capitals have 21 pixels at 1
    thickness = max(round(scale * 1.6), 1)
    (w, h), base = cv2.getTextSize(LABEL, font, scale, thickness)
    pad = max(round(h / 2), 2)
    stamp = np.zeros((h + base + pad, w + 2 * pad, 3), np.uint8)
    cv2.putText(stamp, LABEL, (pad, h + pad // 2), font, scale, (255, 255, 255), thickness, cv2.LINE_AA)
    return stamp, pad


def _stamped(image: np.ndarray, stamp: np.ndarray, gap: int) -> np.ndarray:
    out, (h, w) = image.copy(), stamp.shape[:2]
    bottom, right = max(len(image) - gap, h), max(image.shape[1] - gap, w)
    place = out[bottom - h:bottom, right - w:right]
    place[...] = np.maximum(stamp[:len(place), :place.shape[1]], place // 4)
    return out

