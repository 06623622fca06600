"""How near a step comes to what the processor can do: counted FLOPs over time, of G, of the meta step, of the fine-tune step,
beside a single 3x3 convolution of 256 channels in the same precision; and beside another implementation of the networks.

`python -m benchmarks.rates [--peer CHECKOUT] [--rounds 9] [--threads 2]`: one process, one act of each after the other, again
and again, so that what changes slowly on the machine falls on all. 256 px, one image a step, K = 8, the networks and losses of
learn.ft in params/voxceleb2.yaml with random weights. Writes benchmarks/results/rates.json.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np

from benchmarks import cases, peer
from benchmarks.counters import flops
from benchmarks.gate import machine

RESULT = Path(__file__).resolve().parent / "results" / "rates.json"
K, PRECISIONS = 8, ("fp32", "bf16")
AS_THE_PEER = {"networks": {"attention_down": [], "attention_up": []}, "adversarial": {"d_steps": 1},
               "content": {"kind": "vgg", "preset": "v1", "weights": "caffe", "pool": "avg", "face": True}}
LEVEL = 0.95


class Act(NamedTuple):
    """Something to be timed."""

    run: Callable[[Callable[[], None]], object]  # calls what it is given where the part that is timed begins
    share: float = 1.0  # of the operations of a run, those of that part


def whole(act: Callable[[], object]) -> Act:
    """An act that is timed from its start."""
    def run(begin: Callable[[], None]) -> None:
        begin()
        act()

    return Act(run)


def convolutions() -> dict[str, Act]:
    """The single convolution, forwards, in both memory formats; and forwards and backwards."""
    import torch
    import torch.nn.functional as F

    def both(x: Any, k: Any) -> None:
        torch.autograd.grad(F.conv2d(x, k, padding=1).sum(), (x, k))

    made = {}
    for name, dtype in zip(PRECISIONS, (torch.float32, torch.bfloat16)):
        for memory in (torch.contiguous_format, torch.channels_last):
            x, k = (torch.randn(n, 256, s, s).to(dtype, memory_format=memory) for n, s in ((8, 64), (256, 3)))
            where = f"8x256x64x64 {str(memory)[6:]}"
            made[f"convolution {where} {name}"] = whole(partial(F.conv2d, x, k, padding=1))
            x, k = (tensor.clone().requires_grad_() for tensor in (x, k))
            made[f"convolution and gradients {where} {name}"] = whole(partial(both, x, k))
    return made


def ours(label: str, changes: dict[str, Any]) -> dict[str, Act]:
    """G, the meta step and the fine-tune step in both precisions, of one method."""
    import torch

    from benchmarks.gpu import sizes
    from model.api import Episode
    from model.backbones import perceptual

    one = cases.method("ft", cases.Size("voxceleb2", 1, {"ft": cases.merged({"batch": 1, "guard": {"after": 10**9}}, changes)}))
    with patch.object(perceptual, "_vgg", sizes.random_vgg):
        one.content  # noqa: B018  # made once
    x, y, x_s, y_s = cases.images(1, 256), cases.images(1, 256), cases.images(1, K, 256), cases.images(1, K, 256)
    episode, settings = Episode(x, y, x_s, y_s, torch.tensor([0])), one.config
    tuned = one.start(x_s[0], y_s[0])
    optimisers: dict[int, Any] = {}  # made once and kept from step to step, as in a run of many
    adam = SimpleNamespace(over=lambda learnt, lr: optimisers.setdefault(len(learnt), settings.tuning.adam.over(learnt, lr)))
    budget = SimpleNamespace(steps=2, lr=5e-5, lr_D=2e-4)
    tuning = SimpleNamespace(budget=lambda _: budget, adam=adam, batch=1, start=0.0, final=1.0)

    def forward(precision: Any) -> None:
        with torch.no_grad(), adversarial.autocast(precision, one.place):
            one.G_mean(y, psi_hat)

    def learn(precision: str) -> None:
        one.config = settings.model_copy(update={"precision": precision})
        one.learn(episode)

    def fine_tune(precision: str, begin: Callable[[], None]) -> None:
        tuned.learn(x, y, tuning=tuning, content=one.content, weights=settings.adversarial, precision=precision, seed=0,
                    report=lambda step, _: begin() if step == 1 else None)

    from model.few_shot import adversarial
    with torch.no_grad():
        psi_hat = one.G_mean.P(one.embed(x_s[0], y_s[0]))
    return {f"{label}{name} {precision}": act for precision in PRECISIONS for name, act in (
        ("G", whole(partial(forward, precision))), ("meta step", whole(partial(learn, precision))),
        ("fine-tune step", Act(partial(fine_tune, precision), 0.5)))}


def theirs(root: Path) -> dict[str, Act]:
    """The peer as it is, in float32, and under torch's autocast, which it does not use itself."""
    import torch

    def cast(act: Callable[[], object]) -> None:
        with torch.autocast("cpu", torch.bfloat16):
            act()

    made = peer.acts(root, cases.VIDEOS, K)
    return {f"peer {name} fp32": whole(act) for name, act in made.items()} | {
        f"peer {name} bf16": whole(partial(cast, act)) for name, act in made.items()}


def timed(act: Act) -> tuple[float, float]:
    """Seconds by the clock and of the processors, of all threads."""
    start = [0.0, 0.0]

    def begin() -> None:
        start[:] = time.perf_counter(), time.process_time()

    act.run(begin)
    return time.perf_counter() - start[0], time.process_time() - start[1]


def interval(values: Any) -> list[float]:
    """Median of rounds and its interval: of 2,000 medians of rounds drawn with replacement."""
    draw = np.random.default_rng(0)
    values = np.asarray(values)
    medians = np.median(values[draw.integers(0, len(values), (2000, len(values)))], axis=1)
    return [float(f"{v:.4g}") for v in (np.median(values), *np.quantile(medians, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]))]


def start(acts: dict[str, Act]) -> dict[str, Any]:
    """Name -> FLOPs, counted in an act that is not timed, and no seconds yet."""
    return {name: {"flops": round(flops(partial(timed, act)) * act.share), "wall": [], "cpu": []} for name, act in acts.items()}


def more(acts: dict[str, Act], found: dict[str, Any]) -> None:
    """One round: the seconds of one act of each."""
    for name, act in acts.items():
        for clock, seconds in zip(("wall", "cpu"), timed(act)):
            found[name][clock].append(seconds)


def summary(found: dict[str, Any]) -> dict[str, Any]:
    """What was measured, and what follows: shares of the convolution's rate and of the peer's time, round by round."""
    def seconds(name: str, clock: str) -> Any:
        return np.asarray(found[name][clock])

    facts: dict[str, Any] = {"acts": {}, "share of the convolution's rate": {}, "share of the peer's time": {}}
    fastest = {}
    for precision in PRECISIONS:
        kind = [n for n in found if n.startswith("convolution 8") and n.endswith(precision)]
        fastest[precision] = max(kind, key=lambda n: found[n]["flops"] / np.median(found[n]["cpu"]))
    for name, act in found.items():
        facts["acts"][name] = {"gflop": round(act["flops"] / 1e9, 2),
                               **{clock: interval(act[clock]) for clock in ("wall", "cpu")}}
        if not name.startswith("convolution 8"):
            one = fastest[name[-4:]]
            facts["share of the convolution's rate"][name] = {
                clock: interval(act["flops"] / seconds(name, clock) * seconds(one, clock) / found[one]["flops"])
                for clock in ("wall", "cpu")}
        same = name.removeprefix("as the peer: ")[:-5]
        for other in [n for n in found if n[:-5] == f"peer {same}" and name.startswith("as ")]:
            facts["share of the peer's time"][f"{name} / {other}"] = {
                clock: interval(seconds(name, clock) / seconds(other, clock)) for clock in ("wall", "cpu")}
    return facts | {"the convolution": fastest}


def main() -> None:
    """Measures, prints, writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", type=Path, help=f"a checkout of {peer.REPOSITORY} at {peer.COMMIT}")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULT)
    args = parser.parse_args()
    import torch

    torch.set_num_threads(args.threads)
    acts = convolutions() | ours("", {}) | (ours("as the peer: ", AS_THE_PEER) | theirs(args.peer) if args.peer else {})
    on = machine() | {"threads": args.threads, "level": LEVEL}
    if args.peer:
        on["peer"] = f"{peer.REPOSITORY} at {peer.COMMIT}"
    found = start(acts)
    for number in range(args.rounds):
        more(acts, found)
        facts = summary(found) | {"machine": on | {"rounds": number + 1, "load after": os.getloadavg()[0]}}
        args.out.write_text(json.dumps(facts, indent=1) + "\n")  # what there is, should the run be cut off
        print(f"round {number + 1} of {args.rounds}", flush=True)
    for part in ("share of the convolution's rate", "share of the peer's time"):
        for name, values in facts[part].items():
            print(f"{part}: {name}: wall {values['wall']}, cpu {values['cpu']}")


if __name__ == "__main__":
    main()
