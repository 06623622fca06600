"""Splits people into training and test, and the frames of test people into sources and hold-outs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.core import config, fileio, ledger, stage, takedown
from stages import _cli

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


def read(frames: Path, landmarks: Path) -> tuple[pd.DataFrame, np.ndarray]:
    """clip and person of each stored frame, and whether it has landmarks."""
    import pandas as pd

    index = pd.read_parquet(frames / "index.parquet", columns=["clip", "person"])
    return index, (pd.read_parquet(landmarks / "ledger.parquet", columns=["status"])["status"] == "ok").to_numpy(bool)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    return _cli.parser(__doc__, "dataset", "params", "frames", "landmarks", "out")


def main(words: Sequence[str] | None = None) -> None:
    """Makes the split folder of one data set."""
    args = parser().parse_args(words)
    import pandas as pd

    from pipeline import split

    seed = config.load(args.params).seed
    given = config.dataset(args.params, args.dataset)
    listed = takedown.read(Path(takedown.NAME))
    settings = config.parse(split.Config, given.data.split, given.where("data.split"))
    inputs = {"frames": args.frames, "landmarks": args.landmarks}
    with stage.run("split", out=args.out, inputs=inputs, config=[given.data.split, seed, sorted(listed)]) as job:
        made = split.make(*read(args.frames, args.landmarks), settings, seed, listed,
                          job.inputs["frames"].get("test_people"))
        made.train.to_parquet(job.out / "train.parquet", index=False)
        made.excluded.to_parquet(job.out / "excluded.parquet", index=False)
        fileio.write_json(job.out / "test.json", made.test)
        print(f"split: {len(made.train)} training videos of {made.train['person'].nunique()} people, "
              f"{len(made.test)} test people, {len(made.excluded)} videos excluded")
        job.publish("split", {"videos": len(made.train), "people": int(made.train["person"].nunique()),
                              "test_people": len(made.test), "excluded": len(made.excluded),
                              "utterances": ledger.used(pd.read_parquet(args.frames / "ledger.parquet"), listed)})


if __name__ == "__main__":
    _cli.run(main)
