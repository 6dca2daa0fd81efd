"""Service and PostgreSQL notice that the machine at the other end of a connection is gone."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.store import database as store
from tests.machines.conftest import PostgresOnNetwork

OPTIONS = ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT")


@pytest.fixture
def on_network(short_folder: Path) -> Iterator[None]:
    """A database that this process has opened over TCP, because a Unix socket has no other machine."""
    server = PostgresOnNetwork(Path(tempfile.mkdtemp(dir=short_folder)) / "pg", "127.0.0.1")
    store.open_database(server.url)
    yield
    store.release()
    store.database.close_all()
    server.stop()


@pytest.mark.usefixtures("on_network")
def test_both_sides_of_a_connection_check_whether_the_other_lives():
    names = ("tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count", "tcp_user_timeout")
    found = [store.database.execute_sql(f"SHOW {name}").fetchone()[0] for name in names]
    wire = socket.socket(fileno=os.dup(store.database.connection().fileno()))
    own = [wire.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in OPTIONS]
    wire.close()
    assert found == ["10", "5", "3", "25000"]
    assert own == [10, 5, 3, 25_000]
