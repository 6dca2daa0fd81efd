"""Cost of a request in this process: Python by the hot path and by Flask, a lookup, and the limits of large bodies.

Run `python -m bench.request_cost`. The first table excludes the database: the writer accepts without writing. The
lookup of a user is compared with that by a new Peewee query. In the last table, each body runs in a process of its own,
on SQLite including the insert: processor time, and the peak memory above that of an idle process, without the body.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

from flask import Flask

from app import create_app
from app.config import Settings
from app.store import database
from app.store.events.writer import STORED, GroupCommitWriter
from app.store.models import Account
from app.store.people import accounts

EVENTS = 100_000
MALLOC = {"MALLOC_ARENA_MAX": "2", "MALLOC_MMAP_THRESHOLD_": "1048576"}  # as `app.ops.supervise` sets them
FEW = {1: 4_000, 10: 1_000, 100: 1_000}  # requests by number of events
LOOKUPS = 1_000
MIB = 2**20
EVENT = '{"customer":"C%s","product":"P","type":"T%s","timestamp":%s,"context":["u%d"]%s}'


def many(count: int = EVENTS, *, code: str = "", time: str = "1793000000000", more: str = "") -> list[str]:
    """Return the JSON of events; a `#` in `code` is replaced with the number of the event."""
    return [EVENT % (code.replace("#", str(n)), code.replace("#", str(n)), time, n % 997, more) for n in range(count)]


def array(events: list[str]) -> bytes:
    """Return a batch as a JSON array."""
    return f"[{','.join(events)}]".encode()


BODIES: dict[str, Callable[[], bytes]] = {
    "array": lambda: array(many()),
    "envelope": lambda: b'{"events":' + array(many()) + b"}",
    "NDJSON": lambda: "\n".join(many()).encode(),
    "unknown key in each": lambda: array(many(more=',"x":1')),
    "NUL in each": lambda: array(many(code="\\u0000")),
    "invalid, each": lambda: array(many(time="-1")),
    "invalid, each, NDJSON": lambda: "\n".join(many(time="-1")).encode(),
    "20,000 new customers and types": lambda: array(many(20_000, code="-#")),
    "new codes in each": lambda: array(many(code="-#")),
}


def send(app: Flask, body: bytes, content_type: str = "application/json") -> str:
    """Send a body through WSGI, and return the status."""
    environ = {
        "REQUEST_METHOD": "POST", "SCRIPT_NAME": "", "PATH_INFO": "/events", "QUERY_STRING": "",
        "CONTENT_TYPE": content_type, "CONTENT_LENGTH": str(len(body)), "HTTP_HOST": "127.0.0.1:8000",
        "SERVER_NAME": "127.0.0.1", "SERVER_PORT": "8000", "SERVER_PROTOCOL": "HTTP/1.1", "REMOTE_ADDR": "127.0.0.1",
        "wsgi.version": (1, 0), "wsgi.url_scheme": "http", "wsgi.input": BytesIO(body), "wsgi.errors": sys.stderr,
    }  # fmt: skip
    status: list[str] = []
    answer = app.wsgi_app(environ, lambda line, headers, error=None: status.append(line))
    b"".join(answer)
    getattr(answer, "close", int)()
    return status[0][:3]


def open_app(folder: str, **settings: object) -> Flask:
    """Return an application on a new SQLite database, without Redis."""
    given = {"data_dir": Path(folder), "secret_key": "a secret for the figures", "redis_url": "redis://127.0.0.1:1"}
    app = create_app(Settings(**(given | settings)))
    database.upgrade()
    return app


def microseconds(app: Flask, events: int) -> float:
    """Return the median time of a request of so many events."""
    body, times = array(many(events)), []
    for _ in range(FEW[events]):
        begun = time.perf_counter()
        assert send(app, body) == "200"
        times.append(time.perf_counter() - begun)
    return statistics.median(times) * 1e6


def lookups() -> tuple[float, float]:
    """Return the median time of finding a user in SQLite, in microseconds: by `find_one`, and by a new query."""
    with tempfile.TemporaryDirectory() as folder:
        app = open_app(folder)
        app.extensions["services"].accounts.add("anna", "admin", None, "correct horse")
        found = [], []
        for _ in range(LOOKUPS):
            for times, find in zip(
                found, (accounts.by_name, lambda name: Account.get(Account.name == name)), strict=True
            ):
                begun = time.perf_counter()
                assert find("anna")
                times.append(time.perf_counter() - begun)
        database.release()
    cached, new = (statistics.median(times) * 1e6 for times in found)
    return cached, new


def memory(name: str) -> float:
    """Return a figure of /proc/self/status in MiB."""
    return int(re.search(name + r":\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024


def cost(name: str) -> None:
    """Send one of `BODIES` in this process, and print its row."""
    with tempfile.TemporaryDirectory() as folder:
        app, body = open_app(folder), BODIES[name]()
        content_type = "application/x-ndjson" if "NDJSON" in name else "application/json"
        for one in (array(many(1)), array(many(1, time="-1"))):  # imports on first use do not count as the body's
            send(app, one)
        Path("/proc/self/clear_refs").write_text("5")
        before, begun = memory("VmRSS"), time.process_time()
        status = send(app, body, content_type)
        seconds, peak = time.process_time() - begun, memory("VmHWM") - before
    print(f"{name:34} {status} {len(body) / MIB:6.1f} MiB {seconds:6.2f} s {peak:6.0f} MiB", flush=True)


def main() -> None:
    """Print both tables."""
    print("µs a request, database left out: events, hot path, Flask")
    write, rows = GroupCommitWriter.write, {}
    for hot_path in (True, False):
        with tempfile.TemporaryDirectory() as folder:
            app = open_app(folder, hot_path=hot_path)
            send(app, array(many(1)))  # so that the codes are known
            GroupCommitWriter.write = lambda writer, entry: setattr(entry, "state", STORED)
            rows[hot_path] = [microseconds(app, events) for events in FEW]
            GroupCommitWriter.write = write
            database.release()
    for events, fast, slow in zip(FEW, rows[True], rows[False], strict=True):
        print(f"{events:4} {fast:6.0f} {slow:6.0f}")
    cached, new = lookups()
    print(f"µs to find a user: {cached:.0f}, with a new query {new:.0f}, ratio {new / cached:.1f}")
    print(f"one body of {EVENTS:,} events or fewer: status, size, processor time, peak beside the body")
    for name in BODIES:
        subprocess.run([sys.executable, "-m", "bench.request_cost", name], check=True, env=os.environ | MALLOC)


if __name__ == "__main__":
    cost(sys.argv[1]) if len(sys.argv) > 1 else main()
