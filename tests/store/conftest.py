"""Databases without migrations, and a recorder of SQL statements."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.store import database as store
from tests.support import backing_servers


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database_url(request, tmp_path: Path) -> str:
    """Create a database without tables."""
    if request.param == "sqlite":
        (tmp_path / "empty.db").touch()
        return f"sqlite:///{tmp_path / 'empty.db'}"
    return backing_servers.make_database(request.getfixturevalue("postgres_server"), "empty")


@pytest.fixture
def empty_database(empty_database_url: str) -> Iterator[None]:
    """Open the database without tables as the database of the process."""
    store.open_database(empty_database_url)
    yield
    store.release()
    if hasattr(store.database.obj, "close_all"):
        store.database.close_all()


@pytest.fixture
def statements(app, monkeypatch) -> list[str]:
    """Return a list that collects the statements sent from now on."""
    sent: list[str] = []
    execute = store.database.execute_sql

    def record(sql: str, *values: object) -> object:
        sent.append(sql)
        return execute(sql, *values)

    monkeypatch.setattr(store.database.obj, "execute_sql", record)
    return sent
