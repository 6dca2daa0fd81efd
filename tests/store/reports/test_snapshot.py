"""A report is a snapshot: no row appears in it later, although PostgreSQL assigns ids before their rows are visible."""

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
from app.services.reports import part_writer
from app.store import database as store
from app.store.events import select
from app.store.models import Report
from tests.support.client import FIRST, Client, event
from tests.support.running import wait_until
from tests.support.threads import BackgroundThreads, at_once

pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)

LOCK_KEY = 424_242  # the advisory lock of these tests
HELD = "HELD"  # events of this product have ids, but cannot be committed until the blocker is opened
PAUSE_SECONDS = 0.05  # between a writer's batches, because otherwise each run has far more parts than the previous one
TRIGGER = f"""
    CREATE FUNCTION wait_at_gate() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN PERFORM pg_advisory_xact_lock_shared({LOCK_KEY}); RETURN NULL; END $$;
    CREATE TRIGGER wait_at_gate AFTER INSERT ON event FOR EACH ROW WHEN (NEW.product = '{HELD}')
        EXECUTE FUNCTION wait_at_gate()"""


class CommitBlocker:
    """Blocker of commits of events of the product HELD."""

    def __init__(self, url: str) -> None:
        self._connection = psycopg.connect(url, autocommit=True)
        self._connection.execute(TRIGGER)
        self._connection.execute("SELECT pg_advisory_lock(%s)", (LOCK_KEY,))

    def open(self) -> None:
        self._connection.execute("SELECT pg_advisory_unlock_all()")

    def wait_for_sessions(self, count: int) -> None:
        """Wait until this many sessions wait for an advisory lock, which is the blocker's or the snapshot's."""
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
def blocker(app, database_url: str):
    blocker = CommitBlocker(database_url)
    yield blocker
    blocker.remove()


@pytest.fixture
def another_process(app, settings) -> Client:
    """Return a client of a second application, which writes on its own connection."""
    database = store.database.obj
    client = Client(create_app(settings), None)
    store.proxy.initialize(database)  # both use the same pool
    return client


def rows_up_to(snapshot_max_id: int) -> int:
    return store.database.execute_sql("SELECT count(*) FROM event WHERE id <= %s", (snapshot_max_id,)).fetchone()[0]


def snapshot_of(services, job: dict) -> int:
    query = "SELECT snapshot_max_id FROM report WHERE job = %s"
    return store.database.execute_sql(query, (job["job"],)).fetchone()[0]


def test_the_snapshot_waits_for_an_uncommitted_event_with_a_lower_id(admin, nobody, another_process, services, blocker):
    with BackgroundThreads() as threads:
        blocked = threads.start(nobody.send, event(product=HELD))
        blocker.wait_for_sessions(1)
        another_process.send(event())  # has the higher id, and is committed first
        report = threads.start(admin.start_report)
        blocker.wait_for_sessions(2)
        assert not report.done()
        blocker.open()
        blocked.result()
        cut = snapshot_of(services, report.result())
    assert rows_up_to(cut) == 2


def test_events_that_arrive_while_the_snapshot_waits_are_not_in_the_report(
    admin, nobody, another_process, services, blocker
):
    nobody.send(event())
    with BackgroundThreads() as threads:
        blocked = threads.start(nobody.send, event(product=HELD))
        blocker.wait_for_sessions(1)
        report = threads.start(admin.start_report)
        blocker.wait_for_sessions(2)
        late = threads.start(another_process.send, event(type="LATE"))
        blocker.wait_for_sessions(3)
        blocker.open()
        blocked.result()
        cut = snapshot_of(services, report.result())
        late.result()
    assert rows_up_to(cut) == 2


@contextmanager
def writing(
    clients: Sequence[Client], make: Callable[[random.Random], dict], pause_seconds: float = 0
) -> Iterator[None]:
    """Send batches from each client until the block ends."""
    stop = threading.Event()

    def write(client: Client, number: int) -> None:
        chance = random.Random(number)
        while not stop.wait(pause_seconds):
            client.send(*[make(chance) for _ in range(20)])

    with BackgroundThreads() as threads:
        writers = [threads.start(write, client, number) for number, client in enumerate(clients)]
        try:
            yield
        finally:
            stop.set()
        for writer in writers:
            writer.result()


def test_concurrent_writers_add_no_row_to_a_report_s_snapshot(admin, services, settings, nobody, another_process):
    observed = []

    def start_reports(number: int) -> None:
        for _ in range(10):
            cut = snapshot_of(services, admin.start_report())
            observed.append((cut, rows_up_to(cut)))

    admin.send(event())
    with writing((nobody, another_process) * 2, lambda chance: event(type=f"TYPE-{chance.randrange(20)}")):
        at_once(2, start_reports)
    assert len(observed) == 20
    assert [(cut, rows_up_to(cut)) for cut, _ in observed] == observed


def test_a_report_that_runs_twice_during_writes_has_the_same_bytes(
    admin, services, nobody, another_process, monkeypatch
):
    """The new events fall into the report's time range, into parts that are being planned and written."""
    monkeypatch.setattr(part_writer, "PART_ROWS", 100)
    monkeypatch.setattr(part_writer, "WHOLE_ROWS", 125)

    def make(chance: random.Random) -> dict:
        return event(timestamp=FIRST + chance.randrange(60_000), context=[str(chance.random())])

    with writing((nobody, another_process) * 2, make, PAUSE_SECONDS):
        for _ in range(3):
            wait_for_more_events(200)
            check_twice(services, admin.start_report()["job"])


def wait_for_more_events(count: int) -> None:
    """Wait until this many more events are stored."""
    begin = select.count()
    wait_until(lambda: select.count() >= begin + count, 20)


def check_twice(services, job: str) -> None:
    """Run a report twice with the same snapshot, as if a failure had lost its first file."""
    services.runner.run(job)
    first = Report.get(Report.job == job)
    data = services.reports.path(first).read_bytes()
    wait_for_more_events(100)
    Report.update(status="FAILED", file=None).where(Report.job == job).execute()
    services.reports.retry(SYSTEM, first)
    services.runner.run(job)
    second = Report.get(Report.job == job)
    assert (first.status, second.status) == ("COMPLETE", "COMPLETE")
    assert services.reports.path(second).read_bytes() == data
    assert (second.rows, second.bytes, second.sha256) == (first.rows, len(data), hashlib.sha256(data).hexdigest())
    assert first.sha256 == second.sha256
    assert first.rows == rows_up_to(first.snapshot_max_id) < select.count()
