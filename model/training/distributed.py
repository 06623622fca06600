"""Data-parallel training by several processes of `torchrun`: each takes its share of every batch. No effect in one process.

An update consists of several backward passes, each with some of the networks frozen, and reads gradients in between.
Gradients are therefore averaged by an explicit all-reduce before each optimiser step, not by DistributedDataParallel, whose
hooks expect one forward and one backward pass of all parameters per iteration. All processes must call every function that
communicates, in the same order.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn

from pipeline.core.errors import InputError

BUCKET = 2**23  # float32 values per all-reduce: 32 MiB


def start() -> None:
    """Joins torchrun's process group; with CUDA on GPU number LOCAL_RANK, InputError when there is no such GPU."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        return
    if torch.cuda.is_available():
        if (place := int(os.environ["LOCAL_RANK"])) >= (gpus := torch.cuda.device_count()):
            raise InputError(f"train.processes: process {place + 1} has no GPU of its own; set it to at most {gpus}")
        torch.cuda.set_device(place)
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")


def stop() -> None:
    """Leaves the process group."""
    if dist.is_initialized():
        dist.destroy_process_group()


def rank() -> int:
    """Index of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def world() -> int:
    """Number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def first() -> bool:
    """Whether this is the process that writes files and messages."""
    return rank() == 0


def share(batch: int) -> range:
    """This process's rows of the whole batch. InputError when the batch does not divide evenly."""
    if batch % world():
        raise InputError(f"a batch of {batch} cannot be shared evenly by {world()} processes: start a number that divides it")
    each = batch // world()
    return range(rank() * each, (rank() + 1) * each)


def anywhere(flag: bool) -> bool:
    """Whether the flag is set in any process."""
    if world() == 1:
        return flag
    value = torch.tensor(int(flag))
    dist.all_reduce(value, dist.ReduceOp.MAX)
    return bool(value)


@contextmanager
def together() -> Iterator[None]:
    """Context in which an InputError of one process is raised by all, with the message of the first that failed."""
    message = ""
    try:
        yield
    except InputError as error:
        if world() == 1:
            raise
        message = str(error)
    if anywhere(bool(message)):
        messages = [""] * world()
        dist.all_gather_object(messages, message)
        raise InputError(next(filter(None, messages)))


@torch.no_grad()
def mean_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replaces every gradient by its mean over the processes; all must have gradients for the same parameters."""
    if world() == 1:
        return
    for bucket in _buckets([parameter.grad for parameter in parameters if parameter.grad is not None]):
        flat = torch.cat([gradient.reshape(-1) for gradient in bucket])
        dist.all_reduce(flat)
        flat /= world()
        for gradient, mean in zip(bucket, flat.split([gradient.numel() for gradient in bucket])):
            gradient.copy_(mean.view(gradient.shape))


def _buckets(gradients: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """The gradients in groups of one dtype and about BUCKET values."""
    bucket: list[Tensor] = []
    for gradient in gradients:
        if bucket and (bucket[0].dtype != gradient.dtype or sum(map(Tensor.numel, bucket)) + gradient.numel() > BUCKET):
            yield bucket
            bucket = []
        bucket.append(gradient)
    if bucket:
        yield bucket


def gathered(tensor: Tensor) -> Tensor:
    """(n, …) of each process -> (world n, …) in the order of the processes, detached."""
    if world() == 1:
        return tensor.detach()
    parts = [torch.empty_like(tensor, memory_format=torch.contiguous_format) for _ in range(world())]
    dist.all_gather(parts, tensor.detach().contiguous())
    return torch.cat(parts)


def mean(scalars: Mapping[str, float]) -> dict[str, float]:
    """The mean of each scalar over the processes; all must have the same names."""
    if world() == 1 or not scalars:
        return dict(scalars)
    total = torch.tensor(list(scalars.values()), dtype=torch.float64)
    dist.all_reduce(total)
    return dict(zip(scalars, (total / world()).tolist()))
