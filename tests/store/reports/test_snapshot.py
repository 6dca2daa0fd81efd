"""A report is a snapshot: PostgreSQL gives out ids before it shows their rows, yet no row slips under a cut."""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import psycopg
import pytest

from app import create_app
from app.services.people.principal import SYSTEM
from app.services.reports import planning
from app.store import database as store
from app.store.events import select
from app.store.models import Report
from tests.support.client import FIRST, Client, event
from tests.support.running import wait_until
from tests.support.threads import Aside, at_once

pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)

GATE = 424_242  # an advisory lock of these tests
HELD = "HELD"  # events of this product have their ids, but cannot be committed while the gate is closed
PAUSE_SECONDS = 0.05  # between a writer's batches: without one each run has far more parts than the one before
TRIGGER = f"""
    CREATE FUNCTION wait_at_gate() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN PERFORM pg_advisory_xact_lock_shared({GATE}); RETURN NULL; END $$;
    CREATE TRIGGER wait_at_gate AFTER INSERT ON event FOR EACH ROW WHEN (NEW.product = '{HELD}')
        EXECUTE FUNCTION wait_at_gate()"""


class Gate:
    """Holds back the commit of events of the product HELD."""

    def __init__(self, url: str) -> None:
        self._connection = psycopg.connect(url, autocommit=True)
        self._connection.execute(TRIGGER)
        self._connection.execute("SELECT pg_advisory_lock(%s)", (GATE,))

    def open(self) -> None:
        self._connection.execute("SELECT pg_advisory_unlock_all()")

    def until_waiting(self, count: int) -> None:
        """Return when so many sessions wait for an advisory lock: the gate's or the cut's."""
        query = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        deadline = time.monotonic() + 5
        while self._connection.execute(query).fetchone()[0] < count:
            assert time.monotonic() < deadline, f"not {count} wait"
            time.sleep(0.01)

    def remove(self) -> None:
        self.open()
        self._connection.execute("DROP TRIGGER wait_at_gate ON event; DROP FUNCTION wait_at_gate")
        self._connection.close()


@pytest.fixture
def gate(app, database_url: str):
    gate = Gate(database_url)
    yield gate
    gate.remove()


@pytest.fixture
def another_process(app, settings) -> Client:
    """A client of a second application, which writes on a connection of its own."""
    database = store.database.obj
    client = Client(create_app(settings), None)
    store.proxy.initialize(database)  # both use the same pool
    return client


def rows_under(snapshot_max_id: int) -> int:
    return store.database.execute_sql("SELECT count(*) FROM event WHERE id <= %s", (snapshot_max_id,)).fetchone()[0]


def cut_of(services, job: dict) -> int:
    query = "SELECT snapshot_max_id FROM report WHERE job = %s"
    return store.database.execute_sql(query, (job["job"],)).fetchone()[0]


def test_the_cut_waits_for_an_event_that_has_a_lower_id_and_is_not_committed(
    admin, nobody, another_process, services, gate
):
    with Aside() as aside:
        held = aside.start(nobody.send, event(product=HELD))
        gate.until_waiting(1)
        another_process.send(event())  # a higher id, committed first
        report = aside.start(admin.start_report)
        gate.until_waiting(2)
        assert not report.done()
        gate.open()
        held.result()
        cut = cut_of(services, report.result())
    assert rows_under(cut) == 2


def test_events_that_come_while_the_cut_waits_are_not_in_the_report(admin, nobody, another_process, services, gate):
    nobody.send(event())
    with Aside() as aside:
        held = aside.start(nobody.send, event(product=HELD))
        gate.until_waiting(1)
        report = aside.start(admin.start_report)
        gate.until_waiting(2)
        late = aside.start(another_process.send, event(type="LATE"))
        gate.until_waiting(3)
        gate.open()
        held.result()
        cut = cut_of(services, report.result())
        late.result()
    assert rows_under(cut) == 2


@contextmanager
def writing(
    clients: Sequence[Client], make: Callable[[random.Random], dict], pause_seconds: float = 0
) -> Iterator[None]:
    """Each client sends batches meanwhile."""
    stop = threading.Event()

    def write(client: Client, number: int) -> None:
        chance = random.Random(number)
        while not stop.wait(pause_seconds):
            client.send(*[make(chance) for _ in range(20)])

    with Aside() as aside:
        writers = [aside.start(write, client, number) for number, client in enumerate(clients)]
        try:
            yield
        finally:
            stop.set()
        for writer in writers:
            writer.result()


def test_under_many_writers_no_report_ever_gets_a_row_more(admin, services, settings, nobody, another_process):
    seen = []

    def ask(number: int) -> None:
        for _ in range(10):
            cut = cut_of(services, admin.start_report())
            seen.append((cut, rows_under(cut)))

    admin.send(event())
    with writing((nobody, another_process) * 2, lambda chance: event(type=f"TYPE-{chance.randrange(20)}")):
        at_once(2, ask)
    assert len(seen) == 20
    assert [(cut, rows_under(cut)) for cut, _ in seen] == seen


def test_a_whole_report_run_twice_while_writers_go_on_has_the_same_bytes(
    admin, services, nobody, another_process, monkeypatch
):
    """They write into the time that the report is about, in parts that are being cut and written meanwhile."""
    monkeypatch.setattr(planning, "PART_ROWS", 100)
    monkeypatch.setattr(planning, "WHOLE_ROWS", 125)

    def make(chance: random.Random) -> dict:
        return event(timestamp=FIRST + chance.randrange(60_000), context=[str(chance.random())])

    with writing((nobody, another_process) * 2, make, PAUSE_SECONDS):
        for _ in range(3):
            until_more(200)
            check_twice(services, admin.start_report()["job"])


def until_more(count: int) -> None:
    """Wait until so many more events are there."""
    begin = select.count()
    wait_until(lambda: select.count() >= begin + count, 20)


def check_twice(services, job: str) -> None:
    """Run a report, and again with the same snapshot, as if its file had been lost with a failure."""
    services.runner.run(job)
    first = Report.get(Report.job == job)
    data = services.reports.path(first).read_bytes()
    before = select.count()
    until_more(100)
    Report.update(status="FAILED", file=None).where(Report.job == job).execute()
    services.reports.retry(SYSTEM, first)
    services.runner.run(job)
    second = Report.get(Report.job == job)
    assert (first.status, second.status) == ("COMPLETE", "COMPLETE")
    assert services.reports.path(second).read_bytes() == data
    assert (second.rows, second.bytes, second.sha256) == (first.rows, len(data), hashlib.sha256(data).hexdigest())
    assert first.sha256 == second.sha256
    assert first.rows == rows_under(first.snapshot_max_id) < before
