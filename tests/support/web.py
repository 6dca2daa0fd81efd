"""The service under its real web server, on a SQLite database, for tests that need real connections."""

from __future__ import annotations

import contextlib
import http.client
import os
import select
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.running import PYTHONPATH

HOST = "127.0.0.1"
SECONDS = 60  # to start, and for each response


@dataclass(frozen=True)
class Answer:
    """Response on a connection."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes


class Connection:
    """Connection on which the test sends and receives bytes."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection((HOST, port), timeout=SECONDS)

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *error: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def post(self, path: str, *headers: str, body: bytes = b"", media_type: str = "application/json") -> None:
        """Send the head of a POST, and part of its body."""
        lines = [f"POST {path} HTTP/1.1", "Host: tally.test", f"Content-Type: {media_type}", *headers, "", ""]
        self.send("\r\n".join(lines).encode() + body)

    def has_answer(self) -> bool:
        """Return whether a response has begun to arrive."""
        return bool(select.select([self.socket], [], [], 0)[0])

    def answer(self, method: str = "POST") -> Answer:
        """Read a response; an interim 100 is skipped."""
        response = http.client.HTTPResponse(self.socket, method=method)
        response.begin()
        return Answer(response.status, response.headers, response.read())


@dataclass(frozen=True)
class Web:
    """A running service."""

    port: int
    pid: int
    database: Path

    def connect(self) -> Connection:
        return Connection(self.port)

    def post(self, path: str, *headers: str, body: bytes) -> Answer:
        """POST a body with its length."""
        with self.connect() as connection:
            connection.post(path, f"Content-Length: {len(body)}", *headers, body=body)
            return connection.answer()

    def post_chunks(
        self, path: str, *headers: str, chunks: list[bytes], media_type: str = "application/json"
    ) -> Answer:
        """POST a body in chunks, without its length."""
        with self.connect() as connection:
            connection.post(path, "Transfer-Encoding: chunked", *headers, media_type=media_type)
            for piece in chunks:
                connection.send(chunk(piece))
            connection.send(LAST_CHUNK)
            return connection.answer()

    def count_events(self) -> int:
        with contextlib.closing(sqlite3.connect(self.database)) as connection:
            return connection.execute("SELECT count(*) FROM event").fetchone()[0]

    def peak_memory(self) -> float:
        """Return the peak resident memory of its largest process in MiB."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return max(_peak(int(pid)) for pid in children)


LAST_CHUNK = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """Return a piece of a chunked body."""
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


@contextlib.contextmanager
def serve(folder: Path, template: Path, **settings: object) -> Iterator[Web]:
    """Run the service under granian with a copy of a migrated SQLite database. Keywords are its settings."""
    database = Path(shutil.copy(template, folder / "events.db"))
    port = _free_port()
    given = {"DATA_DIR": folder, "REDIS_URL": f"unix://{folder}/no-redis.sock", "SECRET_KEY": "a secret for the tests"}
    process = subprocess.Popen(
        [sys.executable, "-m", "granian", "--interface", "wsgi", "--http", "1", "--no-ws"]
        + ["--host", HOST, "--port", str(port), "--blocking-threads", "32"]
        + ["--workers-kill-timeout", "2", "--log-level", "error", "wsgi:app"],
        cwd=folder,  # not the checkout, whose .env is the developer's
        env={
            **os.environ,
            "PYTHONPATH": PYTHONPATH,
            **{name: str(value) for name, value in (given | settings).items()},
        },
    )
    try:
        _await_port(process, port)
        yield Web(port, process.pid, database)
    finally:
        process.terminate()
        process.wait(SECONDS)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        return listener.getsockname()[1]


def _await_port(process: subprocess.Popen, port: int) -> None:
    deadline = time.monotonic() + SECONDS
    while True:
        assert process.poll() is None, "the web server ended"
        try:
            socket.create_connection((HOST, port), timeout=1).close()
            return
        except OSError:
            assert time.monotonic() < deadline, "the web server did not start"
            time.sleep(0.05)


def _peak(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))
