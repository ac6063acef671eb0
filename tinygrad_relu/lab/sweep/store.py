"""The results of a sweep: a database of SQLite with a row for each run.

The sweep is its only writer, and commits the rows of each finished task at once. It writes ahead (WAL), so others read meanwhile.
"""
from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from ...autodiff.node import Array
from ...files import AnyPath, check_writable, fcntl
from .settings import DIGEST, Plan, Run

APPLICATION = 0x7469_7275       # in the header of the file
PATIENCE = 10.0         # seconds, if another program writes
MAPPED = 1 << 30        # bytes of the file that are read without a copy
BYTES = f"S{DIGEST}"    # NumPy's type of a key
TABLES = """
CREATE TABLE runs (key TEXT PRIMARY KEY, settings TEXT NOT NULL, result TEXT, error TEXT, seconds REAL NOT NULL,
                   code TEXT NOT NULL, machine TEXT NOT NULL, finished REAL NOT NULL);
CREATE INDEX failed ON runs (key) WHERE error IS NOT NULL;
CREATE TABLE plans (plan TEXT PRIMARY KEY, begun REAL NOT NULL, keys BLOB) WITHOUT ROWID;
"""


class Store:
    """The open database; as a writer, if `write`, else only to read."""

    def __init__(self, path: AnyPath | None, *, write: bool = False) -> None:
        self.path, self.lock = path, None
        if write and path is not None:
            check_writable(path, "the results")
            self.lock = _lock(path)
        elif path is not None and not Path(path).is_file():
            raise FileNotFoundError(f"{path} does not exist, expected the results of a sweep")
        try:
            with self._told():
                self.connection = sqlite3.connect(":memory:" if path is None else path, timeout=PATIENCE, isolation_level=None)
                self._prepare(write)
        except BaseException:
            self.close()
            raise

    def _prepare(self, write: bool) -> None:
        found = self.ask("PRAGMA application_id")[0][0]
        tables = self.ask("SELECT count(*) FROM sqlite_master")[0][0]
        if found != APPLICATION and (tables or not write):
            raise ValueError(f"{self.path} is {'another' if tables else 'an empty'} database, expected the results of a sweep")
        if write and self.path is not None:
            self.ask("PRAGMA journal_mode = WAL")
            self.ask("PRAGMA synchronous = FULL")       # what is committed survives a loss of power, too
            if (damage := self.ask("PRAGMA quick_check(1)")[0][0]) != "ok":
                raise sqlite3.DatabaseError(damage)
        if write and found != APPLICATION:
            self.connection.executescript(f"BEGIN; {TABLES} PRAGMA application_id = {APPLICATION}; COMMIT")
        elif not self.ask("SELECT 1 FROM pragma_table_info('plans') WHERE name = 'keys'"):      # of an older version
            self.ask("ALTER TABLE plans ADD COLUMN keys BLOB" if write else
                     "CREATE TEMP VIEW plans AS SELECT *, NULL AS keys FROM main.plans")
        self.connection.execute("PRAGMA query_only = " + ("OFF" if write else "ON"))
        self.connection.execute(f"PRAGMA mmap_size = {MAPPED}")

    @contextmanager
    def _told(self) -> Iterator[None]:
        """An error of SQLite becomes a sentence that names the file."""
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", None)
            what = ("is locked by another program" if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) else
                    "is damaged, or no database" if isinstance(error, sqlite3.DatabaseError) and code in (
                        None, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) else "cannot be used")
            raise OSError(f"{self.path} {what} ({error}); expected the results of a sweep") from error

    def ask(self, question: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._told():
            return self.connection.execute(question, values).fetchall()

    def close(self) -> None:
        with suppress(sqlite3.Error, AttributeError):       # it may never have been opened
            self.connection.close()
        if self.lock is not None:
            with suppress(OSError):
                os.unlink(_lock_name(self.path))        # type: ignore[arg-type]
            os.close(self.lock)
            self.lock = None

    __del__ = close

    # -- writing ---------------------------------------------------------------------------------------------------------------

    def note(self, plan: Plan, keys: Iterable[str]) -> None:
        """Keep the plan with the keys of its runs, for `status`."""
        self.ask("INSERT OR REPLACE INTO plans VALUES (?, ?, ?)", (plan.to_json(), time.time(), _packed(sorted(keys))))

    def done(self, code: str | None = None) -> set[str]:
        """The keys of the runs that need not run again: those with a result, computed by this `code`, if it is given."""
        return {key for key, in self.ask("SELECT key FROM runs WHERE error IS NULL AND (? IS NULL OR code = ?)", (code, code))}

    def add(self, rows: Iterable[dict[str, Any]], runs: dict[str, Run]) -> None:
        """Rows of finished runs, in one transaction."""
        now = time.time()
        with self._told():
            self.connection.execute("BEGIN IMMEDIATE")
            self.connection.executemany("INSERT OR REPLACE INTO runs VALUES (?, ?, ?, ?, ?, ?, ?, ?)", [
                (row["key"], json.dumps(runs[row["key"]].settings), row["result"] and json.dumps(row["result"]), row["error"],
                 row["seconds"], row["code"], row["machine"], now) for row in rows])
            self.connection.execute("COMMIT")

    # -- reading ---------------------------------------------------------------------------------------------------------------

    def plans(self) -> list[tuple[Plan, float]]:
        """All plans that were begun, the latest last, and when."""
        return [(Plan(**json.loads(text)), begun) for text, begun in self.ask("SELECT plan, begun FROM plans ORDER BY begun")]

    def keys_of(self, plan: Plan) -> Array:
        """The keys of all runs of a plan, sorted."""
        ((noted,),) = self.ask("SELECT keys FROM plans WHERE plan = ?", (plan.to_json(),))
        return np.frombuffer(noted or _packed(sorted({run.key for run in plan.runs()})), BYTES)

    def keys(self, condition: str = "") -> Array:
        """The keys of the runs that meet a condition of SQL, sorted."""
        ((joined,),) = self.ask(f"SELECT group_concat(key, '') FROM runs {condition}")      # one row: a million would take long
        return np.sort(np.frombuffer(_packed([joined or ""]), BYTES), kind="stable")

    def running(self) -> bool:
        """Whether a sweep is writing into the file now."""
        try:
            lock = None if self.path is None or not os.path.exists(_lock_name(self.path)) else _lock(self.path)
        except OSError:
            return True
        if lock is not None:
            os.close(lock)
        return False


def _packed(keys: list[str]) -> bytes:
    return bytes.fromhex("".join(keys))


def _lock_name(path: AnyPath) -> str:
    return os.path.realpath(path) + "-lock"


def _lock(path: AnyPath) -> int | None:
    """Hold the file beside the database that its writer holds. The system lets go of it when the writer ends, however it does."""
    if fcntl is None:
        return None
    while True:
        file = os.open(_lock_name(path), os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(file)
            if isinstance(error, BlockingIOError):
                raise OSError(f"{path} is in use by another sweep, expected one that nobody writes to") from None
            return None                 # a file system without locks
        if os.fstat(file).st_nlink:
            return file
        os.close(file)                  # removed just before it was locked
