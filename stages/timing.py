"""Measures set-up, few-shot learning at each T, a fine-tuning step and per-frame inference of one method (Table 2)."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from eval import timing
from pipeline.core import config, fileio, stage
from stages import _cli


def parser() -> argparse.ArgumentParser:
    """The command line."""
    return _cli.parser(__doc__, "dataset", "method", "frames", "landmarks", "split", "model", "out", "params")


def main(words: Sequence[str] | None = None) -> None:
    """Writes timing.json and the manifest."""
    given = parser().parse_args(words)
    params = config.load(given.params)
    chosen = config.parse(timing.Config, params.timing, f"{given.params}: timing")
    paths = {name: getattr(given, name) for name in ("frames", "landmarks", "split", "model")}
    with stage.run("timing", out=given.out, inputs=paths, config=[params.timing, params.shots, params.seed],
                   method=given.method) as job:
        found = seconds(given, job, params, chosen)
        fileio.write_json(job.out / "timing.json", found)
        job.publish("timing", {"dataset": given.dataset, "method": given.method, "driven_by": found["driven_by"]})
        print(f"{given.out}: a frame {found['frame']['median']:.3g} s")


def seconds(given: argparse.Namespace, job: stage.Job, params: config.Params,
            chosen: timing.Config) -> dict[str, Any]:
    """What timing.json holds, for the first test person."""
    import torch
    from safetensors.torch import load_file

    from model import api
    from pipeline.episodes import Faces

    torch.set_num_threads(chosen.threads)
    facts = api.DataInfo(**job.inputs["model"]["facts"])
    faces = Faces(frames=given.frames, landmarks=given.landmarks, split=given.split, size=facts.size)
    kind = api.load(given.method)
    settings = config.parse(kind.Config, job.inputs["model"]["config"], f"{given.model / 'manifest.json'}: config")

    def make() -> api.Method:
        method = kind(settings, facts, params.seed)
        method.load_weights(load_file(given.model / "weights.safetensors"))
        return method

    subject = faces.subjects[0]
    drivers = faces.poses if kind.driven_by == "landmarks" else faces.images
    person = [torch.from_numpy(images) for images in
              (faces.images(subject.sources), faces.poses(subject.sources), drivers(subject.holdout))]
    gpu = torch.cuda.is_available()
    found = timing.measure(make, (person[0], person[1], person[2]), params.shots, chosen,
                           wait=torch.cuda.synchronize if gpu else lambda: None)
    return {**found, "device": torch.cuda.get_device_name() if gpu else "CPU", "threads": torch.get_num_threads(),
            "torch": torch.__version__.split("+")[0], "size": facts.size, "driven_by": kind.driven_by}


if __name__ == "__main__":
    _cli.run(main)
