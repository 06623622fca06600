"""How far bf16, TF32, torch.compile and CUDA graphs are from float32 run layer by layer: G, the losses, the gradients.

One meta step of FT at the paper's size, batch 1, K = 8, from the same weights and pictures. The weights are random ones after
some float32 steps: with wholly random ones the networks scatter what goes in, and gradients in bf16 say little (at 64 px 0.6
off, after 15 steps 0.1, with trained weights 0.1). Errors are relative: |a - b| / |b| of all numbers of a frame, of a network's
gradients; of a loss, or of 1 where the loss is below 1.
"""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.gpu import sizes
from benchmarks.gpu.run import Bench
from model.api import Episode
from model.few_shot.adversarial import autocast, compute_dtype
from model.few_shot.folded_generator import folded

STEPS, LR = 20, 1e-3  # before anything is compared
WAYS: dict[str, dict[str, Any]] = {
    "fp32": {}, "fp32 again": {}, "tf32": {"tf32": True}, "bf16": {"precision": "bf16"}, "fp32, compiled": {"compiled": True},
    "bf16, compiled": {"precision": "bf16", "compiled": True}}
BOUNDS: dict[str, dict[str, float]] = {  # of G's frame, the losses, the gradients
    "fp32 again": {"G": 1e-5, "losses": 1e-4, "gradients": 1e-2},
    "tf32": {"G": 5e-3, "losses": 5e-3, "gradients": 0.2},
    "bf16": {"G": 1e-2, "losses": 1e-2, "gradients": 0.4},
    "fp32, compiled": {"G": 1e-4, "losses": 1e-3, "gradients": 2e-2},
    "bf16, compiled": {"G": 1e-2, "losses": 1e-2, "gradients": 0.4},
    "folded": {"G": 1e-4}, "folded, CUDA graph": {"G": 1e-6}}
Numbers = dict[str, dict[str, Tensor]]


def measure(bench: Bench) -> None:
    """Each way against the first."""
    state, reference = warmed(bench.quick), Numbers()

    def act(name: str) -> dict[str, Any]:
        found = step(bench.quick, state, **WAYS[name])
        if not reference:
            reference.update(found)
            return told(found)
        return compared(name, found, reference)

    for name in ("fp32", "fp32 again", "tf32", "bf16"):
        bench.attempt(name, partial(act, name))
    bench.attempt("folded", lambda: compared("folded", {"G": {"x_hat": plain(bench.quick, state)}}, reference))
    bench.attempt("folded, CUDA graph", partial(graphed, bench.quick, state))
    for name in ("fp32, compiled",) if bench.quick else ("bf16, compiled", "fp32, compiled"):  # minutes where nothing is cached
        bench.attempt(name, partial(act, name), need=20)


def ready(quick: bool, precision: str, tf32: bool = False) -> tuple[Any, Episode]:
    """FT with random weights, and an episode on its device."""
    sizes.tf32(tf32)
    once = {"realism": 1.0, "features": 10.0, "start": 0, "d_steps": 1}  # a second update of D would start from rounded weights
    one = sizes.method("ft", quick, precision=precision, adversarial=once, lr=LR, lr_D=LR)
    K = one.config.K
    x, y = faces(1 + K, one.facts.size)
    return one, Episode(*(part.to(one.place) for part in (x[:1], y[:1], x[None, 1:], y[None, 1:], torch.arange(1))))


def faces(n: int, size: int) -> tuple[Tensor, Tensor]:
    """Smooth pictures and landmark images (n, 3, size, size): noise alone would be all edges."""
    from made_faces import face

    from pipeline.landmarks import landmark_image

    x = torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    jitter = np.random.default_rng(0).normal(0, size / 64, (n, 68, 2))
    y = np.stack([landmark_image.draw(face(size) + by, size) for by in jitter])
    return F.interpolate(x, (size, size), mode="bicubic").clamp(0, 1), torch.from_numpy(y).permute(0, 3, 1, 2).float() / 255


def warmed(quick: bool) -> dict[str, Any]:
    """The state of FT after some float32 steps."""
    one, episode = ready(quick, "fp32")
    for _ in range(3 if quick else STEPS):
        one.learn(episode)
    return copy.deepcopy(one.state())


def step(quick: bool, state: dict[str, Any], precision: str = "fp32", tf32: bool = False, compiled: bool = False) -> Numbers:
    """One update: the frame G draws before it, its losses, its gradients by network; on the CPU."""
    one, episode = ready(quick, precision, tf32)
    one.load_state(copy.deepcopy(state))
    if compiled:
        torch._dynamo.reset()
        for net in (one.E, one.G, one.D):
            net.compile(backend="inductor" if one.place.type == "cuda" else "eager")
    one.E.eval(), one.G.eval()
    with torch.no_grad(), autocast(one.config.precision, one.place):
        x_hat = one.G(episode.y_t, one.G.P(one.E.average(episode.x_s, episode.y_s))).float().cpu()
    one.E.train(), one.G.train()
    losses = {name: torch.tensor(value) for name, value in one.learn(episode).items() if name.startswith("l_")}
    return {"G": {"x_hat": x_hat}, "losses": losses, "gradients": {name: gradients(getattr(one, name)) for name in "EGD"}}


def gradients(net: torch.nn.Module) -> Tensor:
    """All gradients of a network in one vector."""
    return torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None]).double().cpu()


def compared(name: str, found: Numbers, reference: Numbers) -> dict[str, Any]:
    """Relative errors, the worst of each kind, against their bounds."""
    errors = {kind: max(error(kind, value, reference[kind][key]) for key, value in values.items())
              for kind, values in found.items()}
    return {"errors": errors, "bounds": BOUNDS[name], "within": all(errors[kind] <= BOUNDS[name][kind] for kind in errors)}


def error(kind: str, a: Tensor, b: Tensor) -> float:
    """|a - b| / |b|."""
    least = 1.0 if kind == "losses" else 1e-12
    return float((a.double() - b.double()).norm() / b.double().norm().clamp_min(least))


def told(reference: Numbers) -> dict[str, Any]:
    """What the others are held against."""
    return {"losses": {name: float(value) for name, value in reference["losses"].items()},
            "gradients": {name: float(value.norm()) for name, value in reference["gradients"].items()}}


def person(quick: bool, state: dict[str, Any], precision: str) -> tuple[torch.nn.Module, Tensor]:
    """The folded generator of the episode's person, and the pose."""
    one, episode = ready(quick, precision)
    one.load_state(copy.deepcopy(state))
    with torch.no_grad(), autocast(precision, one.place):  # type: ignore[arg-type]
        psi = one.G.eval().P(one.E.eval().average(episode.x_s, episode.y_s)).float()
    return folded(one.G, psi, compute_dtype(one.config.precision, one.place)), episode.y_t


def plain(quick: bool, state: dict[str, Any]) -> Tensor:
    """The frame drawn by the folded generator."""
    own, y = person(quick, state, "fp32")
    with torch.no_grad():
        return own(y).float().cpu()


def graphed(quick: bool, state: dict[str, Any]) -> dict[str, Any]:
    """The same frame replayed from a CUDA graph, against the layers one by one; both in bf16."""
    own, y = person(quick, state, "bf16")
    with torch.no_grad():
        due = own(y).cpu()
        replay, out = capture(own, y)
        replay()
    return compared("folded, CUDA graph", {"G": {"x_hat": out.cpu()}}, {"G": {"x_hat": due}})


def capture(net: Any, y: Tensor) -> tuple[Any, Tensor]:
    """`net(y)` as a CUDA graph: what replays it, and where its output comes. RuntimeError on a CPU."""
    if y.device.type != "cuda":
        raise RuntimeError("CUDA graphs want a CUDA device")
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):
            net(y)
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = net(y)
    return graph.replay, out
