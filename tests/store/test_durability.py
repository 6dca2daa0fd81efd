"""A commit is on disk when it returns, which on SQLite depends on the settings of each connection."""

from __future__ import annotations

import threading

import pytest

from app.store import database as store
from tests.support.client import event
from tests.support.threads import at_once

sqlite_only = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
postgresql_only = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
FULL = 2


def read_pragmas(connection=None) -> tuple[str, int, int]:
    """Return a connection's journal mode, synchronous level and foreign-key enforcement."""
    connection = connection or store.database.connection()
    return tuple(
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous", "foreign_keys")
    )


@sqlite_only
def test_every_connection_uses_the_write_ahead_log_and_full_sync(app):
    assert at_once(4, lambda number: read_pragmas()) == [("wal", FULL, 1)] * 4
    assert read_pragmas() == ("wal", FULL, 1)
    store.release()
    assert read_pragmas() == ("wal", FULL, 1)


@sqlite_only
def test_events_and_reports_are_written_only_on_such_connections(app, admin, monkeypatch):
    opened = {}
    set_pragmas = store.database.obj._set_pragmas

    def spy(connection) -> None:
        set_pragmas(connection)
        opened.setdefault(threading.current_thread().name, set()).add(read_pragmas(connection))

    store.release()
    monkeypatch.setattr(store.database.obj, "_set_pragmas", spy)
    admin.send(event())
    admin.run_report()
    assert set().union(*opened.values()) == {("wal", FULL, 1)}
    assert {"MainThread", "writer"} <= set(opened)


@postgresql_only
def test_postgresql_commits_synchronously_by_default(app):
    level = store.database.execute_sql("SHOW synchronous_commit").fetchone()[0]
    assert level == "on"
