"""Who was shown what and answered what, in SQLite. No name, no address, no time of day: a number a rater.

Write-ahead log with synchronous=FULL: an answer for which `answer` has returned True is on the disk, whatever then ends the
process or the machine. Every method is one transaction, so that threads, and servers, may share the file.
"""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from pipeline.core.errors import InputError

TABLES = """
create table if not exists study (design text not null, key blob not null);
create table if not exists rater (id integer primary key autoincrement, token text not null unique, simulated integer not null);
create table if not exists answer (
    rater integer not null references rater (id), n integer not null, trial text not null,
    choice integer, ms integer, primary key (rater, n), unique (rater, trial)) without rowid;
create index if not exists shown on answer (trial, rater);
"""


class Turn(NamedTuple):
    """A trial before a rater who has not answered it yet: the n-th of theirs, from 1."""

    n: int
    trial: str


class Row(NamedTuple):
    """One answer."""

    rater: int
    simulated: bool
    n: int
    trial: str
    choice: int  # 0, 1 or 2
    ms: int | None  # from the page to the answer; None where the server was started between them


Pick = Callable[[list[str], Counter[str]], str | None]  # trials of this rater, times each was shown to anybody


class Answers:
    """The answers to one study. `simulated` marks every rater that begins here: such answers never reach a table."""

    def __init__(self, path: Path, design: str, *, simulated: bool) -> None:
        self.path, self.simulated, self._lock = path, simulated, threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._base = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
        for word in ("journal_mode=wal", "synchronous=full", "foreign_keys=on", "secure_delete=on"):
            self._base.execute(f"pragma {word}")
        self._base.executescript(TABLES)
        with self._transaction() as base:
            if not base.execute("select 1 from study").fetchone():
                base.execute("insert into study values (?, ?)", (design, secrets.token_bytes(32)))
            found, self.key = base.execute("select design, key from study").fetchone()
        if found != design:
            raise InputError(f"{path}: holds answers to a study of other rules (study or seed in params.yaml has changed "
                             f"since); "
                             "change them back, or move the file away to begin a new study")

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._base.execute("begin immediate")
            try:
                yield self._base
            except BaseException:
                self._base.execute("rollback")
                raise
            self._base.execute("commit")

    def close(self) -> None:
        """Ends the connection."""
        with self._lock:
            self._base.close()

    def start(self) -> str:
        """A new rater's token, which is kept as a digest only."""
        token = secrets.token_urlsafe(16)
        with self._transaction() as base:
            base.execute("insert into rater (token, simulated) values (?, ?)", (_digest(token), self.simulated))
        return token

    def rater(self, token: str) -> int | None:
        """Whose token it is; nobody's, if that rater began where the mark is another: the page says whether answers count."""
        with self._transaction() as base:
            found = base.execute("select id from rater where token = ? and simulated = ?",
                                 (_digest(token), self.simulated)).fetchone()
        return found[0] if found else None

    def answered(self, rater: int) -> int:
        """How many trials a rater has answered."""
        with self._transaction() as base:
            return int(base.execute("select count(choice) from answer where rater = ?", (rater,)).fetchone()[0])

    def turn(self, rater: int, pick: Pick, valid: Callable[[str], bool]) -> Turn | None:
        """The trial before a rater: the open one while it is `valid`, or a new one by `pick`; None when there is no more."""
        with self._transaction() as base:
            for n, trial in base.execute("select n, trial from answer where rater = ? and choice is null", (rater,)).fetchall():
                if valid(trial):
                    return Turn(n, trial)
                base.execute("delete from answer where rater = ? and n = ?", (rater, n))
            mine = [trial for trial, in base.execute("select trial from answer where rater = ? order by n", (rater,))]
            shown = base.execute("select trial, count(*) from answer join rater on rater = rater.id where simulated = "
                                 "(select simulated from rater where id = ?) group by trial", (rater,))
            if (found := pick(mine, Counter(dict(shown.fetchall())))) is None:
                return None
            n = base.execute("select coalesce(max(n), 0) + 1 from answer where rater = ?", (rater,)).fetchone()[0]
            base.execute("insert into answer (rater, n, trial) values (?, ?, ?)", (rater, n, found))
        return Turn(n, found)

    def shown(self, rater: int, n: int) -> tuple[str, bool] | None:
        """The n-th trial of a rater and whether it is answered; None where there is none."""
        with self._transaction() as base:
            found = base.execute("select trial, choice from answer where rater = ? and n = ?", (rater, n)).fetchone()
        return (found[0], found[1] is not None) if found else None

    def answer(self, rater: int, n: int, choice: int, ms: int | None) -> bool:
        """Whether this was the first answer to the n-th trial of a rater; a later one changes nothing."""
        with self._transaction() as base:
            done = base.execute("update answer set choice = ?, ms = ? where rater = ? and n = ? and choice is null",
                                (choice, ms, rater, n))
        return done.rowcount == 1

    def withdraw(self, rater: int) -> None:
        """Removes a rater with all answers, from the write-ahead log too."""
        with self._transaction() as base:
            base.execute("delete from answer where rater = ?", (rater,))
            base.execute("delete from rater where id = ?", (rater,))
        with self._lock:
            self._base.execute("pragma wal_checkpoint(truncate)")

    def rows(self) -> list[Row]:
        """All answers, simulated ones too, by rater and order."""
        with self._transaction() as base:
            found = base.execute("select rater, simulated, n, trial, choice, ms from answer join rater on rater = rater.id "
                                 "where choice is not null order by rater, n").fetchall()
        return [Row(rater, bool(simulated), *rest) for rater, simulated, *rest in found]


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
