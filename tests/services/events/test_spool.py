"""SPOOL=on: events wait on local disk during a database outage, and are stored exactly once after it."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from werkzeug.test import TestResponse

from app.services.events.spool import EventSpool
from app.storage.spool import SpoolFiles
from app.store.database import database, release
from app.store.events import hourly_counts, spool_records
from app.store.events.idempotency import Claim
from app.store.events.writer import WriteRequest
from app.store.models import IdempotencyKey
from tests.support.client import FIRST, event
from tests.support.outages import away, before, break_connection
from tests.support.running import ROOT, wait_until
from tests.support.threads import at_once

pytestmark = [pytest.mark.both_databases, pytest.mark.settings(spool=True)]
postgresql_only = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


class Outage:
    """A context manager in which the database rejects new transactions."""

    def __init__(self, monkeypatch) -> None:
        self.on = False
        self.tries = 0
        before(monkeypatch, "begin_group", self._begin_group)
        monkeypatch.setattr("app.store.events.writer.AWAY_SECONDS", 0.3)
        monkeypatch.setattr("app.store.events.writer.IDLE_SECONDS", 0.05)

    def _begin_group(self) -> None:
        self.tries += 1
        if self.on:
            away()

    def __enter__(self) -> Outage:
        self.on = True
        return self

    def __exit__(self, *error: object) -> None:
        self.on = False


@pytest.fixture
def outage(app, monkeypatch) -> Outage:
    return Outage(monkeypatch)


@pytest.fixture
def files(settings):
    """Return a function that lists the spool's files."""
    folder = settings.data_dir.absolute() / "spool"
    return lambda: sorted(folder.glob("*")) if folder.exists() else []


@pytest.fixture
def deliver(services, files):
    """Return a function that delivers until the spool is empty, once the writer has released its file."""

    def until_empty() -> None:
        def is_empty() -> bool:
            services.scheduler.run_all()
            return not files()

        wait_until(is_empty, 10)

    return until_empty


def stored() -> list[tuple]:
    """Return (context, sequence, batch) of the stored events, in the order of acceptance."""
    try:
        rows = database.execute_sql("SELECT context, sequence, batch FROM event ORDER BY id").fetchall()
        return [((json.loads(c) if isinstance(c, str) else c), s, str(b)) for c, s, b in rows]
    finally:
        release()


def as_rows(*answers: list[dict]) -> list[tuple]:
    """Return (context, sequence, batch) of the events in responses."""
    return [
        (stored_event["context"], stored_event["sequence"], stored_event["batch"])
        for answer in answers
        for stored_event in answer
    ]


def test_events_accepted_during_an_outage_are_stored_as_acknowledged(nobody, outage, deliver):
    before = nobody.send(event(context=["before"]))
    with outage:
        away = [nobody.send(event(context=[str(n), None, 'q"\\\n']), event(version="1")) for n in range(3)]
        assert stored() == as_rows(before)
    after = nobody.send(event(context=["after"]))
    deliver()
    assert sorted(stored(), key=str) == sorted(as_rows(before, *away, after), key=str)


def test_codes_and_hourly_counts_include_spooled_events(nobody, outage, deliver, services):
    with outage:
        nobody.send(event(customer="NEW", product="NEWER"))
    deliver()
    assert services.catalog.known() == (["NEW"], ["NEWER"])
    services.scheduler.run_all()
    assert hourly_counts.watermark() == 1


def test_requests_during_a_known_outage_do_not_wait_for_the_database(nobody, outage):
    with outage:
        nobody.send(event())
        tries, began = outage.tries, time.monotonic()
        for _ in range(5):
            nobody.send(event())
        if time.monotonic() - began < 0.3:
            assert outage.tries == tries


def test_a_recovered_database_is_tried_within_a_second_under_constant_load(nobody, outage):
    """Spooling further requests does not postpone the next attempt."""
    with outage:
        nobody.send(event())
        tries = outage.tries
        wait_until(lambda: nobody.send(event()) and outage.tries >= tries + 3, 30)


def test_the_number_of_spooled_events_is_reported(nobody, outage, services, deliver):
    with outage:
        nobody.send(event(), event())
        nobody.send(event())
        assert services.spool.waiting() == 3
    deliver()
    assert services.spool.waiting() == 0


def test_the_scheduler_keeps_spooled_events_during_an_outage(nobody, outage, services, files, deliver):
    with outage:
        nobody.send(event())
        wait_until(lambda: not is_locked(files()[0]), 10)
        services.scheduler.run_all()
        assert len(files()) == 1
    deliver()
    assert len(stored()) == 1


def is_locked(path: Path) -> bool:
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_a_scheduler_killed_between_commit_and_removal_stores_nothing_twice(nobody, outage, files, deliver):
    with outage:
        answer = nobody.send(event(), event())
    nobody.send(event())  # makes the writer release its file
    (path,) = files()
    records = path.read_bytes()
    deliver()
    path.write_bytes(records)  # as if it had not been removed
    deliver()
    assert len(stored()) == 3
    assert [row for row in stored() if row in as_rows(answer)] == as_rows(answer)


def test_an_idempotency_key_applies_to_spooled_events(nobody, outage, deliver):
    headers = {"Idempotency-Key": "k"}
    with outage:
        first = nobody.post("/events", [event()], headers=headers)
        second = nobody.post("/events", [event()], headers=headers)
        assert (first.status_code, second.status_code) == (200, 200)
        assert second.headers["Idempotency-Replayed"] == "true"
        assert second.get_data() == first.get_data()
    deliver()
    (row,) = stored()
    repeated = nobody.post("/events", [event()], headers=headers)
    assert repeated.headers["Idempotency-Replayed"] == "true"
    assert repeated.get_data() == first.get_data()
    assert [row] == as_rows(first.get_json())


@pytest.mark.parametrize("is_back", [False, True], ids=["while it is away", "before it is delivered"])
def test_another_body_under_a_spooled_key_is_rejected(nobody, outage, deliver, is_back):
    headers = {"Idempotency-Key": "k"}
    with outage:
        first = nobody.post("/events", [event(context=["first"])], headers=headers)
        outage.on = not is_back
        second = nobody.post("/events", [event(context=["second"])], headers=headers)
    assert (first.status_code, second.status_code) == (200, 422)
    deliver()
    assert stored() == as_rows(first.get_json())


def test_of_concurrent_bodies_under_one_key_one_is_spooled(nobody, outage, deliver, services):
    def send(number: int) -> TestResponse:
        return nobody.post("/events", [event(context=[str(number)])], headers={"Idempotency-Key": f"k{number // 4}"})

    with outage:
        answers = at_once(16, send)
    for group in (answers[begin : begin + 4] for begin in range(0, 16, 4)):
        assert sorted(answer.status_code for answer in group) == [200, 422, 422, 422]
    deliver()
    accepted = [answer.get_json() for answer in answers if answer.status_code == 200]
    assert sorted(stored(), key=str) == sorted(as_rows(*accepted), key=str)


def request_with_key(body: bytes) -> WriteRequest:
    claim = Claim("k", body, b"the answer to " + body, FIRST)
    return WriteRequest(database.encode_events([]), 0, FIRST, key=claim)


def test_a_spooled_key_is_known_to_other_processes_and_after_a_restart(app, tmp_path):
    spool, other_spool = EventSpool(SpoolFiles(tmp_path / "spool")), EventSpool(SpoolFiles(tmp_path / "spool"))
    assert other_spool.find("k") is None
    first, repeat = request_with_key(b"first"), request_with_key(b"second")
    assert spool.append([first], None) == set()
    assert other_spool.append([repeat, keyless := WriteRequest(database.encode_events([]), 0, FIRST)], None) == {repeat}
    restarted = EventSpool(SpoolFiles(tmp_path / "spool"))
    for process in (spool, other_spool, restarted):
        assert process.find("k") == (b"first", b"the answer to first")
        assert process.find("another") is None
        assert process.append([repeat], None) == {repeat}
    assert keyless.state == "waiting"
    spool.release()
    spool.deliver()
    assert other_spool.find("k") is None, "it is the database that knows it now"


def test_acknowledged_events_are_stored_even_if_their_key_was_used_with_another_body(
    nobody, outage, deliver, monkeypatch
):
    """The key was in the database, which could not be queried."""
    headers = {"Idempotency-Key": "k"}
    first = nobody.post("/events", [event(context=["first"])], headers=headers).get_json()
    with outage, monkeypatch.context() as patch:
        patch.setattr("app.store.events.idempotency.find", away)
        second = nobody.post("/events", [event(context=["second"])], headers=headers)
    assert second.status_code == 200
    deliver()
    assert stored() == as_rows(first, second.get_json())
    repeated = nobody.post("/events", [event(context=["first"])], headers=headers)
    assert repeated.get_json() == first


def test_delivery_records_the_codes_of_spooled_events(nobody, outage, deliver, services):
    """The database at delivery may lack codes that the process had recorded."""
    nobody.send(event(customer="KNOWN"))
    with outage:
        nobody.send(event(customer="KNOWN"))
    database.execute_sql("DELETE FROM observed_code")
    release()
    deliver()
    assert services.catalog.known()[0] == ["KNOWN"]


def test_a_spooled_repeat_of_a_stored_request_is_not_stored_again(nobody, outage, deliver, monkeypatch):
    headers = {"Idempotency-Key": "k"}
    first = nobody.post("/events", [event()], headers=headers).get_json()
    with outage, monkeypatch.context() as patch:
        patch.setattr("app.store.events.idempotency.find", away)
        assert nobody.post("/events", [event()], headers=headers).status_code == 200
    deliver()
    assert stored() == as_rows(first)


@pytest.mark.settings(spool=True, ingest_wait_seconds=0.3)
def test_a_full_disk_is_answered_503_and_earlier_events_are_delivered(nobody, outage, deliver, monkeypatch):
    def no_space(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with outage:
        first = nobody.send(event(context=["kept"]))
        with monkeypatch.context() as patch:
            patch.setattr("app.storage.spool.os.fsync", no_space)
            answer = nobody.post("/events", [event(context=["refused"])])
        assert answer.status_code == 503
        assert "Retry-After" in answer.headers
        third = nobody.send(event(context=["kept, too"]))
    deliver()
    assert stored() == as_rows(first, third)


@pytest.mark.settings(spool=False, ingest_wait_seconds=1)
def test_without_the_setting_events_are_rejected_during_an_outage(nobody, outage, files, monkeypatch):
    monkeypatch.setattr("app.store.events.writer.PAUSES", (0.05,))
    with outage:
        assert nobody.post("/events", [event()]).status_code == 503
    assert files() == []
    assert stored() == []


def test_events_spooled_by_a_killed_process_are_delivered(app, settings, files, deliver, tmp_path):
    program = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from app import create_app
from app.exceptions import StoreUnavailable
from app.services.events.rejected import Origin
from app.store.database import database
ingest = create_app().extensions["services"].ingest
def away(**how):
    raise StoreUnavailable("It is away.")
database.obj.begin_group = away
print(ingest.accept(sys.stdin.buffer.readline(), Origin("", "")).answer.decode(), flush=True)
sys.stdin.read()
"""
    environment = {
        "PATH": os.environ["PATH"],
        "DATA_DIR": str(settings.data_dir.absolute()),
        "DATABASE_URL": settings.database_url,
        "SPOOL": "on",
    }
    process = subprocess.Popen(
        [sys.executable, "-c", program], env=environment, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    process.stdin.write(json.dumps([event(context=["last words"])]).encode() + b"\n")
    process.stdin.flush()
    answer = json.loads(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(files()) == 1
    deliver()
    assert stored() == as_rows(answer)


@postgresql_only
@pytest.mark.parametrize("arrives", [True, False], ids=["committed", "not committed"])
def test_a_commit_in_doubt_is_looked_up_at_delivery(nobody, outage, deliver, monkeypatch, files, arrives):
    commit, first = database.obj.commit_group, iter([True])

    def lose_the_answer() -> None:
        if not next(first, False):
            return commit()
        if arrives:
            commit()
        outage.on = True
        break_connection()
        return commit()

    monkeypatch.setattr(database.obj, "commit_group", lose_the_answer)
    answer = nobody.send(event(context=["in doubt"]))
    assert len(files()) == 1
    outage.on = False
    deliver()
    assert stored() == as_rows(answer)
    assert [key.key for key in IdempotencyKey.select()] == [] or not arrives


def test_delivery_splits_spooled_events_into_small_transactions(app, monkeypatch):
    monkeypatch.setattr(spool_records, "FIRST_EVENTS", 10)
    monkeypatch.setattr(spool_records, "MOST_EVENTS", 10)
    row = ("A", "P", "T", None, 1, [], 1, "8d0f3f6e-0d0c-4b59-9a53-1c4f0f9d1d5b", 1)
    requests = [WriteRequest(database.encode_events([row] * size), size, 1) for size in (4, 4, 4, 25, 1)]
    sizes, write = [], database.obj.insert_encoded
    monkeypatch.setattr(database.obj, "insert_encoded", lambda encoded: [sizes.append(len(encoded)), write(encoded)])
    spool_records.deliver([spool_records.encode(request, None)[0] for request in requests])
    assert len(stored()) == 38
    assert [size for size in sizes if size] == [2, 1, 1, 1]  # records; at most ten events or one record at a time
