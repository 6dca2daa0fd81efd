"""Sharding: several workers write the parts of a report, and slow or dead ones do not change its bytes."""

from __future__ import annotations

import threading
import time

import pytest

from app.redis import queue as queue_room
from app.services.people.principal import SYSTEM
from app.services.reports import part_writer, runner
from app.store.models import Report, ReportPart
from app.store.reports import reports as store
from app.support.clock import now
from tests.services.conftest import LONG_ROWS as ROWS
from tests.support.client import FIRST
from tests.support.pace import slack
from tests.support.running import wait_until
from tests.support.threads import BackgroundThreads, at_once

pytestmark = [
    pytest.mark.parametrize("database_url", ["postgresql"], indirect=True),
    pytest.mark.settings(report_shard_rows=500),
    pytest.mark.usefixtures("small_parts"),
]
SECONDS = 60


@pytest.fixture
def job(long_job) -> str:
    return long_job


@pytest.fixture
def planned_job(services, job) -> str:
    """The job, claimed by a worker that has split it and writes nothing."""
    report = store.claim(job, "token", now(), "holder")
    runner.Attempt(report, "holder", services.runner.context).plan()
    return job


class Writers:
    """Writers that wait before their first part until the test resumes them."""

    def __init__(self) -> None:
        self.claimed: dict[str, int] = {}
        self._gates: dict[str, threading.Event] = {}

    def hold(self, *workers: str) -> None:
        self._gates |= {worker: threading.Event() for worker in workers}

    def resume(self) -> None:
        for gate in self._gates.values():
            gate.set()

    def until_claimed(self, *workers: str) -> None:
        for _ in range(SECONDS * 100):
            if set(workers) <= self.claimed.keys():
                return
            threading.Event().wait(0.01)
        raise AssertionError(f"{workers} have claimed {self.claimed}")

    def wait(self, worker: str, part: ReportPart) -> None:
        if worker in self._gates and worker not in self.claimed:
            self.claimed[worker] = part.number
            assert self._gates[worker].wait(SECONDS)


@pytest.fixture
def writers(monkeypatch) -> Writers:
    writers, write = Writers(), part_writer.PartWriter.write_part

    def hold_then_write(writer: part_writer.PartWriter, part: ReportPart, *args: object) -> None:
        writers.wait(writer._worker, part)
        write(writer, part, *args)

    monkeypatch.setattr(part_writer.PartWriter, "write_part", hold_then_write)
    return writers


def token_of(job: str, number: int) -> str | None:
    return ReportPart.get(ReportPart.job == job, ReportPart.number == number).token


def silence(job: str, number: int) -> None:
    """Make the writer of a part appear silent for too long."""
    silent = (ReportPart.job == job) & (ReportPart.number == number)
    ReportPart.update(heartbeat_at=store.clock() - part_writer.SILENT_MS - 1).where(silent).execute()


def test_a_long_report_requests_help_from_every_other_worker(services, job, queued, register_workers):
    register_workers(4)
    queued.clear()
    services.runner.run(job)
    assert queued() == [(queue_room.HELP, job)] * 3


def test_help_is_requested_for_at_most_the_number_of_parts(services, job, queued, register_workers):
    register_workers(30)
    queued.clear()
    services.runner.run(job)
    assert queued() == [(queue_room.HELP, job)] * 9


def test_no_help_is_requested_without_other_workers_or_for_a_short_report(
    services, job, begin, queued, register_workers
):
    register_workers(1)
    queued.clear()
    services.runner.run(job)
    assert queued() == []
    register_workers(3)
    services.runner.run(begin(end=FIRST + 499))
    assert [call for call in queued() if call[0] == queue_room.HELP] == []


def test_three_concurrent_workers_write_the_same_file(services, job, row, content, expected_content, writers, files):
    workers = ("holder", "second", "third")
    writers.hold(*workers)
    with BackgroundThreads() as background:
        holder = background.start(services.runner.run, job, "holder")
        writers.until_claimed("holder")
        helpers = [background.start(services.runner.help, job, name) for name in workers[1:]]
        writers.until_claimed(*workers)
        writers.resume()
        for future in [holder, *helpers]:
            future.result()
    assert sorted(writers.claimed.values()) == [0, 1, 2], "each wrote, at the same time"
    report = row(job)
    assert (report.status, report.attempt, report.rows) == ("COMPLETE", 1, ROWS)
    assert content(job) == expected_content
    assert files() == [report.file]


def test_many_concurrent_writers_write_each_part_once(
    services, planned_job, written_parts, row, content, expected_content
):
    at_once(6, lambda number: services.runner.help(planned_job, f"helper-{number}"))
    assert sorted(written_parts) == list(range(10))
    assert store.parts_are_done(planned_job)
    store.release(planned_job, "token")
    services.runner.run(planned_job)
    assert sorted(written_parts) == list(range(10)), "what they wrote is joined, and written by nobody else"
    assert content(planned_job) == expected_content


def test_the_part_of_a_dead_helper_is_written_by_others(
    services, planned_job, row, content, expected_content, written_parts, monkeypatch
):
    write, died = part_writer.PartWriter.write_part, []

    def die(writer: part_writer.PartWriter, part: ReportPart, *args: object) -> None:
        if writer._worker == "mortal" and part.number == 1:
            died.append(part)
            raise KeyboardInterrupt
        write(writer, part, *args)

    monkeypatch.setattr(part_writer.PartWriter, "write_part", die)
    monkeypatch.setattr(store, "give_back_part", lambda part, token: None)  # a killed process does not release its part
    with pytest.raises(KeyboardInterrupt):
        services.runner.help(planned_job, "mortal")
    assert token_of(planned_job, 1)
    services.runner.worker_died("mortal")
    assert token_of(planned_job, 1) is None
    services.runner.help(planned_job, "helper")
    assert sorted(written_parts) == list(range(10))
    assert store.parts_are_done(planned_job)


def test_a_silent_helper_loses_its_part_and_its_late_writing_has_no_effect(
    services, planned_job, row, content, expected_content, writers, written_parts, files, monkeypatch
):
    monkeypatch.setattr(part_writer, "HEARTBEAT_SECONDS", 60)  # no writer sends heartbeats
    writers.hold("slow")
    with BackgroundThreads() as background:
        slow = background.start(services.runner.help, planned_job, "slow")
        writers.until_claimed("slow")
        store.release(planned_job, "token")
        attempt = background.start(services.runner.run, planned_job, "holder")
        wait_until(lambda: len(set(written_parts)) == 10, SECONDS)
        assert not attempt.done(), "it waits for the part that is missing"
        silence(planned_job, writers.claimed["slow"])
        attempt.result()
        complete = row(planned_job)
        writers.resume()
        slow.result()
    assert sorted(written_parts) == sorted([*range(10), writers.claimed["slow"]])
    assert row(planned_job).__data__ == complete.__data__
    assert (complete.status, complete.rows) == ("COMPLETE", ROWS)
    assert content(planned_job) == expected_content
    assert files() == [complete.file]


def test_a_helper_that_lost_its_part_stops(services, planned_job, writers, written_parts, monkeypatch):
    monkeypatch.setattr(part_writer, "HEARTBEAT_SECONDS", 0.02)
    writers.hold("slow")
    with BackgroundThreads() as background:
        slow = background.start(services.runner.help, planned_job, "slow")
        writers.until_claimed("slow")
        ReportPart.update(token="another").where(ReportPart.job == planned_job, ReportPart.number == 0).execute()
        time.sleep(0.5)  # several heartbeats
        writers.resume()
        slow.result()
    assert token_of(planned_job, 0) == "another"
    assert written_parts == [0]


def test_parts_written_by_helpers_count_as_progress(services, planned_job, row):
    Report.update(stalled_attempts=3).where(Report.job == planned_job).execute()
    services.runner.help(planned_job, "helper")
    store.release(planned_job, "token")
    assert row(planned_job).stalled_attempts == 0


def test_helping_a_report_that_has_ended_or_has_no_parts_does_nothing(services, job, planned_job, begin, written_parts):
    store.end(planned_job, "FAILED", "It was cancelled.", now())
    services.runner.help(planned_job, "helper")
    services.runner.help("00000000-0000-4000-8000-000000000000", "helper")
    unplanned = begin()
    store.claim(unplanned, "token", now(), "holder")
    services.runner.help(unplanned, "helper")
    assert written_parts == []


def test_cancelling_a_report_stops_its_helpers(services, planned_job, row, writers, written_parts, files):
    names = ("one", "two")
    writers.hold(*names)
    with BackgroundThreads() as background:
        helpers = [background.start(services.runner.help, planned_job, name) for name in names]
        writers.until_claimed(*names)
        began = time.monotonic()
        assert services.reports.cancel(SYSTEM, row(planned_job))
        writers.resume()
        for helper in helpers:
            helper.result()
        assert time.monotonic() - began < slack(2)
    assert len(written_parts) == 2
    assert files() == []
    assert ReportPart.select().count() == 0
