"""Tells a database that cannot be reached from a statement that is wrong."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from peewee import Database, InterfaceError, OperationalError
from playhouse.pool import MaxConnectionsExceeded

from app.exceptions import StoreUnavailable

# Peewee's own classes, and the drivers', which raw cursors raise.
NOT_NOW = (OperationalError, InterfaceError, sqlite3.OperationalError, psycopg.OperationalError, psycopg.InterfaceError)
# SQLite has one class for "not now" and for a wrong statement, which is a fault of ours: these are its words.
WRONG_STATEMENT = ("no such", "syntax error", "has no column")


@contextmanager
def translated() -> Iterator[None]:
    """Turn a driver's "not reachable" into StoreUnavailable; everything else passes."""
    try:
        yield
    except MaxConnectionsExceeded as error:
        raise StoreUnavailable("No database connection came free in time.") from error
    except NOT_NOW as error:
        message = str(error).strip() or type(error).__name__
        if any(words in message for words in WRONG_STATEMENT):
            raise
        raise StoreUnavailable(f"The database cannot be reached: {message.splitlines()[0]}") from error


class Availability(Database):
    """A Peewee database whose every way to the server raises StoreUnavailable where the server is away."""

    def connect(self, *args: object, **kwargs: object) -> bool:
        """See Peewee's `Database.connect`."""
        with translated():
            return super().connect(*args, **kwargs)

    def execute_sql(self, *args: object, **kwargs: object) -> object:
        """See Peewee's `Database.execute_sql`."""
        with translated():
            return super().execute_sql(*args, **kwargs)

    def begin(self, *args: object, **kwargs: object) -> None:
        """See Peewee's `Database.begin`."""
        with translated():
            super().begin(*args, **kwargs)

    def commit(self) -> object:
        """See Peewee's `Database.commit`."""
        with translated():
            return super().commit()

    def rollback(self) -> object:
        """See Peewee's `Database.rollback`; a connection that is gone has taken everything back already."""
        with translated():
            return super().rollback()
