"""Training curves in a folder that DVC reads. They contain no times: the same run gives the same bytes."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dvclive import Live


class Curves:
    """Writes each row at once. After a failed write, as on a full disk, all rows are written again at the end."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.live, self.whole = folder, _live(folder), True
        self.rows: list[tuple[int, Mapping[str, float]]] = []

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        """One row: the scalars after `step` updates."""
        self.rows.append((step, scalars))
        try:
            _write(self.live, step, scalars)
        except OSError as error:
            if self.whole:
                with suppress(OSError):  # stderr may be a file on the same disk
                    print(f"{self.folder} cannot be written ({error}); training continues, the log is written at its end",
                          file=sys.stderr)
            self.whole = False

    def end(self) -> None:
        """Completes the folder; OSError when writing fails again."""
        if not self.whole:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.live = _live(self.folder)
            for row in self.rows:
                _write(self.live, *row)
        self.live.end()


@contextmanager
def curves(folder: Path) -> Iterator[Curves]:
    """Context in which rows can be logged; completes the folder at its end."""
    opened = Curves(folder)
    yield opened
    opened.end()


def _live(folder: Path) -> Live:
    from dvclive import Live

    return Live(str(folder), save_dvc_exp=False, dvcyaml=None, report=None, monitor_system=False)


def _write(live: Live, step: int, scalars: Mapping[str, float]) -> None:
    live.step = step
    for name, value in scalars.items():
        live.log_metric(name, value)
