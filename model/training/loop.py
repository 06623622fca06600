"""The training loop: prefetched episodes, logged scalars, periodic checkpoints, resuming, clean exit on signals."""

from __future__ import annotations

import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType

import numpy as np
import torch
from tqdm import tqdm

from model.api import Episode, Method
from model.training import checkpoint, distributed
from model.training.step_progress import Pace, say
from pipeline.core.errors import InputError

Scalars = dict[str, float]


def train(method: Method, episode: Callable[[int], Episode], steps: int, *, work: Path, log: Callable[[int, Scalars], None],
          log_every: int, save_every: int, readers: int = 1, look: Callable[[int], None] | None = None,
          who: Callable[[int], str] | None = None, bar: Callable[..., tqdm] = tqdm) -> None:
    """Trains `method` up to `steps` updates, from the newest checkpoint in `work` if there is one.

    `episode(step)` must depend on the step alone; then an interrupted and resumed run ends with the bytes of an
    uninterrupted one (on a CPU, with the same number of threads). `readers` threads call it some steps ahead. `log(step,
    scalars)` receives the means over each `log_every` updates; on resuming, the rows up to the checkpoint are logged again, so
    `log` may start empty. `look(step)` is called after each update; it may generate frames, but must not change the method.
    With several processes (model/training/distributed.py) each calls this with an `episode` that returns its own share; only
    the first process writes, logs and calls `look`.
    `bar` makes the progress bar: tqdm, or what takes the same arguments.

    After SIGTERM, a lost terminal (SIGHUP) or Ctrl-C the running step ends, its state is saved, and the process exits by
    SystemExit(143), after Ctrl-C by KeyboardInterrupt. InputError when the method rejects a step; the message includes
    `who(step)`, the videos of the batch, and saved checkpoints stay unchanged. InputError also when several processes run a
    method that does not share batches.
    """
    if distributed.world() > 1 and not method.shares_batches:
        raise InputError(f"{method.name}: {distributed.world()} processes were started, but the method trains on whole batches "
                         "only; start one process")
    found = checkpoint.load(method, work) or {"step": 0, "history": [], "recent": []}
    history: list[tuple[int, Scalars]] = [(step, scalars) for step, scalars in found["history"]]
    recent, first, saved = list(found["recent"]), int(found["step"]), int(found["step"])
    if not distributed.first():
        log, look = (lambda step, scalars: None), None
    for row in history:
        log(*row)
    with (heard() as signals, torch.random.fork_rng(devices=[]), closing(_ahead(episode, first, steps, readers)) as episodes,
          Pace(method.name, first, steps, bar) as pace):
        for step in range(first, steps):
            with pace.waiting(), distributed.together():
                batch = next(episodes)
            _seed(method.seed, step)
            try:
                recent.append(method.learn(batch))
            except InputError as error:
                raise InputError(_sentence(str(error), who(step) if who else "", saved)) from None
            done, scalars = step + 1, None
            if done % log_every == 0 or done == steps:
                scalars = _means(recent)
                history.append((done, scalars))
                recent.clear()
                log(done, scalars)
            pace.update(len(batch.x_t) * distributed.world(), scalars)
            if look:
                look(done)
            leaving = distributed.anywhere(bool(signals))
            if leaving or done % save_every == 0 or done == steps:
                with distributed.together():
                    whole = distributed.first() and checkpoint.save(method, done, {"history": history, "recent": recent}, work)
                saved = done if distributed.anywhere(whole) else saved
            if leaving and done < steps:
                _leave(signals, done, saved)


@contextmanager
def heard() -> Iterator[list[int]]:
    """Context in which SIGTERM, SIGHUP and Ctrl-C only append their number to the list. Has an effect in the main thread only.

    If SIGHUP is ignored, as under nohup, it stays ignored.
    """
    received: list[int] = []

    def handle(number: int, _: FrameType | None) -> None:
        received.append(number)
        say(f"{signal.Signals(number).name}: finishing this step, saving its state, then exiting")

    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    hangup = [signal.SIGHUP] * (signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN)
    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT, *hangup)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


def _leave(signals: list[int], done: int, saved: int) -> None:
    say(f"stopped after step {done}; run again to resume after step {saved}")
    if set(signals) == {signal.SIGINT} and distributed.first():
        raise KeyboardInterrupt
    raise SystemExit(128 + signal.SIGTERM)


def _sentence(error: str, videos: str, saved: int) -> str:
    kept = f"the checkpoint after step {saved} is unchanged" if saved else "there is no checkpoint yet"
    return "; ".join(filter(None, (error, videos and f"the batch: {videos}", kept)))


def _seed(seed: int, step: int) -> None:
    """Seeds torch's generators from the step, so that random numbers in `learn` are the same after resuming."""
    value = int(np.random.SeedSequence([seed, step]).generate_state(1)[0])
    torch.default_generator.manual_seed(value)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed(value)


def _ahead(episode: Callable[[int], Episode], first: int, steps: int, readers: int) -> Generator[Episode, None, None]:
    """Yields episode(first), … in order; `readers` threads prepare the next ones meanwhile."""
    pool, waiting = ThreadPoolExecutor(readers, "reader"), deque[Future[Episode]]()
    try:
        for step in range(first, steps):
            waiting.append(pool.submit(episode, step))
            if len(waiting) > readers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _means(rows: list[Scalars]) -> Scalars:
    """The mean of each scalar over the updates that returned it."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: sum(values) / len(values) for name in names if (values := [row[name] for row in rows if name in row])}
