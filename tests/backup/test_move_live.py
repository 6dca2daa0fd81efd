"""The real service is moved to PostgreSQL under load, with the move killed on the way: the ledger balances.

In `make test`, tests/backup/test_move.py has events that are sent during a move and interrupted moves, and
tests/backup/test_killed.py the kills, in this process.
"""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator

import psycopg
import pytest

from tests.support import backing_servers, forked
from tests.support.client import event
from tests.support.running import Running, wait_until

pytestmark = [pytest.mark.processes, pytest.mark.soak]

PAUSE_SECONDS = 0.1  # between two events
ANSWER_SECONDS = 60


class Sender(threading.Thread):
    """A product that sends events one after the other, each until it is answered 200.

    Attributes:
        port: where the service is.
        answered: what was answered 200.
    """

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.port = port
        self.answered: list[str] = []
        self.is_done = threading.Event()

    def run(self) -> None:
        while not self.is_done.is_set():
            mark = f"event-{len(self.answered)}"
            if self._send(mark):
                self.answered.append(mark)
            self.is_done.wait(PAUSE_SECONDS)

    def _send(self, mark: str) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_SECONDS)
        body = json.dumps({"events": [event(context=[mark])]})
        try:
            headers = {"Content-Type": "application/json", "Idempotency-Key": mark}
            connection.request("POST", "/events", body, headers)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


@pytest.fixture
def target(postgres_server) -> str:
    return backing_servers.make_database(postgres_server, "moved_live")


@pytest.fixture
def services_started(tmp_path) -> Iterator[list[Running]]:
    started: list[Running] = []
    yield started
    for one in started:
        if not one.ended():
            one.stop()


def stored(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        return [mark for (mark,) in connection.execute("SELECT context[1] FROM event ORDER BY id")]


def test_no_event_is_lost_or_doubled_while_the_service_moves(tmp_path, target, services_started):
    first = Running(tmp_path, idle=["worker"], SPOOL="on").until_ready()
    services_started.append(first)
    sender = Sender(first.port)
    sender.start()
    wait_until(lambda: len(sender.answered) > 20, 20)

    place = {"folder": tmp_path, "environment": first.environment}
    with forked.Command("move", "--to", target, "--yes", **place) as killed:
        wait_until(lambda: list((first.data / "spool").glob("*.spool")) or killed.poll() is not None, 30)
        killed.kill()
    again = forked.tally("move", "--to", target, "--yes", "--json", **place)
    moved = json.loads(again.stdout)
    spooled_from = len(sender.answered)
    assert 20 < moved["events"] <= spooled_from
    wait_until(lambda: len(sender.answered) > spooled_from + 10, 20)
    first.stop()

    second = Running(tmp_path, idle=["worker"], SPOOL="on", DATABASE_URL=target, WEB_PROCESSES="1").until_ready()
    services_started.append(second)
    sender.port = second.port
    direct_from = len(sender.answered)
    wait_until(lambda: len(sender.answered) > direct_from + 10, 20)
    sender.is_done.set()
    sender.join()
    wait_until(lambda: not list((second.data / "spool").glob("*.spool")), 20)
    assert sorted(stored(target)) == sorted(sender.answered)
