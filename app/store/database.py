"""Process-wide database: opened by the application factory, migrated by a command, released after each request.

Also the fields of columns that the two databases store differently, or that hold JSON.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, TypeVar, cast

import orjson
from peewee import DatabaseProxy, Field, _savepoint
from playhouse.migrations import Runner

from app.event_columns import Context
from app.exceptions import DatabaseNewer, ReloadFailed, SettingInvalid
from app.store import replica
from app.store.backends.backend import Backend
from app.store.backends.postgres import PostgresBackend
from app.store.backends.sqlite import SqliteBackend
from app.store.replica import Replica

T = TypeVar("T")

MIGRATIONS = Path(__file__).parent / "migrations"
READ_URL_OF_SQLITE = (
    "DATABASE_READ_URL is set, but DATABASE_URL is SQLite, which has no replicas. Remove DATABASE_READ_URL, or set "
    "DATABASE_URL=postgresql://…"
)


class Proxy(DatabaseProxy):
    """Peewee proxy whose savepoints are those of the actual database, and which may lead a thread to a replica."""

    obj: SqliteBackend | PostgresBackend

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - as in Peewee
        return getattr(replica.reader.backend, name) if replica.reader.backend else super().__getattr__(name)

    def savepoint(self) -> _savepoint:
        """See Peewee's `Database.savepoint`."""
        return self.obj.savepoint()


proxy = Proxy()
_replica: Replica | None = None
database = cast(Backend, proxy)  # it forwards every attribute to the actual database


class ContextField(Field):
    """List of strings and nulls: text[] on PostgreSQL, for the fastest export; JSON text on SQLite."""

    field_type = "TEXT"

    def db_value(self, value: Context) -> object:
        return database.context_value(value)

    def python_value(self, value: str | list[str | None]) -> list[str | None]:
        items: list[str | None] = orjson.loads(value) if isinstance(value, str) else value
        return items


class JsonField(Field):
    """JSON value stored as text on both databases, with keys in the given order."""

    field_type = "TEXT"

    def db_value(self, value: object) -> str | None:
        return None if value is None else orjson.dumps(value).decode()

    def python_value(self, value: str | None) -> object:
        return None if value is None else orjson.loads(value)


def open_database(url: str, read_url: str = "") -> None:
    """Point the models at a database; nothing connects before the first query.

    Args:
        url: `sqlite:///path` (three slashes: relative to the working directory) or `postgresql://…`.
        read_url: `postgresql://…` of its replica, if there is one.

    Raises:
        SettingInvalid: a URL cannot be read, or SQLite should have a replica.
    """
    global _replica  # noqa: PLW0603 - as process-wide as the proxy
    backend = SqliteBackend.from_url(url) if url.startswith("sqlite") else PostgresBackend.from_url(url)
    _replica = None
    if read_url:
        if not isinstance(backend, PostgresBackend):
            raise SettingInvalid(READ_URL_OF_SQLITE)
        _replica = Replica(backend, PostgresBackend.from_url(read_url, "DATABASE_READ_URL"))
    proxy.initialize(backend)


def reading(seconds: float, check: Callable[[], None]) -> AbstractContextManager[object]:
    """Return a context in which this thread reads from the replica, if there is one; see `Replica.reading`."""
    return _replica.reading(seconds, check) if _replica else nullcontext()


def read(call: Callable[[], T]) -> T:
    """Return the result of a call for a page, which reads from the replica, if there is one; see `Replica.read`."""
    return _replica.read(call, replica.PAGE_SECONDS) if _replica else call()


def interrupter() -> Callable[[], None]:
    """Return a function for other threads that cancels this thread's current statement, wherever it runs."""
    primary, of_replica = database.interrupter(), replica.reader.interrupt
    return lambda: (of_replica[-1:] or [primary])[0]()


def release() -> None:
    """Return the calling thread's connection to the pool. Call it when a request or command ends, even if it fails."""
    if not database.is_closed():
        database.close()


def drop_connection() -> None:
    """Close the calling thread's connection instead of returning it to the pool."""
    if not database.is_closed():
        database.drop_connection()


def disconnect() -> None:
    """Close the calling thread's connection and all idle connections."""
    release()
    database.close_idle()
    if _replica:
        _replica.standby.close_idle()


def forget_connections() -> None:
    """Drop the connections opened before a fork without notifying the server, because the parent still uses them."""
    database.dispose()
    if _replica:
        _replica.standby.dispose()


def server_time() -> int:
    """Return the time of the database's clock in milliseconds.

    Removal by age uses only this clock, because a machine with a fast clock would remove data that is still needed.
    """
    return database.fetch_int(f"SELECT {database.clock_ms}")


def shrink_log() -> None:
    """Release the disk space of a write-ahead log that grew, if this does not block others."""
    database.shrink_log()


def has_item_index() -> bool:
    return database.has_item_index()


def index_items(max_bytes: int | None = None) -> bool:
    """Create the index of the events' context items, if it is missing. Nothing waits for it.

    Return False without creating it if the table of events is larger than `max_bytes`.
    """
    return database.index_items(max_bytes)


def give_back_space() -> None:
    """Return most of the space of erased rows to the file system, in short transactions."""
    database.give_back_space()


def transaction() -> AbstractContextManager[object]:
    """Return a transaction that durably commits everything written inside it, or nothing."""
    return database.atomic()


def pending() -> list[str]:
    return [migration.name for migration in _runner().status() if not migration.applied]


def check_writable() -> None:
    """Raise StoreUnavailable if the database is readable but events cannot be written."""
    database.check_writable()


def migrations() -> list[tuple[str, bool]]:
    """Return the names of all migrations in order, and whether each is applied."""
    return [(migration.name, bool(migration.applied)) for migration in _runner().status()]


def upgrade(said: Callable[[str], None] = lambda name: None) -> list[str]:
    """Migrate the database to this version, and return the names of the applied migrations.

    Raises:
        DatabaseNewer: a newer version has migrated the database; nothing is changed.
        SettingInvalid: SQLite's file cannot be created.
    """
    database.create()
    refuse_newer()
    with database.migration_lock():
        applied = _runner().up()
    for name in applied:
        said(name)
    return applied


def refuse_newer() -> None:
    """Raise DatabaseNewer if the database has migrations that this version does not have."""
    unknown = [migration.name for migration in _runner().status() if migration.path is None]
    if unknown:
        raise DatabaseNewer(
            f"The database is newer than this version of Tally: it has the migration {unknown[-1]}, "
            f"and this version ends with {_runner().migrations()[-1].name}. Start the newer version, "
            "or restore a backup from before its upgrade."
        )


def refuse_beside_older_code() -> None:
    """Raise ReloadFailed if the database needs a migration that is incompatible with the older code.

    Such a migration declares `needs_stop = True`.
    """
    for migration in _runner().status():
        if not migration.applied and getattr(migration.load(), "needs_stop", False):
            raise ReloadFailed(
                f"The migration {migration.name} cannot be applied while older code runs. "
                "Stop Tally, and start it again."
            )


def _runner() -> Runner:
    return Runner(proxy.obj, str(MIGRATIONS))
