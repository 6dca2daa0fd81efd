"""Distinguish an unavailable database from an invalid statement by the code that the driver reports.

The class of a driver's exception is not sufficient. psycopg raises an InternalError for a read-only server and a
ProgrammingError for a missing privilege, and SQLite uses one class for a full disk and for an invalid statement.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import peewee
import psycopg
from playhouse.pool import MaxConnectionsExceeded

from app.exceptions import StatementFailed, StoreUnavailable
from app.store.backends.backend import Cursor, Values

ERRORS = (peewee.DatabaseError, peewee.InterfaceError, sqlite3.Error, psycopg.Error)

AWAY = "The database cannot be reached"
ENDED = "The database ended the statement or transaction"
BUSY = "The database is busy"
READ_ONLY = "The database is read-only"
FULL = "The disk of the database is full"
LIMIT = "The database has reached one of its limits"
FORBIDDEN = "The database refuses this user the access that Tally needs"
INCOMPLETE = (
    "The database lacks tables or columns that this version needs. "
    "Run tally db upgrade and, on PostgreSQL, check the search_path"
)
MOVED = "The database is being moved, or was moved, to PostgreSQL"
HOW_TO_GO_ON = "finish the move and set DATABASE_URL, or run: tally move --cancel"  # said by its triggers
DAMAGED = "The database is damaged"
UNREADABLE = "The file of the database cannot be opened, read or written"

PASSING = (AWAY, BUSY, READ_ONLY, MOVED)  # every statement must wait; other problems may depend on the statement

# Errors that an operator or the machine causes. A SQLSTATE is looked up as a whole, then by its first two characters,
# its class: https://www.postgresql.org/docs/current/errcodes-appendix.html. Any other code means an invalid statement.
POSTGRES = {
    "08": AWAY,
    "25006": READ_ONLY,
    "25P03": ENDED,  # idle_in_transaction_session_timeout
    "25P04": ENDED,  # transaction_timeout
    "28": FORBIDDEN,
    "3D": AWAY,  # no such database
    "3F": INCOMPLETE,  # no schema of the search_path exists
    "40": ENDED,  # serialization failures, deadlocks, conflicts with the recovery of a standby
    "42501": FORBIDDEN,
    "42P01": INCOMPLETE,  # no such table
    "42703": INCOMPLETE,  # no such column
    "53": LIMIT,
    "53100": FULL,
    "55": ENDED,  # lock_timeout among others
    "57": AWAY,  # shutdown, starting up, dropped
    "57014": ENDED,  # statement_timeout, or a cancel request
    "58": UNREADABLE,
    "F0": UNREADABLE,
    "XX001": DAMAGED,
    "XX002": DAMAGED,
}
SQLITE = {
    sqlite3.SQLITE_PERM: READ_ONLY,
    sqlite3.SQLITE_BUSY: BUSY,
    sqlite3.SQLITE_LOCKED: BUSY,
    sqlite3.SQLITE_NOMEM: LIMIT,
    sqlite3.SQLITE_READONLY: READ_ONLY,
    sqlite3.SQLITE_INTERRUPT: ENDED,
    sqlite3.SQLITE_IOERR: UNREADABLE,
    sqlite3.SQLITE_CORRUPT: DAMAGED,
    sqlite3.SQLITE_FULL: FULL,
    sqlite3.SQLITE_CANTOPEN: UNREADABLE,
    sqlite3.SQLITE_PROTOCOL: BUSY,
    sqlite3.SQLITE_NOTADB: DAMAGED,
}
PRIMARY = 0xFF  # mask for the primary code in SQLite's extended codes
MISSING = ("no such table", "no such column", "has no column")  # SQLite has no code for these


@contextmanager
def translated() -> Iterator[None]:
    """Raise StoreUnavailable if the database is unavailable now, and let every other error pass.

    Raises:
        StatementFailed: the database is reachable, but cannot execute this statement.
        StoreUnavailable: the database cannot execute any statement.
    """
    try:
        yield
    except MaxConnectionsExceeded as error:
        raise StoreUnavailable("No database connection came free in time.") from error
    except ERRORS as error:
        problem = _problem(error)
        if problem is None:
            raise
        message = str(error).strip() or type(error).__name__
        kind = StoreUnavailable if problem in PASSING else StatementFailed
        raise kind(f"{problem}: {message.splitlines()[0].rstrip('.')}.") from error


def _problem(error: Exception) -> str | None:
    """Return the problem of the database, or None if the statement is invalid."""
    error = getattr(error, "orig", error)  # the driver's exception, if Peewee has wrapped it
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", 0)
        if code == sqlite3.SQLITE_CONSTRAINT_TRIGGER and str(error) == HOW_TO_GO_ON:  # see `move_state`
            return MOVED
        found = SQLITE.get(code & PRIMARY)
        return found or (INCOMPLETE if any(words in str(error) for words in MISSING) else None)
    state = getattr(error, "sqlstate", None)
    if state:
        return POSTGRES.get(state) or POSTGRES.get(state[:2])
    # libpq reports no code if a connection cannot be opened or breaks.
    is_broken = isinstance(error, psycopg.OperationalError | psycopg.InterfaceError | peewee.InterfaceError)
    return AWAY if is_broken else None


class Availability(peewee.Database):
    """Peewee database that raises StoreUnavailable whenever the database is unavailable."""

    def connect(self, reuse_if_open: bool = False) -> bool:
        with translated():
            return super().connect(reuse_if_open)

    def execute_sql(self, sql: str, params: Values | None = None) -> Cursor:
        with translated():
            cursor: Cursor = super().execute_sql(sql, params)  # type: ignore[no-untyped-call]  # as in the stubs
            return cursor

    def fetch_int(self, sql: str, params: Values | None = None) -> int:
        number: int = self.execute_sql(sql, params).fetchone()[0]
        return number

    def begin(self) -> None:
        with translated():
            super().begin()

    def commit(self) -> None:
        with translated():
            super().commit()

    def drop_connection(self) -> None:
        self.close()

    def rollback(self) -> None:
        """Roll back the transaction without raising, so that the original error is the one that propagates.

        SQLite itself rolls back a transaction if its disk is full or fails. If the rollback fails, the connection is
        closed, which also rolls back.
        """
        try:
            super().rollback()
        except ERRORS:
            self.drop_connection()

    def savepoint(self) -> peewee._savepoint:
        return Savepoint(self)


class Savepoint(peewee._savepoint):
    """Savepoint whose rollback hides no error. If its transaction has ended, there is nothing to roll back."""

    def rollback(self, begin: bool = True) -> None:
        """Roll back to the savepoint."""
        try:
            super().rollback(begin)
        except (*ERRORS, StoreUnavailable):
            if begin:
                raise
