"""A data set from YouTube in small: its metadata, its parameters, its fetch in this process or in one of its own."""

import os
import subprocess
import sys
from pathlib import Path

import made_archives as archives
import made_params
import made_site
import pandas as pd
from made_clips import LIMITS
from made_params import published

from pipeline.sources import youtube
from pipeline.sources.youtube import Config
from pipeline.sources.ytdlp import client

ROOT = Path(__file__).resolve().parents[1]
KEY = "planted-5e4d3c2b"
VIDEOS = ["21Uxsk56VDQ", "2DLq_Kkc1r8", "-q-Y__nPMxI", "01dfn2spqyE"]
SPOKEN = {  # person/video/utterance -> first picture, pictures
    "id00012/21Uxsk56VDQ/00001": (5, 20), "id00012/21Uxsk56VDQ/00002": (40, 25), "id00012/2DLq_Kkc1r8/00016": (0, 30),
    "id09272/-q-Y__nPMxI/00099": (10, 20), "id00017/01dfn2spqyE/00001": (12, 22), "id00017/01dfn2spqyE/00002": (44, 20)}
DATA = "tiny-tube"


def lay(origin: Path, spoken: dict[str, tuple[int, int]] = SPOKEN) -> Path:
    """VoxCeleb2's metadata in small."""
    origin.mkdir(parents=True, exist_ok=True)
    texts = {name: made_site.text(*name.split("/")[:2], first, made_site.boxes(first, count)).encode()
             for name, (first, count) in spoken.items()}
    tested = {name: data for name, data in texts.items() if name.startswith("id00017")}
    for part, members in (("dev", {name: texts[name] for name in texts if name not in tested}), ("test", tested)):
        packed = archives.zipped({f"txt/{name}.txt": text for name, text in members.items()})
        (origin / f"vox2_{part}_txt.zip").write_bytes(packed)
    (origin / "vox2_meta.csv").write_text("VoxCeleb2ID ,VGGFace2ID ,Gender ,Set \n" + "".join(
        f"{person} ,n000012 ,m ,{'test' if person == 'id00017' else 'dev'} \n" for person in ("id00012", "id09272", "id00017")))
    return origin


def settings(**changes: object) -> dict[str, object]:
    """`data.fetch` of params/voxceleb2_youtube.yaml, in a hurry."""
    fetch = published("voxceleb2_youtube")["data"]["fetch"]
    small = fetch | {"buckets": 2, "per_shard": 2, "connections": 1, "margin": .25,
                               "rate_limit": {"pause": 0., "max_throttled": 9, "cooldown": 0.}, "limits": LIMITS.model_dump()}
    small["ytdlp"] = fetch["ytdlp"] | {
        "site": "http://127.0.0.1:1/{id}", "bytes": 10**6, "seconds": 60, "memory": 2048,
        "retry": {"tries": 2, "pause": .001, "longest": .01, "stall": 1.}}
    return small | changes


def params(folder: Path, **changes: object) -> None:
    tiny = published("voxceleb2_youtube")["data"] | {"fetch": settings(**changes)}
    made_params.write(folder, {}, **{DATA: {"data": tiny}})


def command(folder: Path) -> list[str]:
    return [sys.executable, "-m", "stages.fetch", "--dataset", DATA, "--params", str(folder / "params.yaml"),
            "--origin", str(folder / "videos" / DATA), "--out", str(folder / "data" / DATA / "videos")]


def environment(address: str, **more: str) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), client.ADDRESS: address, **more}


def fetch(folder: Path, address: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(folder), cwd=ROOT, capture_output=True, text=True, env=environment(address, **more))


def rows(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / "data" / DATA / "videos/ledger.parquet").set_index("id")


def stored(folder: Path) -> dict[str, bytes]:
    """Every file of the data set's clips."""
    return bytes_of(folder / "videos" / DATA)


def config(origin: Path, address: str, **changes: object) -> Config:
    own = {name: value for name, value in settings().items() if name != "per_shard"}
    own["ytdlp"] = dict(own["ytdlp"]) | {"site": address}  # type: ignore[call-overload]
    asked = {name: changes.pop(name) for name in list(changes) if name in client.Request.model_fields}
    made = Config.model_validate(own | {"origin": str(origin)} | changes)
    return made.model_copy(update={"ytdlp": made.ytdlp.model_copy(update=asked)})


def run(settings: Config, folder: Path, backwards: bool = False) -> pd.DataFrame:
    """What the stage does, in this process: the ledger."""
    items = youtube.items(settings)
    again = [row for item in (items[::-1] if backwards else items) for row in youtube.fetch(settings, item, folder / "videos")]
    return pd.DataFrame(list(youtube.contents(settings, again))).set_index("id")


def bytes_of(origin: Path) -> dict[str, bytes]:
    found = sorted(path for path in (origin / "clips").rglob("*") if path.is_file())
    return {str(path.relative_to(origin)): path.read_bytes() for path in found}


VIDEO = VIDEOS[0]
