"""W: one column per training video (section 3.1), in a sparse file, with an optimiser that updates only a batch's columns.

The optimiser equals torch's Adam with betas (0, beta2) over the whole matrix, evaluated lazily. With beta1 = 0 a column without
a gradient does not move and its v decays by beta2 per step, so that all missed steps are applied at the column's next update:

    v = beta2^(t - last) v + (1 - beta2) g^2        W_i = W_i - lr g / (sqrt(v / (1 - beta2^t)) + eps)

where t counts the updates of W and `last` is the t of the column's previous update. Time and memory of an update therefore do
not depend on the number of videos: only the batch's columns are read, updated, and part of the autograd graph.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import IO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.training import distributed
from model.training.optim import Adam
from pipeline.core.errors import InputError

PIECE = 2**20  # bytes copied at a time


class Columns:
    """The columns W_i, their v and `last`: record i of an unnamed temporary file in TMPDIR or /tmp.

    A column without an update is not stored; it is a function of (seed, i): U(-0.1, 0.1).
    """

    def __init__(self, num_videos: int, n: int, seed: int) -> None:
        self.num_videos, self.seed, self.t = num_videos, seed, 0
        self.record = np.dtype([("last", np.int64), ("W", np.float32, (n,)), ("v", np.float32, (n,))])

    def __call__(self, i: Tensor) -> Tensor:
        """i (B,) -> W_i (B, N), a leaf that requires a gradient."""
        return torch.from_numpy(self.read(i.tolist())["W"].copy()).to(i.device).requires_grad_()

    def step(self, i: Tensor, gradient: Tensor, lr: float, adam: Adam) -> None:
        """Makes one update, t + 1, from every process's gradients (B, N) of W_i; their files stay identical.

        Gradients of a video that occurs twice are summed. Adam's beta1 is not used. InputError, and nothing is written, when
        the result is not finite: checkpoints do not check the columns again.
        """
        i, gradient = distributed.gathered(i).cpu(), distributed.gathered(gradient).cpu().double() / distributed.world()
        videos, place = i.unique(return_inverse=True)
        g = gradient.new_zeros(len(videos), gradient.shape[1]).index_add_(0, place, gradient).numpy()
        self.t += 1
        found = self.read(videos.tolist())
        v = adam.beta2 ** (self.t - found["last"])[:, None] * found["v"] + (1 - adam.beta2) * g * g
        found["W"] -= lr * g / (np.sqrt(v / (1 - adam.beta2**self.t)) + adam.eps)
        found["v"], found["last"] = v, self.t
        if not (np.isfinite(found["W"]) & np.isfinite(found["v"])).all():
            raise InputError(f"update {self.t} of W: a column or its v is not finite; lower lr_W or set precision to fp32")
        for video, record in zip(videos.tolist(), found):
            _write(self.file.fileno(), record.tobytes(), video * self.record.itemsize)

    def read(self, videos: Sequence[int]) -> NDArray[np.void]:
        """The records of these videos; `last` is 0 for a column without an update."""
        file, size = self.file.fileno(), self.record.itemsize
        found = np.frombuffer(b"".join(os.pread(file, size, video * size) for video in videos), self.record).copy()
        for n, video in enumerate(videos):
            if found["last"][n] == 0:
                found["W"][n] = self.initial(video)
        return found

    def initial(self, video: int) -> NDArray[np.float32]:
        """The column before its first update."""
        rng = np.random.Generator(np.random.Philox(key=np.array([self.seed, video], np.uint64)))
        return rng.uniform(-0.1, 0.1, self.record["W"].shape).astype(np.float32)

    @cached_property
    def file(self) -> IO[bytes]:
        """The temporary file, created at first use. InputError when the disk has no room for the columns of all videos."""
        size, folder = self.num_videos * self.record.itemsize, tempfile.gettempdir()
        if shutil.disk_usage(folder).free < size:
            raise InputError(f"{folder}: W of {self.num_videos} videos may take {size / 2**20:.0f} MiB, which are not free "
                             "there; set TMPDIR to another folder")
        made = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  # open for as long as the run
        made.truncate(size)
        return made

    def save(self, path: Path) -> None:
        """Writes a sparse copy of the file: columns without an update take no space."""
        with path.open("wb") as copy:
            _copy(self.file.fileno(), copy.fileno())

    def load(self, path: Path) -> None:
        """Loads what `save` wrote. InputError when it has another number of videos or another N."""
        if (found := path.stat().st_size) != (due := self.num_videos * self.record.itemsize):
            raise InputError(f"{path} has {found} bytes where W of {self.num_videos} videos has {due}; "
                             "it belongs to another run")
        with path.open("rb") as copy:
            _copy(copy.fileno(), self.file.fileno())


def _copy(source: int, target: int) -> None:
    """Replaces the content of `target` by that of `source`, holes left out."""
    os.ftruncate(target, 0)
    os.ftruncate(target, os.fstat(source).st_size)
    end = 0
    while True:
        try:
            start = os.lseek(source, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # only a hole is left
                return
            raise
        end = os.lseek(source, start, os.SEEK_HOLE)
        while start < end:
            piece = os.pread(source, min(PIECE, end - start), start)
            _write(target, piece, start)
            start += len(piece)


def _write(file: int, data: bytes, at: int) -> None:
    """Writes all of `data`. A nearly full disk writes a part without an error; only the next call raises it."""
    while data:
        written = os.pwrite(file, data, at)
        data, at = data[written:], at + written
