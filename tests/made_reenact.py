"""A model without training, a head that draws what it is told, and drivers: discs for faces, whose points are known."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import made_clips
import numpy as np
from made_faces import face
from made_params import published

from eval.reenact import compose, driving_video, render_video, source_frames, synthetic_mark
from pipeline.core import config
from pipeline.core.manifest import write_manifest
from pipeline.media import video

FACE = face(1.0) + .5  # 68 points of a face in a picture one pixel wide


def predict(images: Sequence[np.ndarray], boxes: np.ndarray) -> np.ndarray:
    """68 points in each box in which a red disc is; NaN elsewhere."""
    points = np.full((len(images), 68, 2), np.nan, np.float32)
    for k, image in enumerate(images):
        for x0, y0, x1, y1, _ in made_clips.detect(image[None])[0]:
            middle = np.array([x0 + x1, y0 + y1]) / 2
            if (middle > boxes[k, :2]).all() and (middle < boxes[k, 2:4]).all():
                points[k] = in_box(np.array([x0, y0, x1, y1]))
                break
    return points


def in_box(box: np.ndarray) -> np.ndarray:
    """The points of a face that fills a box from forehead to chin."""
    low, high = FACE.min(0), FACE.max(0)
    down = .25  # brows begin there
    return (FACE - low) / (high - low) * (1, 1 - down) * (box[2:] - box[:2]) + box[:2] + (0, down * (box[3] - box[1]))


EYES = source_frames.Eyes(made_clips.detect, predict, made_clips.CONFIG)


class Head:
    """Draws the landmark image that drives it."""

    def __call__(self, pose: Any) -> Any:
        return pose


def talk(path: Path, count: int, rate: int = 25, sound: float = 0.0, gone: range = range(0), rotation: int = 0) -> Path:
    """A disc that walks to the right; in the pictures `gone` there is none. `sound`: seconds of a tone."""
    pictures = [made_clips.picture([] if k in gone else [(60 + .2 * k, 60, 20)]) for k in range(count)]
    made_clips.write(path, pictures, rate=rate, rotation=rotation)
    if sound:
        mute = path.with_name(f"mute-{path.name}")
        path.rename(mute)
        subprocess.run([video.program(), "-v", "error", "-i", str(mute), "-f", "lavfi", "-t", str(sound), "-i",
                        "sine=f=440:r=44100", "-c:v", "copy", "-c:a", "aac", str(path)], check=True)
    return path


def untrained(folder: Path, method: str = "ff", size: int = 32) -> Path:
    """A model folder as training leaves it, with random weights."""
    from safetensors.torch import save_file

    from model.api import DataInfo, load

    section = published("ci")["learn"][method]
    kind = load(method)
    made = kind(config.parse(kind.Config, section, "learn"), DataInfo(size, 1), 0)
    folder.mkdir(parents=True)
    save_file(made.weights(), folder / "weights.safetensors")
    write_manifest(folder, "model", {"dataset": "ci", "method": method, "label": made.label, "trained_on": "nothing",
                                           "config": section, "facts": {"size": size, "num_videos": 1}})
    return folder


def photo(path: Path, image: np.ndarray, orientation: int = 1) -> Path:
    """An image as a file, turned so that the EXIF orientation brings it back."""
    from PIL import Image

    turned = {1: image, 6: np.rot90(image, 1), 3: np.rot90(image, 2), 8: np.rot90(image, 3)}[orientation]
    picture = Image.fromarray(np.ascontiguousarray(turned))
    exif = picture.getexif()
    exif[0x0112] = orientation
    picture.save(path, exif=exif, **({"quality": 98, "subsampling": 0} if path.suffix == ".jpg" else {}))
    return path


def pictures(path: Path) -> np.ndarray:
    """All pictures of a film, (n, H, W, 3)."""
    import av

    with av.open(str(path)) as container:
        return np.array([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def tone(path: Path) -> tuple[float, float]:
    """When the sound of a film begins to be heard and when it ends, seconds."""
    import av

    with av.open(str(path)) as container:
        parts = [(float(frame.pts * frame.time_base), frame.to_ndarray()[0], frame.sample_rate)
                 for frame in container.decode(audio=0)]
    heard = [(start, start + len(wave) / rate) for start, wave, rate in parts if np.abs(wave).max() > .01]
    return heard[0][0], heard[-1][1]


def cartoon() -> np.ndarray:
    """A drawn smiling face."""
    image = np.full((300, 300, 3), 255, np.uint8)
    cv2.circle(image, (150, 150), 110, (255, 220, 60), -1)
    for x in (110, 190):
        cv2.circle(image, (x, 120), 12, (0, 0, 0), -1)
    cv2.ellipse(image, (150, 170), (60, 40), 0, 10, 170, (0, 0, 0), 6)
    return image


LIMITS = made_clips.LIMITS


def job(path: Path, view: compose.View = "crop", label: bool = False, adapt: driving_video.Adapt = None) -> render_video.Job:
    of = driving_video.open_driver(path, 0.0, None, EYES)
    still = made_clips.picture([(80, 60, 20)], tone=200)
    who = source_frames.Source(still[None, :64, :64], face(64)[None], still, (40., 20., 120., 100.), "0" * 64)
    return render_video.Job(of, EYES, Head(), 64, "landmarks", who, view, label, adapt)


def film_of(folder: Path, of: render_video.Job) -> tuple[np.ndarray, render_video.Report]:
    report = render_video.make(of, folder / "out.mp4", synthetic_mark.make(method="ff"))
    return pictures(folder / "out.mp4"), report
