"""Reloads, and another service that takes over: no connection is refused or reset, and no event is lost.

The clients never retry, like SDKs in the field.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import sqlite3
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.flows.conftest import ADMIN
from tests.support import backing_servers, forked, nginx
from tests.support.client import event
from tests.support.pace import SOAK, times
from tests.support.running import Running, free_port, wait_until

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(sys.platform != "linux", reason="the kernel is asked for what only Linux has"),
]
CLIENTS = times(8, 64)
ANSWER_SECONDS = 120
HEADERS = {"Content-Type": "application/json"}
PAUSE_SECONDS = 0.2  # of a client between two requests; less than web.QUIET_SECONDS, or the connection counts as idle
ENOUGH = times(60, 100)  # requests between two steps


class Clients:
    """Clients that send one event at a time until they are stopped. Every second one reuses its connection."""

    def __init__(self, port: int) -> None:
        self.answers: dict[str, object] = {}  # status, or error, by the id of the event
        self._port = port
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._send, args=(number,)) for number in range(CLIENTS)]

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def go_on(self) -> None:
        """Wait until some more requests were answered."""
        goal = len(self.answers) + ENOUGH
        wait_until(lambda: len(self.answers) >= goal, 60)

    def all_end(self) -> None:
        """Wait until each client has met an error, as when the service ends."""
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()

    def failures(self) -> Counter:
        return Counter(str(answer) for answer in self.answers.values() if answer != 200)

    def accepted(self) -> set[str]:
        return {one for one, answer in self.answers.items() if answer == 200}

    def _send(self, number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=ANSWER_SECONDS)
        for turn in itertools.count():
            one = f"{id(self)}-{number}-{turn}"
            if self._stop.wait(PAUSE_SECONDS):
                break
            try:
                connection.request("POST", "/events", json.dumps([event(context=[one])]), HEADERS)
                response = connection.getresponse()
                response.read()
                self.answers[one] = response.status
            except (OSError, http.client.HTTPException) as error:
                self.answers[one] = type(error).__name__
                break
            if number % 2:
                connection.close()
        connection.close()


@pytest.fixture(params=["sqlite", "postgresql"] if SOAK else ["postgresql"])  # shared by several web processes
def database_url(request, short_folder) -> Iterator[str]:
    """A database that two services share."""
    if request.param == "sqlite":
        yield f"sqlite:///{tempfile.mkdtemp(dir=short_folder)}/events.db"
    else:
        yield backing_servers.make_database(request.getfixturevalue("postgres_server"), "restarts")


def stored(url: str) -> Counter:
    """Return how often each event is stored, by its id."""
    if url.startswith("sqlite"):
        with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
            return Counter(one for (one,) in connection.execute("SELECT json_extract(context, '$[0]') FROM event"))
    with psycopg.connect(url) as connection:
        return Counter(one for (one,) in connection.execute("SELECT context[1] FROM event").fetchall())


def reload(service: Running) -> None:
    result = forked.tally("reload", folder=service.data.parent, environment=service.environment)
    assert result.returncode == 0, result.stderr


def test_no_client_notices_a_reload_or_that_another_service_takes_over(short_folder, database_url):
    settings = {"DATABASE_URL": database_url, "SECRET_KEY": "of both services", "ADMIN_PASSWORD": ADMIN[1]}
    idle = [
        "worker",
        "scheduler",
    ]  # which are replaced without having begun; tests/flows/test_following.py has a worker
    first = Running(Path(tempfile.mkdtemp(dir=short_folder)), idle=idle, **settings).until_ready()
    programs = ("web-process", "worker-1", "scheduler")
    with Clients(first.port) as reloading:
        for _ in range(times(1, 3)):
            old = [first.pid(program) for program in programs]
            reloading.go_on()
            reload(first)
            reloading.go_on()
            wait_until(lambda old=old: old[0] not in first.left(), 60)
            assert not set(old) & {first.pid(program) for program in programs}
    assert reloading.failures() == Counter()

    smaller = settings if SOAK else settings | {"WEB_PROCESSES": "1"}
    second = Running(Path(tempfile.mkdtemp(dir=short_folder)), idle=idle, **smaller)
    folder, port = Path(tempfile.mkdtemp(dir=short_folder)), free_port()
    with nginx.running(folder, port, first.port, first.data / "reports", second=second.port):
        with Clients(first.port) as direct, Clients(port) as proxied:
            second.until_ready()
            proxied.go_on()
            assert first.stop() == 0
            proxied.go_on()
            direct.all_end()
        assert proxied.failures() == Counter()
        assert set(direct.failures()) == {"ConnectionRefusedError"}, "whoever is connected is answered"
    assert second.stop() == 0
    counts = stored(database_url)
    assert set(counts.values()) == {1}
    assert counts.keys() == reloading.accepted() | direct.accepted() | proxied.accepted()
