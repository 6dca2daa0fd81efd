"""Rows of a SQLite database: reading them all from a consistent copy, and writing them into a new file."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from playhouse.migrations import Runner

from app.exceptions import BackupFailed, BackupRunning
from app.store.backends.availability import translated
from app.store.backends.sqlite import SqliteBackend
from app.store.database import MIGRATIONS
from app.store.operations.table_rows import (
    BYTES,
    HISTORY,
    MOVE,
    NUMBER,
    TEXT,
    Column,
    Lines,
    Table,
    between,
    driver_errors,
    escape,
    quoted,
    quoted_names,
    values,
)
from app.support.durability import sync
from app.support.file_urls import quoted as quoted_path

_translated = partial(driver_errors, sqlite3.Error, "SQLite")
COPY, INCOMING, REPLACED = ".copy", ".incoming", ".replaced"  # what a file's name has in addition to the database's
ROWS = 5_000  # per block
NULL = "\0"  # represents null until the values are escaped, because no text contains it
FREE_SHARE = 1.05  # of the database's size, for its copy
FAST = ("journal_mode = off", "synchronous = off", "cache_size = -64000")
ODD = "\b\f\r\v"  # beside tabs and line ends, the characters whose escape is a letter


class SqliteSource:
    """Reader of one SQLite file; see `app.store.operations.transfer.Source`."""

    def __init__(self, path: Path) -> None:
        with _translated():
            self._connection = sqlite3.connect(
                f"file:{quoted_path(path)}?mode=ro", uri=True, isolation_level=None, check_same_thread=False
            )
            self._connection.execute("BEGIN")  # every query sees the same snapshot
        self.server = f"SQLite {sqlite3.sqlite_version}"

    def tables(self) -> list[Table]:
        names = self.fetch(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite~_%' ESCAPE '~' ORDER BY name"
        )
        columns = 'SELECT name, type, "notnull" OR pk FROM pragma_table_info(?) ORDER BY cid'
        kinds, found = {"INTEGER": NUMBER, "BLOB": BYTES}, []
        for (name,) in names:
            if name not in (HISTORY, MOVE):
                rows = self.fetch(columns, (name,))
                found.append(
                    Table(name, tuple(Column(one, kinds.get(kind, TEXT), not fixed) for one, kind, fixed in rows))
                )
        return found

    def migrations(self) -> list[str]:
        if not self.fetch("SELECT 1 FROM sqlite_master WHERE name = ?", (HISTORY,)):
            return []
        return [name for (name,) in self.fetch(f"SELECT name FROM {HISTORY} ORDER BY name")]  # noqa: S608

    def count(self, table: str) -> int:
        number: int = self.fetch(f"SELECT count(*) FROM {quoted(table)}")[0][0]  # noqa: S608
        return number

    def lines(self, table: Table, after: int | None = None, until: int | None = None) -> Iterator[Lines]:
        if not table.has_id:
            yield from self._careful_lines(table, "")
            return
        columns, origin = _expressions(table), f"FROM {quoted(table.name)} {between(after, until)}"
        query = f"SELECT {' || char(9) || '.join(columns)} {origin} ORDER BY id"  # noqa: S608
        tabs = len(columns) - 1
        with _translated():
            cursor = self._connection.execute(query)  # SQLite joins the columns faster than Python
            while rows := cursor.fetchmany(ROWS):
                text = "\n".join([row for (row,) in rows])
                is_plain = text.count("\n") == len(rows) - 1 and text.count("\t") == tabs * len(rows)
                if is_plain and not any(char in text for char in ODD):
                    yield _encoded(text.replace("\\", "\\\\")), len(rows)
                else:
                    first, last = (int(rows[place][0].partition("\t")[0]) for place in (0, -1))
                    yield from self._careful_lines(table, f"WHERE id BETWEEN {first} AND {last} ORDER BY id")

    def _careful_lines(self, table: Table, chosen: str) -> Iterator[Lines]:
        """Yield rows whose values may contain any character."""
        query = f"SELECT {', '.join(_expressions(table))} FROM {quoted(table.name)} {chosen}"  # noqa: S608
        with _translated():
            cursor = self._connection.execute(query)
            while rows := cursor.fetchmany(ROWS):
                yield _encoded("\n".join(["\t".join([escape(str(v)) for v in row]) for row in rows])), len(rows)

    def fetch(self, query: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        with _translated():
            return self._connection.execute(query, parameters).fetchall()

    def sequences(self) -> dict[str, int]:
        return dict(self.fetch("SELECT name, seq FROM sqlite_sequence"))

    def close(self) -> None:
        self._connection.close()


class SqliteTarget:
    """Writer of a new SQLite file beside the database, which replaces it; see `app.store.operations.transfer.Target`.

    Args:
        path: the database's file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._incoming = path.with_name(path.name + INCOMING)
        self._connection: sqlite3.Connection | None = None

    def prepare(self, migrations: Sequence[str]) -> None:
        """Create the tables without the indexes of events."""
        self._remove()
        backend = SqliteBackend.from_url(f"sqlite:///{quoted_path(self._incoming.absolute())}")
        backend.create()
        with translated():
            Runner(backend, str(MIGRATIONS)).up(migrations[-1])
            backend.close()
        with _translated():
            connection = self._opened()
            self._indexes = connection.execute(
                "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = 'event' AND sql IS NOT NULL"
            ).fetchall()
            for name, _ in self._indexes:
                connection.execute(f"DROP INDEX {quoted(name)}")

    def write(self, table: Table, blocks: Iterable[Lines]) -> None:
        """Replace the rows of a table.

        Raises:
            ValueError: a line does not have the columns of the table.
        """
        marks = ", ".join("?" * len(table.columns))
        insert = f"INSERT INTO {quoted(table.name)} ({quoted_names(table.names)}) VALUES ({marks})"  # noqa: S608
        with _translated():
            connection = self._opened()
            connection.execute("BEGIN")
            connection.execute(f"DELETE FROM {quoted(table.name)}")  # noqa: S608
            for data, _ in blocks:
                connection.executemany(insert, values(data, table.columns))
            connection.execute("COMMIT")

    def finish(self, sequences: Mapping[str, int]) -> None:
        """Create the indexes, and write everything to disk."""
        with _translated():
            connection = self._opened()
            for name, number in sequences.items():
                connection.execute("DELETE FROM sqlite_sequence WHERE name = ?", (name,))
                connection.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", (name, number))
            for _, statement in self._indexes:
                connection.execute(statement)
            self.close()
        sync(self._incoming)

    @contextmanager
    def reading(self) -> Iterator[SqliteSource]:
        with closing(SqliteSource(self._incoming)) as source:
            yield source

    def discard(self) -> None:
        self.close()
        self._remove()

    def close(self) -> None:
        if self._connection:
            self._connection.close()
            self._connection = None

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = sqlite3.connect(self._incoming, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode = delete").fetchall()
            for pragma in FAST:  # nobody reads the file before it is complete and on disk
                self._connection.execute(f"PRAGMA {pragma}").fetchall()
        return self._connection

    def _remove(self) -> None:
        for suffix in ("", "-journal", "-wal", "-shm"):
            self._incoming.with_name(self._incoming.name + suffix).unlink(missing_ok=True)

    def replace(self) -> None:
        """Put the new file in the place of the database. The previous file is kept with `.replaced` in its name.

        Raises:
            BackupFailed: another process has the database open.
        """
        if self._path.exists() and self._path.stat().st_size:
            address = f"file:{quoted_path(self._path)}?mode=rw"
            with closing(sqlite3.connect(address, uri=True, timeout=1)) as connection:
                try:  # copies the log into the file and removes it, which only succeeds if nobody has it open
                    connection.execute("PRAGMA journal_mode = delete").fetchall()
                except sqlite3.DatabaseError as error:
                    if error.sqlite_errorcode in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                        message = f"Another process has the database {self._path} open. Stop Tally first."
                        raise BackupFailed(message) from None
                    # It is damaged, which may be the reason for the restore; its file and its log stay.
        kept = self._path.with_name(self._path.name + REPLACED)
        # The log first: a database with the log of another is damaged, whereas one without its log only lacks its end.
        for suffix in ("-wal", "-shm", ""):
            kept.with_name(kept.name + suffix).unlink(missing_ok=True)
            with suppress(FileNotFoundError):
                self._path.with_name(self._path.name + suffix).rename(kept.with_name(kept.name + suffix))
        self._incoming.rename(self._path)
        sync(self._path.parent)


@contextmanager
def copied(path: Path) -> Iterator[SqliteSource]:
    """Copy a database while it is in use, and return the copy as a source, which is removed afterwards.

    The copy takes seconds, so the database's log stays short. Writers do not wait for it.

    Raises:
        BackupFailed: another process copies the database, or the disk has no space for the copy.
    """
    copy = path.with_name(path.name + COPY)
    lock = _lock(copy)
    try:
        os.truncate(lock, 0)  # the rest of a copy whose process was killed
        found = os.statvfs(path.parent)
        free, needed = found.f_bavail * found.f_frsize, int(path.stat().st_size * FREE_SHARE) if path.exists() else 0
        if free < needed:
            raise BackupFailed(
                f"The disk of {path.parent} has {free // 2**20:,} MB left, and a copy of the database needs "
                f"{needed // 2**20:,} MB. Make room."
            )
        _copy(path, copy)
        with closing(SqliteSource(copy)) as source:
            yield source
    finally:
        copy.unlink(missing_ok=True)
        os.close(lock)


def _lock(copy: Path) -> int:
    """Create the file of a copy and return its descriptor, which holds a lock against other backups."""
    while True:
        lock = os.open(copy, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if copy.exists() and os.path.samestat(copy.stat(), os.fstat(lock)):
                return lock
        except BlockingIOError:
            os.close(lock)
            raise BackupRunning from None
        os.close(lock)  # its holder has just removed it


def _copy(path: Path, copy: Path) -> None:
    with (
        _translated(),
        closing(sqlite3.connect(f"file:{quoted_path(path)}?mode=rw", uri=True)) as source,
        closing(sqlite3.connect(copy)) as target,
    ):
        target.execute("PRAGMA synchronous = off")  # it is removed after a crash
        source.backup(target)
        target.execute("PRAGMA journal_mode = delete").fetchall()


def _encoded(text: str) -> bytes:
    """Return lines whose values are escaped, with nulls and the last line end."""
    return f"{text}\n".replace(NULL, "\\N").encode()


def _expressions(table: Table) -> list[str]:
    found = []
    for column in table.columns:
        name = quoted(column.name)
        value = f"'\\x' || lower(hex({name}))" if column.kind == BYTES else name
        found.append(f"CASE WHEN {name} IS NULL THEN char(0) ELSE {value} END" if column.is_nullable else value)
    return found
