"""Events that were answered 200 are stored once, whatever is killed."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import sqlite3
import time
from collections import Counter

import pytest

from tests.faults.conftest import Service, leave, mounts, resize
from tests.faults.ledger import Load, Sent, send
from tests.faults.recorders import recording
from tests.support.pace import SOAK, slack, times
from tests.support.running import wait_until

pytestmark = pytest.mark.processes


NO_REPORTS = ("worker", "scheduler")  # events are accepted without these programs
LITTLE = 300_000  # bytes, for some dozens of batches


@pytest.fixture(scope="module")
def on_sqlite(start_shared, disk) -> Service:
    return start_shared("sqlite", DATABASE_URL=f"sqlite:///{disk}/events.db", idle=NO_REPORTS)


@pytest.fixture(scope="module")
def on_postgresql(start_shared) -> Service:
    return start_shared("postgresql", idle=NO_REPORTS)


@pytest.fixture(scope="module")
def with_spool(start_shared) -> Service:
    settings = {} if SOAK else {"WEB_PROCESSES": "1"}
    return start_shared("postgresql", SPOOL="on", idle=["worker"], **settings)  # the scheduler delivers


BOTH = ["on_sqlite", "on_postgresql"]


@pytest.fixture(params=BOTH)
def service(request) -> Service:
    """The service on each database in turn, for all of these tests."""
    return request.getfixturevalue(request.param).for_another_test()


@pytest.mark.parametrize("service", BOTH if SOAK else ["on_sqlite"], indirect=True)
def test_killed_web_processes_lose_nothing_and_store_nothing_twice(service):
    with Load(service.running.port, service.ledger) as load:
        for _ in range(times(2, 20)):
            load.until_acknowledged(20)
            os.kill(service.running.pid("web-process"), signal.SIGKILL)
            wait_until(service.running.answers, 15)
        load.until_acknowledged(20)
    service.ledger.balance(service.ids()).check()


def test_a_killed_postgresql_loses_nothing_and_stores_nothing_twice(on_postgresql):
    service = on_postgresql.for_another_test()
    with Load(service.running.port, service.ledger) as load:
        for _ in range(times(1, 5)):
            load.until_acknowledged(20)
            service.postgres.kill()
            service.postgres.start()
            came_back = time.monotonic()
            load.until_acknowledged(20, seconds=30)
            assert time.monotonic() - came_back < slack(10)
    service.ledger.balance(service.ids()).check()


@pytest.mark.parametrize("service", BOTH if SOAK else ["on_postgresql"], indirect=True)
def test_a_request_sent_again_with_its_key_is_replayed(service):
    with Load(service.running.port, service.ledger, keys=True) as load:
        load.until_acknowledged(20)
        os.kill(service.running.pid("web-process"), signal.SIGKILL)
        load.until_acknowledged(20)
    stored = set(service.ids())
    for batch in service.ledger.batches:
        again = Sent(batch.key, batch.ids)
        send(service.running.port, again, key=True)
        assert again.status == 200
        assert again.replayed == (batch.ids[0] in stored)
        if batch.status == 200:
            assert again.answer == batch.answer
        batch.status = 200
    service.ledger.balance(service.ids()).check()


@pytest.mark.parametrize("service", BOTH if SOAK else ["on_sqlite"], indirect=True)
def test_what_the_python_client_recorded_is_stored_once_though_both_sides_are_killed(service):
    """An event counts as recorded once `record` has returned. Programs are killed in the midst of recording, and the
    service in the midst of committing. The last program sends what its predecessors left in the spool.
    """
    with recording(service) as programs:
        for turn in range(times(4, 30)):
            programs.until_recorded(200)
            programs.kill_one()
            if turn % 2 == 0:
                if SOAK:
                    service.kill_all()
                    service.start_again()
                    programs.move(service.running.url)
                else:
                    os.kill(service.running.pid("web-process"), signal.SIGKILL)
        programs.until_recorded(200)
        programs.deliver()
        stored, recorded = Counter(service.ids()), programs.recorded()
    print(f"Recorded {len(recorded)}, stored {len(stored)} events of {programs.started} programs.")
    assert recorded <= stored.keys()
    assert set(stored.values()) == {1}


def test_an_unavailable_database_is_reported_by_503_and_nothing_hangs(on_postgresql):
    service = on_postgresql.for_another_test()
    with Load(service.running.port, service.ledger) as load:
        load.until_acknowledged(20)
        service.postgres.stop()
        time.sleep(times(0, 30))
        wait_until(lambda: service.ledger.ids(503), 30)  # INGEST_WAIT_SECONDS is 10
        service.postgres.start()
        came_back = time.monotonic()
        load.until_acknowledged(20)
        assert time.monotonic() - came_back < slack(10)
    print(f"Answered 503: {len(service.ledger.ids(503))} events.")
    assert service.ledger.ids(503)
    service.ledger.balance(service.ids()).check()


@pytest.mark.soak
def test_with_the_spool_events_are_accepted_while_the_database_is_unavailable(with_spool):
    """In `make test` the next test, and tests/services/events/test_spool.py, which has the number that waits."""
    service = with_spool.for_another_test()
    with Load(service.running.port, service.ledger) as load:
        load.until_acknowledged(20)
        service.postgres.stop()
        load.until_acknowledged(50)
        time.sleep(times(1, 30))
        assert _waiting(service.running.port)
        service.postgres.start()
        load.until_acknowledged(20)
    service.until_delivered()
    assert not service.ledger.ids(503)
    service.ledger.balance(service.ids()).check()


def test_spooled_events_survive_a_kill_of_everything_and_are_delivered_once(with_spool):
    service = with_spool.for_another_test()
    with Load(service.running.port, service.ledger) as load:
        service.postgres.stop()
        load.until_acknowledged(50)
        assert not service.ledger.ids(503)
        service.kill_all()
    service.postgres.start()
    service.start_again()
    service.until_delivered()
    service.ledger.balance(service.ids()).check()


def test_a_locked_sqlite_is_waited_for(on_sqlite):
    service = on_sqlite.for_another_test()
    with Load(service.running.port, service.ledger) as load:
        load.until_acknowledged(20)
        locker = sqlite3.connect(service.database, isolation_level=None)
        locker.execute("BEGIN IMMEDIATE")
        time.sleep(2)
        locker.execute("ROLLBACK")
        locker.close()
        load.until_acknowledged(20)
    assert not service.ledger.ids(503)
    service.ledger.balance(service.ids()).check()


@mounts
def test_a_full_disk_is_reported_by_503_and_acknowledged_events_stay(on_sqlite, disk):
    service = on_sqlite.for_another_test()
    with contextlib.closing(sqlite3.connect(service.database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    leave(disk, LITTLE)
    try:
        with Load(service.running.port, service.ledger) as load:
            wait_until(lambda: service.ledger.ids(503), 60)
            acknowledged = service.ledger.ids(200)
            assert acknowledged <= set(service.ids())
            assert service.integrity() == "ok"
            resize(disk)
            load.until_acknowledged(20)
    finally:
        resize(disk)
    service.ledger.balance(service.ids()).check()


def test_everything_killed_at_once_loses_nothing_and_stores_nothing_twice(service):
    """Runs last, because then neither service need start again once more."""
    rounds = times(1, 5)
    for turn in range(rounds):
        with Load(service.running.port, service.ledger) as load:
            load.until_acknowledged(30)
            if service.postgres:
                service.postgres.kill()
            service.kill_all()
        if service.postgres:
            service.postgres.start()
        else:
            assert service.integrity() == "ok"
        service.ledger.balance(service.ids()).check()
        if turn < rounds - 1:
            service.start_again()


def _waiting(port: int) -> bool:
    """Return whether /health/ready reports waiting events in the spool."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/health/ready")
    return b"events wait in the spool" in connection.getresponse().read()
