"""Extracts the frames of every clip: chooses them and cuts them to one fixed square around the face, as in VoxCeleb."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import Field, field_validator

from pipeline.core import fileio, image_ops, ledger, tables
from pipeline.core.config import Strict
from pipeline.core.errors import InputError
from pipeline.core.ledger import RejectedItem
from pipeline.core.shards import Tar
from pipeline.frames import crops, tracks
from pipeline.frames.clips import Shelves
from pipeline.media import video
from pipeline.parallel.sharded_map import Record, Shard

INDEX = {"clip": "str", "person": "str", "video": "str", "frame": "int64", "seconds": "float64", "shard": "int64",
         "offset": "int64", "length": "int64", "crc": "int64", **dict.fromkeys(["x0", "y0", "x1", "y1"], "float64"),
         **dict.fromkeys(["face_x0", "face_y0", "face_x1", "face_y1"], "float64")}  # the face's box in the stored frame
LEDGER = {"id": "str", "status": "str", "reason": "str", "frames": "int64"}

Item = tuple[str, str, str, str]  # person, video, path, boxes, as in the ledger of the videos
Detect = Callable[[np.ndarray], list[np.ndarray]]  # images uint8 (N, H, W, 3) -> N arrays (k, 5): x0, y0, x1, y1, probability


class Config(Strict):
    """The section `data.frames` of params/DATASET.yaml."""

    size: int  # side of the stored crop, pixels
    per_shard: int = Field(ge=1)  # clips per task and tar file
    per_clip: int  # frames per clip, evenly spread over it
    least: int  # a clip with fewer usable frames is rejected
    crop: str  # a preset of pipeline/frames/crops.yaml
    faces: Literal["detect", "given"]  # given: by the boxes that come with the clip; a clip without boxes is a face crop itself
    confidence: float  # detections below this probability do not count
    min_face: float  # least median face width in the video, pixels
    second_face: float  # a second face at least this wide, as a share of the first, is another person
    second_share: float  # a clip with a second face in more than this share of its frames shows two people
    inside: float  # least share of the face's area inside both crop and frame
    longest: int  # frames with a longer side are scaled down to it during decoding, pixels
    limits: video.Limits

    @field_validator("crop")
    @classmethod
    def _known(cls, name: str) -> str:
        crops.stored(name)
        return name


@dataclass(frozen=True)
class Choice:
    """The crop of a clip, and its usable frames."""

    frame: crops.Frame  # in pixels of the decoded frames; may extend beyond them
    keep: np.ndarray  # (N,) bool
    faces: np.ndarray  # (N, 4) float64, box of the main face; NaN where there is none
    reason: str  # "" when all frames are kept


@dataclass(frozen=True)
class Clip:
    """The kept frames of one clip."""

    numbers: np.ndarray  # (n,) int64, index of the frame in the video
    seconds: np.ndarray  # (n,) float64, presentation time
    box: tuple[float, float, float, float]  # x0, y0, x1, y1 in pixels of the video as shown
    faces: np.ndarray  # (n, 4) float64, face box in pixels of the crop
    crops: list[np.ndarray]  # n of (size, size, 3) uint8 RGB
    reason: str


def read(path: Path, config: Config, detect: Detect, boxes: bytes | None) -> Clip:
    """The usable frames of one video, cropped. RejectedItem with a status of the ledger and a reason.

    `boxes`: a .npy (pipeline/frames/tracks.py) of given face boxes, used when config.faces is `given`.
    """
    facts = video.probe(path, config.limits)
    track = _track(facts, config, boxes)
    first, last = (track.start, track.stop) if track else (0, len(facts.times))
    notes = [track.reason] if track and track.reason else []
    if last - first < config.least:
        why = "".join(f" ({note})" for note in notes)
        raise RejectedItem("too-short", f"{_count(last - first, 'frame')}, {config.least} needed{why}")
    chosen = first + video.spread(facts.times[first:last], config.per_clip)
    found = video.decode(path, chosen, config.limits, config.longest)
    if len(found.numbers) < config.least:
        raise RejectedItem("corrupt", f"only {_count(len(found.numbers), 'frame')} can be decoded, {config.least} needed")
    preset = crops.stored(config.crop)
    if track and boxes is None:  # the clip is the publishers' crop: shifting is better than padding
        preset = preset.model_copy(update={"shift": 1.0})
    choice = choose(_faces(found, track, config, detect), found.images.shape[1:3], found.scale, config, preset)
    kept = np.flatnonzero(choice.keep)
    corner, ratio = np.array(choice.frame.box[:2] * 2), config.size / (choice.frame.box[2] - choice.frame.box[0])
    notes += [choice.reason] if choice.reason else []
    if facts.cut:
        notes.insert(0, f"the file ends after {facts.times[-1]:.1f} of {facts.declared:.1f} s")
    x0, y0, x1, y1 = (edge / found.scale for edge in choice.frame.box)
    return Clip(found.numbers[kept], found.seconds[kept], (x0, y0, x1, y1), (choice.faces[kept] - corner) * ratio,
                [crops.cut(found.images[k], choice.frame, config.size) for k in kept], "; ".join(notes))


def _track(facts: video.Probe, config: Config, boxes: bytes | None) -> tracks.Track | None:
    """The given boxes of a clip, in its own pixels; None when faces are detected."""
    if config.faces == "detect":
        return None
    size = facts.width, facts.height
    return tracks.whole(len(facts.times), size) if boxes is None else tracks.track(tracks.parse(boxes), len(facts.times), size)


def _faces(found: video.Decoded, track: tracks.Track | None, config: Config,
           detect: Detect) -> list[tuple[np.ndarray, bool]]:
    """The main face of each frame and whether it has a rival; the detector runs only on frames without a given box."""
    given = np.full((len(found.numbers), 4), np.nan) if track is None else track.boxes[found.numbers] * found.scale
    faces = [(box, False) for box in given]
    unknown = np.flatnonzero(np.isnan(given[:, 0]))
    if len(unknown):
        for k, seen in zip(unknown, detect(found.images[unknown])):
            faces[k] = _main(seen, config)
    return faces


def _main(boxes: np.ndarray, config: Config) -> tuple[np.ndarray, bool]:
    """The largest face of one frame (NaN if none), and whether another one rivals it in size."""
    sure = np.asarray(boxes, np.float64).reshape(-1, 5)
    sure = sure[sure[:, 4] >= config.confidence]
    if not len(sure):
        return np.full(4, np.nan), False
    width = sure[:, 2] - sure[:, 0]
    order = np.argsort(-width, kind="stable")
    return sure[order[0], :4], len(order) > 1 and bool(width[order[1]] >= config.second_face * width[order[0]])


def choose(found: Sequence[tuple[np.ndarray, bool]], shape: tuple[int, int], scale: float, config: Config,
           preset: crops.Boxed) -> Choice:
    """One fixed crop for the clip, and the frames whose face lies inside it.

    `found`: per frame, its main face (4,) and whether it has a rival; `shape`: (H, W); `scale`: image pixels per video pixel.
    RejectedItem: no-face, multi-face, too-small, face-leaves.
    """
    faces = np.array([face for face, _ in found], np.float64).reshape(-1, 4)
    rivals = np.array([rival for _, rival in found], bool)
    seen = ~np.isnan(faces[:, 0])
    if not seen.any():
        raise RejectedItem("no-face", f"no face in any of {_count(len(faces), 'frame')}")
    if rivals.sum() > config.second_share * seen.sum():
        raise RejectedItem("multi-face", f"a second face in {rivals.sum()} of {seen.sum()} frames with a face; cut the video "
                                         "so that it shows one person")
    width = float(np.median((faces[:, 2] - faces[:, 0])[seen & ~rivals]))
    if width / scale < config.min_face:
        raise RejectedItem("too-small", f"the face is {width / scale:.0f} pixels wide, {config.min_face:g} needed")
    frame = crops.boxed(preset, faces[seen & ~rivals], shape)
    keep = seen & ~rivals & (_visible(faces, frame.shown, shape) >= config.inside)
    if keep.sum() < config.least:
        raise RejectedItem("face-leaves", f"the face is inside the crop in {keep.sum()} of {len(keep)} frames, "
                                          f"{config.least} needed")
    reason = "" if keep.all() else (f"{keep.sum()} of {len(keep)} frames kept: no face in {(~seen).sum()}, a second face in "
                                    f"{rivals.sum()}, out of the crop in {(seen & ~rivals & ~keep).sum()}")
    return Choice(frame, keep, faces, reason)


def _visible(faces: np.ndarray, box: Sequence[float], shape: tuple[int, int]) -> np.ndarray:
    """Share of each face's area inside both crop and frame: (N,); 0 for NaN."""
    frame = np.array([max(box[0], 0), max(box[1], 0), min(box[2], shape[1]), min(box[3], shape[0])])
    low, high = np.maximum(faces[:, :2], frame[:2]), np.minimum(faces[:, 2:], frame[2:])
    area = np.clip(high - low, 0, None).prod(1) / (faces[:, 2:] - faces[:, :2]).prod(1)
    return np.nan_to_num(area)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def pack(item: Item, clips: Shelves, config: Config, detect: Detect) -> Record:
    """The record of one clip: its kept frames as PNG, or a status with a reason."""
    try:
        with clips.open(item[2]) as path:
            clip = read(path, config, detect, clips.read(item[3]) if item[3] and config.faces == "given" else None)
    except RejectedItem as problem:
        return {"status": np.array(problem.status), "reason": np.array(str(problem))}
    images = [np.frombuffer(image_ops.to_png(crop), np.uint8) for crop in clip.crops]
    return {"status": np.array("ok"), "reason": np.array(clip.reason), "numbers": clip.numbers, "seconds": clip.seconds,
            "box": np.array(clip.box), "faces": clip.faces, "lengths": np.array([len(image) for image in images]),
            "data": np.concatenate(images)}


def lost(item: Item, reason: str) -> Record:
    """The record of a clip whose workers died."""
    return {"status": np.array("corrupt"), "reason": np.array(reason)}


def finish(shard: Shard[Item], records: Iterable[Record], folder: Path) -> None:
    """Writes NUMBER.tar, index.parquet and ledger.parquet of one shard."""
    tar = Tar(folder / f"{shard.number:05d}.tar")
    index: list[tuple[Any, ...]] = []
    rows: list[tuple[str, str, str, int]] = []
    for (person, name, *_), record in zip(shard.items, records):
        clip, lengths = f"{person}/{name}", record.get("lengths", np.zeros(0, np.int64))
        rows.append((clip, str(record["status"]), str(record["reason"]), len(lengths)))
        ends = np.cumsum(lengths)
        for k, (start, end) in enumerate(zip(ends - lengths, ends)):
            number = int(record["numbers"][k])
            place = tar.add(f"{clip}/{number:06d}.png", record["data"][start:end].tobytes())
            index.append((clip, person, name, number, record["seconds"][k], shard.number, *place, *record["box"],
                          *record["faces"][k]))
    tar.close()
    pd.DataFrame(index, columns=list(INDEX)).astype(INDEX).to_parquet(folder / "index.parquet", index=False)
    pd.DataFrame(rows, columns=list(LEDGER)).astype(LEDGER).to_parquet(folder / "ledger.parquet", index=False)


def publish(out: Path, folders: Sequence[Path]) -> pd.DataFrame:
    """Joins the shards' tars, index.parquet and ledger.parquet in `out`; returns the ledger. InputError: no usable clip.

    Rows are in the order of the items: sorted by (person, video).
    """
    if not folders:
        raise InputError("no video is usable; `python -m stages.fetch --summary` shows why")
    for number, folder in enumerate(folders):
        fileio.link(folder / f"{number:05d}.tar", out / f"{number:05d}.tar")
    tables.join((folder / "ledger.parquet" for folder in folders), out / "ledger.parquet")
    table = pd.read_parquet(out / "ledger.parquet")
    if not tables.join((folder / "index.parquet" for folder in folders), out / "index.parquet"):
        raise InputError(f"none of {_count(len(table), 'video')} is usable ({ledger.summary(table)}); the first: "
                         f"{table['id'][0]}: {table['reason'][0]}")
    return table
