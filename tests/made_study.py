"""A small study over a made data set, its server in a process of its own, and raters who are scripts.

Every picture is one of its own, so that a scripted rater, who has the folder of trials, finds the fake by its bytes.
"""

from __future__ import annotations

import hashlib
import http.client
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import made_params
import numpy as np
import pandas as pd
from made_params import published
from PIL import Image, PngImagePlugin

from eval.study import build
from eval.study.trials import CHECK, Config, Study
from pipeline.core.manifest import write_manifest
from pipeline.core.shards import ShardWriter

ROOT = Path(__file__).resolve().parents[1]
STORED, SIZE, EACH = 16, 8, 10  # pixels, pixels, frames a video
LOOSE = {"requests": {"burst": 10**6, "seconds": 1.0}, "start": {"burst": 10**6, "seconds": 1.0},
         "starts": {"burst": 10**6, "seconds": 1.0}, "kept": 1000}
CELLS = (("ff", 1), ("ff", 8), ("ft", 1), ("ft", 8))


def config(**changes) -> Config:
    section = published()["study"]
    return Config.model_validate({**section, "limits": LOOSE, "frames": 6, **changes})


def noise(*place) -> np.ndarray:
    """A real frame is noise, a drawn one a colour: compressed, they would differ in bytes."""
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(repr(place).encode()).digest()[:8], "big"))
    if place[0] == "real":
        return rng.integers(0, 256, (STORED, STORED, 3), np.uint8)
    return np.tile(rng.integers(0, 256, 3, np.uint8), (SIZE, SIZE, 1))


@cache
def real(row: int) -> np.ndarray:
    """A real frame as it is shown: the mean of four pixels."""
    return noise("real", row).reshape(SIZE, 2, SIZE, 2, 3).mean((1, 3))


def row_of(png: bytes) -> int | None:
    """Which real frame it is."""
    picture = np.asarray(Image.open(io.BytesIO(png)), float)
    return next((row for row in range(240) if np.abs(real(row) - picture).max() <= 1), None)


def _png(picture: np.ndarray) -> bytes:
    mark = PngImagePlugin.PngInfo()
    mark.add_text("synthetic", "true")
    Image.fromarray(picture).save(file := io.BytesIO(), "PNG", pnginfo=mark)
    return file.getvalue()


def data(root: Path, people: int = 4, videos: int = 4, utterances: int = 1, cells=CELLS,
         blind: int | None = None) -> build.Inputs:
    """data/made and results/made: of each person the first video is tested. `blind`: a row without landmarks."""
    base, index, subjects = root / "data" / "made", [], []
    for part in ("frames", "landmarks", "split"):
        (base / part).mkdir(parents=True)
    writer = ShardWriter(base / "frames")
    for p in range(people):
        for v in range(videos):
            for u in range(utterances):
                for k in range(EACH // utterances):
                    clip = f"p{p}/v{v}" + (f"/{u:05d}" if utterances > 1 else "")
                    index.append({"clip": clip, "person": f"p{p}", "video": clip[3:], "frame": k, "seconds": 0.4 * k,
                                  **writer.add(f"{clip}/{k:06d}.png", _png(noise("real", len(index))))})
        start = p * videos * EACH
        subjects.append({"person": f"p{p}", "video": f"p{p}/v0", "sources": [start, start + 1],
                         "holdout": [start + k for k in (5, 3, 8, 2, 7, 4)]})
    writer.close()
    pd.DataFrame(index).to_parquet(base / "frames" / "index.parquet", index=False)
    np.save(base / "landmarks" / "00000.npy", np.zeros((len(index), 68, 2), np.float32))
    status = ["no-face" if row == blind else "ok" for row in range(len(index))]
    pd.DataFrame({"status": status}).to_parquet(base / "landmarks" / "ledger.parquet", index=False)
    pd.DataFrame({"video": ["q/v"], "person": ["q"], "start": [0], "stop": [0]}).to_parquet(base / "split" / "train.parquet")
    (base / "split" / "test.json").write_text(json.dumps(subjects))
    for part, body in (("frames", {"size": STORED}), ("landmarks", {}), ("split", {})):
        write_manifest(base / part, part, body)
    drawn = {(m, t): images(root / "results" / "made" / m / str(t) / "images", m, t, subjects) for m, t in cells}
    return build.Inputs(base / "frames", base / "landmarks", base / "split", drawn)


def images(folder: Path, method: str, shots: int, subjects) -> Path:
    folder.mkdir(parents=True)
    writer = ShardWriter(folder)
    places = [{"person": s["person"], "row": row, **writer.add(f"{row}.png", _png(noise(method, shots, row)))}
              for s in subjects for row in s["holdout"]]
    writer.close()
    pd.DataFrame(places).to_parquet(folder / "index.parquet", index=False)
    write_manifest(folder, "images", {})
    return folder


def study(root: Path, inputs: build.Inputs, chosen: Config | None = None, seed: int = 0) -> Study:
    """study/made/trials."""
    out = root / "study" / "made" / "trials"
    out.mkdir(parents=True)
    write_manifest(out, "study", build.build(inputs, chosen or config(), seed, "made", out))
    return Study(out)


def params(root: Path, **changes) -> Path:
    """params.yaml of the made data set."""
    changed = {"methods": ["ff", "ft"], "shots": [1, 8], "study": {**config().model_dump(), **changes}}
    return made_params.write(root, changed, made={})


def words(root: Path, verb: str, *more: str) -> list[str]:
    parts = [word for name in ("data", "results", "study") for word in (f"--{name}", str(root / name))]
    return ["study", verb, *parts, "--params", str(root / "params.yaml"), *more]


class Server:
    """`python -m stages.study serve --simulated` on a free port of the loopback."""

    def __init__(self, root: Path, **changes) -> None:
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            self.port = one.getsockname()[1]
        params(root, port=self.port, **changes)
        self.root, self.url = root, f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "stages.study", *words(self.root, "serve", "--simulated")[1:]]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        said = self.process.stdout.readline()
        assert self.url in said, said

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()


class Browser:
    """As much of one as a study needs: GET and forms, one connection, no script."""

    def __init__(self, url: str) -> None:
        self.origin, self.place = url, urlsplit(url).netloc
        self.connection = http.client.HTTPConnection(self.place, timeout=30)

    def ask(self, way: str, path: str, form: dict | None = None, origin: str | None = None):
        """(status, headers, body); ConnectionError or HTTPException where the server is gone."""
        headers = {} if form is None else {"Origin": origin or self.origin, "Content-Type": "application/x-www-form-urlencoded"}
        try:
            self.connection.request(way, path, urlencode(form) if form is not None else None, headers)
            answer = self.connection.getresponse()
            return answer.status, answer.headers, answer.read()
        except (OSError, http.client.HTTPException):
            self.connection.close()
            raise

    def begin(self) -> str:
        """Path of the rater's own link."""
        proof = fields(self.ask("GET", "/")[2])["proof"]
        status, headers, _ = self.ask("POST", "/start", {"proof": proof, "agreed": "yes"})
        assert status == 303, status
        return urlsplit(headers["Location"]).path


def fields(page: bytes) -> dict[str, str]:
    """What the form of a page holds, and where it goes."""
    text = page.decode()
    return {"proof": re.search(r'name="proof" value="([\w-]+)"', text)[1],
            "action": re.search(r'<form method="post" action="([^"]+)"', text)[1]}


class Key:
    """What a scripted rater knows: which bytes are a fake, of which cell."""

    def __init__(self, one: Study) -> None:
        self.fakes = {one.png(trial, trial.fake): trial for trial in one.trials.values()}

    def look(self, pictures):
        """(the fake's position, its trial)."""
        return next((k, self.fakes[picture]) for k, picture in enumerate(pictures) if picture in self.fakes)


class Script:
    """A rater who finds the fakes of a cell with a set probability, the same choice whenever the n-th trial is shown again."""

    def __init__(self, number: int, server: Server, key: Key, finds: dict, attentive: bool = True) -> None:
        self.number, self.server, self.key, self.finds, self.attentive = number, server, key, finds, attentive
        self.log: dict[int, tuple[str, int, bool]] = {}  # n -> trial, choice, whether the server confirmed it

    def run(self) -> None:
        self.browser = Browser(self.server.url)
        self.link = self.patiently(self.browser.begin)
        while self.patiently(self.step):
            pass

    def patiently(self, what):
        for _ in range(600):
            try:
                return what()
            except (OSError, http.client.HTTPException):
                time.sleep(0.05)
        raise TimeoutError(what)

    def step(self) -> bool:
        """Answers the trial that is shown; False when there is none."""
        status, _, page = self.browser.ask("GET", self.link)
        assert status == 200, page
        if b"last set" in page:
            return False
        form = fields(page)
        n = int(form["action"].rsplit("/", 1)[1])
        shown = [self.browser.ask("GET", f"{form['action']}/{k}.png")[2] for k in (1, 2, 3)]
        at, trial = self.key.look(shown)
        rng = np.random.default_rng([self.number, n])
        sure = self.attentive if trial.method == CHECK else rng.random() < self.finds[trial.method, trial.shots]
        choice = at if sure else (at + 1 + int(rng.integers(2))) % 3
        assert self.log.setdefault(n, (trial.id, choice, False)) == (trial.id, choice, False), "an acknowledged answer was lost"
        status, headers, body = self.browser.ask("POST", form["action"], {"proof": form["proof"], "choice": choice + 1})
        assert (status, headers["Location"]) == (303, self.link), (status, body)
        self.log[n] = (trial.id, choice, True)
        return True
