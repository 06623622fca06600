"""SLURM jobs by submitit. The disk is shared by all nodes; a driver that dies leaves its jobs to finish what they are at."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

from pipeline.core import stage
from pipeline.parallel.worker import Config, caught, one_thread, single


class Pool:
    """As in pipeline/parallel/executor.py. What is given between two takes becomes one array of jobs.

    `slurm` has submitit's parameters by their names there, and `cluster`: `local` runs the jobs as processes of this machine.
    """

    def __init__(self, function: Callable[[Any], Any], config: Config, lives: int) -> None:
        import submitit

        given: dict[str, Any] = dict(config.slurm)
        self._executor = submitit.AutoExecutor(stage.ROOT / "work" / "slurm", cluster=given.pop("cluster", None))
        self._executor.update_parameters(slurm_array_parallelism=config.workers, **given)
        self._pause = 10.0 if self._executor.cluster == "slurm" else .05  # seconds between two looks
        self._function, self._lives = partial(_job, function), lives
        self._given: dict[int, Any] = {}
        self._flying: dict[int, tuple[Any, Any]] = {}  # number -> item, job
        self._deaths: Counter[int] = Counter()

    def give(self, number: int, item: Any) -> None:
        """Begins a task with the next `take`."""
        self._given[number] = item

    def take(self) -> list[tuple[int, tuple[bool, Any]]]:
        """Waits until jobs have ended."""
        results: list[tuple[int, tuple[bool, Any]]] = []
        while not results:
            self._submit()
            if not (ended := [number for number, (_, job) in self._flying.items() if job.done()]):
                time.sleep(self._pause)
            results = [(number, result) for number in ended if (result := self._result(number))]
        return results

    def _submit(self) -> None:
        with one_thread():
            jobs = self._executor.map_array(self._function, list(self._given.values())) if self._given else []
        self._flying |= {number: (item, job) for (number, item), job in zip(self._given.items(), jobs)}
        self._given.clear()

    def _result(self, number: int) -> tuple[bool, Any] | None:
        """What the job of a task returned; None where it died and the task is given again."""
        from submitit.core.utils import FailedJobError, UncompletedJobError

        item, job = self._flying.pop(number)
        try:
            if self._executor.cluster != "slurm" and not job.paths.result_pickle.exists():
                raise UncompletedJobError("its process died")  # submitit would wait for a file that another machine writes
            result: tuple[bool, Any] = job.result()
        except (FailedJobError, UncompletedJobError) as error:  # killed, out of memory, or out of its time
            self._deaths[number] += 1
            if self._deaths[number] >= self._lives:
                raise RuntimeError(f"{self._deaths[number]} jobs died at one task; the last: {error}") from None
            self.give(number, item)
            return None
        for path in (job.paths.submitted_pickle, job.paths.result_pickle, job.paths.stdout, job.paths.stderr):
            path.unlink(missing_ok=True)
        return result

    def stop(self) -> None:
        """Cancels all jobs."""
        for _, job in self._flying.values():
            job.cancel(check=False)


def _job(function: Callable[[Any], Any], item: Any) -> tuple[bool, Any]:
    from submitit.core.utils import UncompletedJobError

    single()
    failed, value = caught(function, item)
    if isinstance(value, UncompletedJobError):  # raised by submitit's signal handler: the time is over
        raise value
    return failed, value
