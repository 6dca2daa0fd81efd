"""A commit is on disk when it returns: on SQLite that is a matter of each connection's settings."""

from __future__ import annotations

import threading

import pytest

from app.store import database as store
from tests.support.client import event
from tests.support.threads import at_once

sqlite_only = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
postgresql_only = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
FULL = 2


def in_force(connection=None) -> tuple[str, int, int]:
    """A connection's journal mode, synchronous level and checking of foreign keys."""
    connection = connection or store.database.connection()
    return tuple(
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous", "foreign_keys")
    )


@sqlite_only
def test_every_connection_writes_ahead_and_waits_for_the_disk(app):
    assert at_once(4, lambda number: in_force()) == [("wal", FULL, 1)] * 4
    assert in_force() == ("wal", FULL, 1)
    store.release()
    assert in_force() == ("wal", FULL, 1)


@sqlite_only
def test_events_and_reports_are_written_on_such_connections_alone(app, admin, monkeypatch):
    opened = {}
    set_pragmas = store.database.obj._set_pragmas

    def spy(connection) -> None:
        set_pragmas(connection)
        opened.setdefault(threading.current_thread().name, set()).add(in_force(connection))

    store.release()
    monkeypatch.setattr(store.database.obj, "_set_pragmas", spy)
    admin.send(event())
    admin.run_report()
    assert set().union(*opened.values()) == {("wal", FULL, 1)}
    assert {"MainThread", "writer"} <= set(opened)


@postgresql_only
def test_postgresql_waits_for_the_disk_unless_its_operator_says_otherwise(app):
    level = store.database.execute_sql("SHOW synchronous_commit").fetchone()[0]
    assert level == "on"
