"""Reads from a replica: they see all that was committed before, or else the primary answers."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from structlog.testing import capture_logs

from app import create_app
from app.config import Settings
from app.exceptions import SettingInvalid, StatementFailed
from app.services.reports import part_writer
from app.store import database as store
from app.store import replica
from app.store.backends.postgres import PostgresBackend
from app.store.models import Report
from tests.support.client import Client, event
from tests.support.pace import slack
from tests.support.running import wait_until
from tests.support.standby import Standby
from tests.support.threads import BackgroundThreads

DATABASE = "postgresql"  # SQLite has no replicas
UNUSED = "replica not used, the primary is read"


@pytest.fixture(scope="module")
def standby(short_folder: Path, postgres_database) -> Iterator[Standby]:
    standby = Standby(short_folder / "standby", postgres_database.url)
    yield standby
    standby.stop()


@pytest.fixture
def settings(settings: Settings, standby: Standby) -> Settings:
    return replace(settings, database_read_url=standby.url)


@pytest.fixture
def own(app) -> replica.Replica:
    """The replica of the application."""
    return store._replica


@pytest.fixture
def impatient(own, monkeypatch) -> None:
    """Wait less for the replica, and try it again at once after a failure."""
    monkeypatch.setattr(part_writer, "REPLICA_SECONDS", 0.1)
    monkeypatch.setattr(replica, "UNUSED_SECONDS", 0)


@pytest.fixture
def without_primary_rows(app, monkeypatch) -> None:
    """Let the primary return no events."""
    for read in ("csv_blocks", "of_pairs"):
        monkeypatch.setattr(store.database.obj, read, lambda *args, **kwargs: pytest.fail("The primary was read."))


def contexts(file: bytes) -> list[str]:
    return [line.split(b"|")[2].decode() for line in file.splitlines()]


@pytest.mark.usefixtures("without_primary_rows")
def test_reports_and_the_list_of_events_are_read_from_the_replica(admin):
    admin.send(*[event(context=[str(number)]) for number in range(3)])
    _, file = admin.run_report()
    assert contexts(file) == ["0", "1", "2"]
    assert len(admin.get("/events").get_json()["events"]) == 3


@pytest.mark.usefixtures("without_primary_rows")
def test_a_report_waits_for_a_replica_that_is_behind(admin, standby, monkeypatch):
    monkeypatch.setattr(part_writer, "REPLICA_SECONDS", slack(20))
    with BackgroundThreads() as background, standby.paused():
        admin.send(event(context=["late"]))
        job = admin.start_report()
        running = background.start(admin.app.extensions["services"].runner.run, job["job"])
        time.sleep(0.3)
        assert not running.done()
        standby.execute("SELECT pg_wal_replay_resume()")
        assert running.result(slack(20))
    assert contexts(admin.download(job["source"])) == ["late"]


@pytest.mark.usefixtures("impatient")
def test_reports_and_pages_take_the_primary_while_the_replica_is_paused(admin, standby):
    admin.send(event(context=["early"]))
    with standby.paused(), capture_logs() as log:
        admin.send(event(context=["late"]))
        job, file = admin.run_report()
        assert (job["status"], contexts(file)) == ("COMPLETE", ["early", "late"])
        found = admin.get("/events").get_json()["events"]
        assert [one["context"] for one in found] == [["late"], ["early"]]
    assert UNUSED in [line["event"] for line in log]


@pytest.mark.usefixtures("impatient")
def test_reports_and_pages_take_the_primary_while_the_replica_is_away(admin, standby):
    admin.send(event(context=["1"]))
    assert admin.get("/events").status_code == 200  # with a connection that breaks
    standby.stop()
    try:
        admin.send(event(context=["2"]))
        job, file = admin.run_report()
        assert (job["status"], contexts(file)) == ("COMPLETE", ["1", "2"])
        assert len(admin.get("/events").get_json()["events"]) == 2
    finally:
        standby.start()
    admin.send(event(context=["3"]))
    assert contexts(admin.run_report()[1]) == ["1", "2", "3"]


def test_a_replica_that_failed_is_not_tried_by_each_page(admin, own, standby, monkeypatch):
    asked: list[object] = []
    monkeypatch.setattr(replica, "PAGE_SECONDS", 0)
    with standby.paused():
        admin.send(event())
        assert admin.get("/events").status_code == 200
        monkeypatch.setattr(own.standby, "has_replayed", asked.append)
        assert admin.get("/events").status_code == 200
    assert asked == []


def test_a_page_whose_replica_fails_meanwhile_is_read_again_from_the_primary(admin, own, monkeypatch):
    admin.send(event())
    monkeypatch.setattr(own.standby, "of_pairs", fail)
    assert len(admin.get("/events").get_json()["events"]) == 1


def test_the_next_attempt_at_a_report_that_failed_at_the_replica_takes_the_primary(admin, own, monkeypatch):
    admin.send(event(context=["1"]))
    monkeypatch.setattr(own.standby, "csv_blocks", fail)
    monkeypatch.setattr(replica, "UNUSED_SECONDS", 0)  # another process, which knows nothing of the failure
    job = admin.start_report()
    runner = admin.app.extensions["services"].runner
    assert runner.run(job["job"])
    Report.update(next_attempt_at=None).execute()
    assert runner.run(job["job"])
    assert contexts(admin.download(job["source"])) == ["1"]
    assert Report.get().attempt == 2


def fail(*args: object, **kwargs: object) -> None:
    raise StatementFailed("The database ended the statement: conflict with recovery.")


def test_no_report_misses_an_event_while_others_are_committed(admin, app, standby):
    end = threading.Event()
    admin.send(event())

    def send() -> None:
        sender = Client(app, None)
        while not end.is_set():
            sender.send(*[event(timestamp=number) for number in range(5)])

    with standby.delayed(100), BackgroundThreads() as background, capture_logs() as log:
        senders = [background.start(send) for _ in range(3)]
        try:
            for _ in range(10):
                job = admin.start_report()
                assert admin.app.extensions["services"].runner.run(job["job"])
        finally:
            end.set()
        for sender in senders:
            sender.result()
    assert UNUSED not in [line["event"] for line in log]
    query = "SELECT rows, (SELECT count(*) FROM event WHERE id <= snapshot_max_id) FROM report ORDER BY id"
    counted = store.database.execute_sql(query).fetchall()
    assert len(counted) == 10
    assert all(written == existing for written, existing in counted)
    assert counted[0][0] < counted[-1][0]


def test_a_statement_on_the_replica_ends_with_its_report(admin, own, monkeypatch):
    started = threading.Event()

    def sleep(*args: object, **kwargs: object) -> None:
        started.set()
        store.database.execute_sql("SELECT pg_sleep(60)")

    admin.send(event())
    monkeypatch.setattr(own.standby, "csv_blocks", sleep)
    job = admin.start_report()
    with BackgroundThreads() as background:
        running = background.start(admin.app.extensions["services"].runner.run, job["job"])
        assert started.wait(slack(10))
        assert admin.request("DELETE", f"/reports/{job['source']}").status_code == 204
        cancelled = time.monotonic()
        running.result(slack(20))
    assert time.monotonic() - cancelled < slack(5)


def test_a_report_that_waits_for_the_replica_ends_when_it_is_cancelled(admin, standby, monkeypatch):
    monkeypatch.setattr(part_writer, "REPLICA_SECONDS", 600)
    with standby.paused(), BackgroundThreads() as background:
        admin.send(event())
        job = admin.start_report()
        running = background.start(admin.app.extensions["services"].runner.run, job["job"])
        wait_until(lambda: Report.get().token, 20)
        assert admin.request("DELETE", f"/reports/{job['source']}").status_code == 204
        running.result(slack(20))
    assert Report.get().status == "FAILED"


def test_a_server_that_does_not_follow_the_primary_is_not_read(own):
    position = store.database.obj.log_position()
    wait_until(lambda: own.standby.has_replayed(position), 20)
    assert not own.standby.has_replayed(position._replace(server="1"))
    assert not own.standby.has_replayed(position._replace(timeline=2))
    assert not own.standby.has_replayed(position._replace(lsn="FFFFFFFF/FFFFFFFF"))
    assert not store.database.obj.has_replayed(position)  # as a standby that was promoted


def test_a_role_without_privileges_may_compare_positions(own, postgres_url):
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS reader")
        connection.execute("CREATE ROLE reader LOGIN")
    reader = PostgresBackend.from_url(postgres_url.replace("//postgres", "//reader", 1))
    try:
        assert not reader.has_replayed(reader.log_position())
    finally:
        reader.close_all()


def test_sqlite_with_a_replica_prevents_the_start(tmp_path, standby):
    with pytest.raises(SettingInvalid, match="DATABASE_READ_URL is set, but DATABASE_URL is SQLite"):
        create_app(Settings(data_dir=tmp_path, database_read_url=standby.url))
