"""Tasks of Ray: on the cluster that RAY_ADDRESS names, or on this machine alone. The disk is shared by all of its nodes."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Any

from pipeline.parallel.worker import Config, caught, single


class Pool:
    """As in pipeline/parallel/executor.py. Ray itself begins a task anew whose worker has died."""

    def __init__(self, function: Callable[[Any], Any], config: Config, lives: int) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        if not os.environ.get("RAY_ADDRESS"):
            os.environ.setdefault("RAY_AUTH_MODE", "token")  # Ray listens on all addresses: others of the network are kept out
        import ray

        self._begun = not ray.is_initialized()
        if self._begun and os.environ.get("RAY_ADDRESS"):
            ray.init(logging_level=logging.WARNING)
        elif self._begun:
            ray.init(address="local", num_cpus=config.workers, include_dashboard=False, logging_level=logging.WARNING)
        self._function, self._where = ray.put(function), os.getcwd()
        gpus = int(ray.cluster_resources().get("GPU", 0))
        self._task = ray.remote(max_retries=lives - 1, num_gpus=share(gpus, config.workers))(_task)
        self._flying: dict[Any, int] = {}

    def give(self, number: int, item: Any) -> None:
        """Begins a task."""
        self._flying[self._task.remote(self._function, self._where, item)] = number

    def take(self) -> list[tuple[int, tuple[bool, Any]]]:
        """Waits until a task has ended."""
        import ray

        ended, _ = ray.wait(list(self._flying), num_returns=1)
        try:
            return [(self._flying.pop(result), ray.get(result)) for result in ended]
        except ray.exceptions.RayError as error:
            raise RuntimeError(f"Ray gave a task up ({type(error).__name__}): workers killed, or out of memory") from error

    def stop(self) -> None:
        """Ends all tasks."""
        import ray

        for result in self._flying:
            ray.cancel(result, force=True)
        if self._begun:
            ray.shutdown()


def share(gpus: int, workers: int) -> float:
    """Of a GPU, for each task: Ray hides GPUs from tasks that ask for none, and a GPU takes as many tasks as it must."""
    return round(10_000 // -(-workers // gpus) / 10_000, 4) if gpus else 0.0


def _task(function: Callable[[Any], Any], where: str, item: Any) -> tuple[bool, Any]:
    os.chdir(where)  # relative paths mean what they mean to the driver
    single()
    return caught(function, item)
