"""A few updates of a small method, by one process or, under torchrun, by several that share each batch."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

import small  # noqa: E402

from model.api import Episode  # noqa: E402
from model.training import distributed, loop  # noqa: E402
from pipeline.core.errors import InputError  # noqa: E402

BATCHES = ([0, 2, 2, 4], [5, 1, 5, 3], [2, 0, 2, 1])  # the same video in one process's share and in that of two
# With so large an eps a step is as large as the gradient: no error of its scale is hidden, no rounding error made a step.
SMOOTH = {"adam": {"beta1": 0.5, "beta2": 0.999, "eps": 1.0}}
RATES = {"pix2pixhd": {"lr": 1e-3}, "ff": {"lr": 0.01, "lr_D": 0.01, "lr_W": 1.0}}


def share(step: int) -> Episode:
    """This process's part of the batch."""
    slots = distributed.share(4)
    return Episode(*(part[slots.start:slots.stop].clone() for part in small.episode(step, BATCHES[step])))


def learnt(name: str, **changes: Any) -> dict[str, Any]:
    """What three updates log and leave behind."""
    one = small.method(name, **SMOOTH, **RATES.get(name, RATES["ff"]), **changes)
    scalars = [one.learn(share(step)) for step in range(len(BATCHES))]
    columns = one.D.W.read(range(small.VIDEOS)) if hasattr(one.D, "W") else {}
    return {"scalars": scalars, "state": one.state(), "W": {key: torch.tensor(columns[key]) for key in ("W", "v", "last")
                                                           if len(columns)}}


def refusal(name: str, read: Callable[[], Episode]) -> str:
    """What a process says of its first episode."""
    given = {"work": Path("nowhere"), "log": lambda *_: None, "log_every": 1, "save_every": 1}
    try:
        loop.train(small.method(name), lambda _: read(), 1, **given)
    except InputError as sentence:
        return str(sentence)
    return ""


def broken() -> Episode:
    """The first batch, whose last frame is broken."""
    batch = share(0)
    if distributed.rank() == distributed.world() - 1:
        batch.x_t[-1, 0, 0, 0] = float("nan")
    return batch


def unreadable() -> Episode:
    """The first batch, whose last frame cannot be read."""
    if distributed.rank() == distributed.world() - 1:
        raise InputError("the frame is damaged")
    return share(0)


def exchanged() -> dict[str, Any]:
    """The functions of model/training/distributed.py on numbers that tell the processes apart."""
    rank, some, others = distributed.rank(), torch.nn.Parameter(torch.zeros(3)), torch.nn.Parameter(torch.zeros(2, 2))
    some.grad, others.grad = torch.tensor([1.0, 2.0, 3.0]) * (rank + 1), torch.full((2, 2), float(rank)).t()
    distributed.BUCKET = 3
    distributed.mean_gradients([some, others, torch.nn.Parameter(torch.zeros(1))])
    return {"gradients": (some.grad, others.grad), "gathered": distributed.gathered(torch.tensor([[rank, 7]])),
            "mean": distributed.mean({"a": rank, "b": 2.0}),
            "anywhere": (distributed.anywhere(rank == 1), distributed.anywhere(False)),
            "share": list(distributed.share(6)), "first": distributed.first()}


if __name__ == "__main__":
    from model.backbones import perceptual

    perceptual.efflite0 = small.Eyes  # type: ignore[assignment]  # frozen features without weights files
    torch.set_num_threads(1)
    distributed.start()
    made = {"ff": learnt("ff"), "ft": learnt("ft"), "ft in parts": learnt("ft", micro_batch=1),
            "pix2pixhd": learnt("pix2pixhd"),
            "refused": {name: refusal(name, broken) for name in ("ff", "pix2pixhd", "x2face")},
            "unread": refusal("ff", unreadable), "exchanged": exchanged()}
    torch.save(made, Path(sys.argv[1]) / f"{distributed.rank()}.pt")
    distributed.stop()
