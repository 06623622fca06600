"""Composes frames of the output video from generated crops: alone, beside the driving frame, or pasted into a whole image."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

import cv2
import numpy as np

from pipeline.frames import crops

View = Literal["crop", "side", "paste", "still"]
LEAST = 256  # minimum side of a generated crop in `crop` and `side`, pixels: smaller ones are enlarged
EDGE = 0.08  # width of the feathered edge towards the person's own image, in sides of the crop
FADE = 0.06  # width of the feathered edge towards the driving frame, in heights of the face
FOREHEAD = 0.25  # height of the forehead above the brows, in distances from brows to chin
MOST = 1.5  # largest gain of contrast; more would turn a smooth face in hard light into noise
LABEL = "synthetic"


@dataclass(frozen=True)
class Drawn:
    """One generated frame and what it was generated from."""

    face: np.ndarray  # (size, size, 3) uint8, generated
    driving: np.ndarray | None  # (H, W, 3) uint8, the driving frame
    frame: crops.Frame | None  # of the crop in the driving frame
    pose: np.ndarray  # (size, size, 3) uint8, landmark image
    points: np.ndarray | None  # (68, 2) in pixels of `face`; None: no face, `face` keeps the last pose


def enlarged(size: int) -> int:
    """Side of a generated crop in the output video, pixels; even."""
    return max(size, LEAST) // 2 * 2


def crop(generated: Drawn) -> np.ndarray:
    """The generated crop, enlarged to LEAST if smaller."""
    return resized(generated.face, enlarged(len(generated.face)))


def side(generated: Drawn) -> np.ndarray:
    """The driving crop (its landmark image if there is no frame) and the generated crop, side by side."""
    size = enlarged(len(generated.face))
    if generated.driving is None or generated.frame is None:
        left = resized(generated.pose, size) if generated.driving is None else np.zeros((size, size, 3), np.uint8)
    else:
        left = cut(generated.driving, generated.frame.box, size)
    return np.concatenate([left, crop(generated)], 1)


def cut(image: np.ndarray, box: crops.Box, size: int) -> np.ndarray:
    """The square `box` of an image as (size, size, 3), border repeated: an approximation of crops.cut, fifty times as fast."""
    x0, y0 = round(box[0]), round(box[1])
    side, (height, width) = max(round(box[2] - box[0]), 1), image.shape[:2]
    out = max(-x0, 0), max(x0 + side - width, 0), max(-y0, 0), max(y0 + side - height, 0)  # pixels beyond each border
    if min(side - out[0] - out[1], side - out[2] - out[3]) < 1:
        return np.zeros((size, size, 3), np.uint8)
    part = image[max(y0, 0):y0 + side, max(x0, 0):x0 + side]
    return resized(cv2.copyMakeBorder(part, out[2], out[3], out[0], out[1], cv2.BORDER_REPLICATE), size)


def paste(generated: Drawn) -> np.ndarray:
    """The driving frame with the generated face in it; unchanged outside the face, and if it shows no face."""
    assert generated.driving is not None
    if generated.points is None or generated.frame is None:
        return generated.driving
    mask, box = face_mask(generated.points, len(generated.face)), generated.frame.box
    return _into(generated.driving, toned(generated.face, cut(generated.driving, box, len(generated.face)), mask), mask, box)


def toned(face: np.ndarray, there: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The generated face with the colours of `there`: inside the mask each channel's mean becomes that of `there`.

    All (size, size, …). All channels share one gain of contrast, at most MOST: gains per channel would colour the noise of a
    grey image.
    """
    weight = mask.reshape(-1, 1) / max(float(mask.sum()), 1e-6)
    given, due = (image.reshape(-1, 3).astype(np.float32) for image in (face, there))
    (m, s), (m_due, s_due) = (_moments(pixels, weight) for pixels in (given, due))
    out = (given - m) * np.clip(s_due.mean() / max(s.mean(), 1), 1 / MOST, MOST) + m_due
    return np.asarray(np.rint(out).clip(0, 255).reshape(face.shape), np.uint8)


def _moments(pixels: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weighted mean and standard deviation per channel."""
    mean = (pixels * weight).sum(0)
    return mean, np.sqrt((np.square(pixels - mean) * weight).sum(0))


def still(whole: np.ndarray, box: crops.Box, generated: Drawn) -> np.ndarray:
    """The person's own image (H, W, 3) with the generated crop in it, feathered at its edge."""
    return _into(whole, generated.face, _square(len(generated.face)), box)


def face_mask(points: np.ndarray, size: int) -> np.ndarray:
    """(size, size) float32 in [0, 1]: 0 outside the hull of points (68, 2) and forehead, 1 inside, feathered inwards."""
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
    """(size, size) float32: 1 inside, feathered to 0 at the edge."""
    from_edge = np.minimum(np.arange(size), np.arange(size)[::-1]) / (EDGE * size)
    return np.asarray(np.minimum.outer(from_edge, from_edge).clip(0, 1), np.float32)


def _into(whole: np.ndarray, face: np.ndarray, mask: np.ndarray, box: crops.Box) -> np.ndarray:
    """A copy of `whole` with `face` blended by `mask` (both of the face's size) into the square `box`."""
    height, width = whole.shape[:2]
    x0, y0 = max(int(np.floor(box[0])), 0), max(int(np.floor(box[1])), 0)
    x1, y1 = min(int(np.ceil(box[2])), width), min(int(np.ceil(box[3])), height)
    if x1 <= x0 or y1 <= y0:
        return whole
    step = len(face) / (box[2] - box[0])  # pixels of the generated crop per pixel of `whole`
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
    """A square image resized to (size, size, …)."""
    kind = cv2.INTER_CUBIC if size > len(image) else cv2.INTER_AREA
    return image if size == len(image) else np.asarray(cv2.resize(image, (size, size), interpolation=kind))


def even(image: np.ndarray) -> np.ndarray:
    """The image with even sides, without an odd last row or column: H.264 in 4:2:0 has no odd sides."""
    return np.ascontiguousarray(image[:len(image) // 2 * 2, :image.shape[1] // 2 * 2])


def labelled(image: np.ndarray) -> np.ndarray:
    """A copy with LABEL in white on black in the lower right corner (in `side`, on the generated face).

    The letters are a thirtieth of the height.
    """
    return _stamped(image, *_stamp(image.shape[0], image.shape[1]))


@cache
def _stamp(height: int, width: int) -> tuple[np.ndarray, int]:
    """The label (h, w, 3) and its distance from the corner, pixels."""
    font, letters = cv2.FONT_HERSHEY_SIMPLEX, max(height / 30, 10)
    scale = min(letters / 21, width / 2 / cv2.getTextSize(LABEL, font, 1.0, 1)[0][0])  # capitals have 21 pixels at scale 1
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

