"""Several processes of `torchrun` that learn as one: each takes its share of every batch. Alone, all of this does nothing.

An update of this project is several backward passes, each over nets of which the others are frozen, and reads gradients
between them. So gradients are averaged by an explicit all-reduce before each step of an optimiser, not by
DistributedDataParallel, whose hooks expect one forward and one backward of all parameters an iteration. Every function that
exchanges something must be called by all processes, in the same order.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn

from pipeline.core.errors import InputError

BUCKET = 2**23  # numbers that travel together: 32 MiB


def start() -> None:
    """Joins the group that torchrun describes in the environment; with CUDA on GPU LOCAL_RANK. InputError: there is none."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        return
    if torch.cuda.is_available():
        if (place := int(os.environ["LOCAL_RANK"])) >= (gpus := torch.cuda.device_count()):
            raise InputError(f"train.processes: process {place + 1} has no GPU of its own, there are {gpus}; set no more")
        torch.cuda.set_device(place)
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")


def stop() -> None:
    """Leaves the group."""
    if dist.is_initialized():
        dist.destroy_process_group()


def rank() -> int:
    """The number of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def world() -> int:
    """How many processes there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def first() -> bool:
    """Whether this process is the one that writes and tells."""
    return rank() == 0


def share(batch: int) -> range:
    """This process's slots of a batch of all. InputError when the batch does not divide."""
    if batch % world():
        raise InputError(f"a batch of {batch} cannot be shared evenly by {world()} processes: start as many as divide it")
    each = batch // world()
    return range(rank() * each, (rank() + 1) * each)


def anywhere(flag: bool) -> bool:
    """Whether any process says so."""
    if world() == 1:
        return flag
    said = torch.tensor(int(flag))
    dist.all_reduce(said, dist.ReduceOp.MAX)
    return bool(said)


@contextmanager
def together() -> Iterator[None]:
    """What is InputError within by one process is InputError by all, in the words of the first of them."""
    refusal = ""
    try:
        yield
    except InputError as error:
        if world() == 1:
            raise
        refusal = str(error)
    if anywhere(bool(refusal)):
        said = [""] * world()
        dist.all_gather_object(said, refusal)
        raise InputError(next(filter(None, said)))


@torch.no_grad()
def mean_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Every gradient becomes its mean over the processes, which must have one for the same parameters."""
    if world() == 1:
        return
    for bucket in _buckets([parameter.grad for parameter in parameters if parameter.grad is not None]):
        flat = torch.cat([gradient.reshape(-1) for gradient in bucket])
        dist.all_reduce(flat)
        flat /= world()
        for gradient, mean in zip(bucket, flat.split([gradient.numel() for gradient in bucket])):
            gradient.copy_(mean.view(gradient.shape))


def _buckets(gradients: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """The same in groups of one kind of number and about BUCKET numbers."""
    bucket: list[Tensor] = []
    for gradient in gradients:
        if bucket and (bucket[0].dtype != gradient.dtype or sum(map(Tensor.numel, bucket)) + gradient.numel() > BUCKET):
            yield bucket
            bucket = []
        bucket.append(gradient)
    if bucket:
        yield bucket


def gathered(tensor: Tensor) -> Tensor:
    """(n, …) of each process -> (world n, …) in the order of the processes. No gradient passes."""
    if world() == 1:
        return tensor.detach()
    parts = [torch.empty_like(tensor, memory_format=torch.contiguous_format) for _ in range(world())]
    dist.all_gather(parts, tensor.detach().contiguous())
    return torch.cat(parts)


def mean(scalars: Mapping[str, float]) -> dict[str, float]:
    """The mean of each scalar over the processes, which must have the same ones."""
    if world() == 1 or not scalars:
        return dict(scalars)
    total = torch.tensor(list(scalars.values()), dtype=torch.float64)
    dist.all_reduce(total)
    return dict(zip(scalars, (total / world()).tolist()))
