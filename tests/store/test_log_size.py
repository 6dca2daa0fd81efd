"""SQLite's write-ahead log grows during a long read and shrinks after it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from app.store.backends import sqlite
from app.store.database import database, release
from tests.support.rows import fill

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def log(app, monkeypatch) -> Path:
    monkeypatch.setattr(sqlite, "LOG_BYTES", 100_000)
    return database.path.with_name(f"{database.path.name}-wal")


@pytest.fixture
def reader(log):
    """Start a long read, which the test ends."""
    connection = sqlite3.connect(database.path, isolation_level=None)
    connection.execute("BEGIN")
    connection.execute("SELECT count(*) FROM event").fetchall()
    yield connection
    connection.close()


def test_the_log_shrinks_after_a_long_read_has_ended(reader, log, services):
    fill(3_000)
    grown = log.stat().st_size
    assert grown > 2 * sqlite.LOG_BYTES
    services.scheduler.run_all()
    assert log.stat().st_size >= grown  # the reader still needs it
    reader.execute("COMMIT")
    services.scheduler.run_all()
    assert log.stat().st_size < sqlite.LOG_BYTES


def test_a_writer_does_not_wait_while_the_log_cannot_shrink(reader, log):
    fill(3_000)
    database.shrink_log()
    fill(1)
    assert database.execute_sql("PRAGMA busy_timeout").fetchone()[0] == sqlite.WAIT_SECONDS * 1000


def test_a_connection_limits_the_size_of_a_reset_log(app):
    assert database.execute_sql("PRAGMA journal_size_limit").fetchone()[0] == sqlite.LOG_BYTES
    release()
