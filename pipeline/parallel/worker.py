"""What a worker process does, whatever started it: runs one function on one thread and returns its result or exception."""

from __future__ import annotations

import os
import pickle
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

from pydantic import Field

from pipeline.core.config import Strict

THREADS, WORKER = "OMP_NUM_THREADS", "TALKING_HEADS_WORKER"


class Config(Strict):
    """`data.engine` of params/DATASET.yaml and `adapt.engine` of params.yaml: where work runs; it does not affect results."""

    kind: Literal["local", "ray", "slurm"]
    workers: int = Field(ge=1)  # tasks at a time
    slurm: dict[str, str | int]  # submitit's parameters of the executor (slurm_partition, timeout_min, …); {} elsewhere


def caught(function: Callable[[Any], Any], item: Any) -> tuple[bool, Any]:
    """In the worker: whether the function failed, and its result or the exception."""
    try:
        return False, function(item)
    except Exception as error:  # noqa: BLE001 - raised again where the results are taken
        error.add_note("".join(traceback.format_exc()))
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:  # noqa: BLE001 - whatever it is that cannot travel
            return True, RuntimeError(f"{type(error).__name__}: {error}\n{traceback.format_exc()}")
        return True, error


@contextmanager
def one_thread() -> Iterator[None]:
    """While a worker starts: how many threads its libraries take they read from the environment as they are loaded.

    Two processes on two cores, each with two threads of OpenBLAS, were seen to wait for each other for minutes.
    """
    before = os.environ.get(THREADS)
    os.environ[THREADS] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[THREADS]
        else:
            os.environ[THREADS] = before


def number() -> int:
    """Which of the local workers this process is, from 0: so that each may take a GPU of its own. 0 elsewhere."""
    return int(os.environ.get(WORKER, "0"))


def single() -> None:
    """In the worker: one thread, so that as many workers as cores do not slow each other down."""
    os.environ[THREADS] = "1"
    import cv2

    cv2.setNumThreads(1)
