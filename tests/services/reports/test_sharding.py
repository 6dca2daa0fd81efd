"""Several workers write the parts of one report side by side: the same bytes, whoever of them is slow, or dies."""

from __future__ import annotations

import threading
import time

import pytest

from app.redis import queue as queue_room
from app.services.people.principal import SYSTEM
from app.services.reports import attempt, part_writer
from app.store.models import Report, ReportPart
from app.store.reports import parts
from app.store.reports import reports as store
from app.support.clock import now
from tests.services.conftest import LONG_ROWS as ROWS
from tests.support.client import FIRST
from tests.support.pace import slack
from tests.support.running import wait_until
from tests.support.threads import Aside, at_once

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
def planned(services, job) -> str:
    """The same, held by a worker that has cut it, and gives signs of life, and writes nothing."""
    report = store.claim(job, "token", now(), "holder")
    attempt.Attempt(report, "holder", services.runner.context)._plan()
    return job


class Writers:
    """Some of those who write, each held back before the first part that it takes, until it may go on."""

    def __init__(self) -> None:
        self.taken: dict[str, int] = {}
        self._gates: dict[str, threading.Event] = {}

    def hold(self, *workers: str) -> None:
        self._gates |= {worker: threading.Event() for worker in workers}

    def let_go(self) -> None:
        for gate in self._gates.values():
            gate.set()

    def until_taken(self, *workers: str) -> None:
        for _ in range(SECONDS * 100):
            if set(workers) <= self.taken.keys():
                return
            threading.Event().wait(0.01)
        raise AssertionError(f"{workers} have taken {self.taken}")

    def wait(self, worker: str, part: ReportPart) -> None:
        if worker in self._gates and worker not in self.taken:
            self.taken[worker] = part.number
            assert self._gates[worker].wait(SECONDS)


@pytest.fixture
def writers(monkeypatch) -> Writers:
    some, write = Writers(), part_writer.PartWriter.write_part

    def held(writer: part_writer.PartWriter, part: ReportPart, *args: object) -> None:
        some.wait(writer._worker, part)
        write(writer, part, *args)

    monkeypatch.setattr(part_writer.PartWriter, "write_part", held)
    return some


def token_of(job: str, number: int) -> str | None:
    return ReportPart.get(ReportPart.job == job, ReportPart.number == number).token


def silence(job: str, number: int) -> None:
    """As if whoever writes a part had said nothing for long."""
    silent = (ReportPart.job == job) & (ReportPart.number == number)
    ReportPart.update(heartbeat_at=store.clock() - attempt.SILENT_MS - 1).where(silent).execute()


def test_a_long_report_asks_so_many_workers_for_help_as_there_are_others(services, job, queued, registered):
    registered(4)
    queued.clear()
    services.runner.run(job)
    assert queued() == [(queue_room.HELP, job)] * 3


def test_no_more_are_asked_than_there_are_parts_for(services, job, queued, registered):
    registered(30)
    queued.clear()
    services.runner.run(job)
    assert queued() == [(queue_room.HELP, job)] * 9


def test_nobody_is_asked_where_there_is_nobody_else_or_the_report_is_short(services, job, begin, queued, registered):
    registered(1)
    queued.clear()
    services.runner.run(job)
    assert queued() == []
    registered(3)
    services.runner.run(begin(end=FIRST + 499))
    assert [call for call in queued() if call[0] == queue_room.HELP] == []


def test_three_workers_side_by_side_make_the_same_file(services, job, row, content, whole, writers, files):
    workers = ("holder", "second", "third")
    writers.hold(*workers)
    with Aside() as aside:
        holder = aside.start(services.runner.run, job, "holder")
        writers.until_taken("holder")
        helpers = [aside.start(services.runner.help, job, name) for name in workers[1:]]
        writers.until_taken(*workers)
        writers.let_go()
        for one in [holder, *helpers]:
            one.result()
    assert sorted(writers.taken.values()) == [0, 1, 2], "each wrote, at the same time"
    report = row(job)
    assert (report.status, report.attempt, report.rows) == ("COMPLETE", 1, ROWS)
    assert content(job) == whole
    assert files() == [report.file]


def test_many_writers_at_once_write_each_part_once(services, planned, written, row, content, whole):
    at_once(6, lambda number: services.runner.help(planned, f"helper-{number}"))
    assert sorted(written) == list(range(10))
    assert parts.are_done(planned)
    store.release(planned, "token")
    services.runner.run(planned)
    assert sorted(written) == list(range(10)), "what they wrote is joined, and written by nobody else"
    assert content(planned) == whole


def test_a_helper_that_dies_loses_its_part_to_others(services, planned, row, content, whole, written, monkeypatch):
    write, died = part_writer.PartWriter.write_part, []

    def die(writer: part_writer.PartWriter, part: ReportPart, *args: object) -> None:
        if writer._worker == "mortal" and part.number == 1:
            died.append(part)
            raise KeyboardInterrupt
        write(writer, part, *args)

    monkeypatch.setattr(part_writer.PartWriter, "write_part", die)
    monkeypatch.setattr(parts, "give_back", lambda part, token: None)  # a process that is killed does nothing more
    with pytest.raises(KeyboardInterrupt):
        services.runner.help(planned, "mortal")
    assert token_of(planned, 1)
    services.runner.worker_died("mortal")
    assert token_of(planned, 1) is None
    services.runner.help(planned, "helper")
    assert sorted(written) == list(range(10))
    assert parts.are_done(planned)


def test_a_silent_helper_loses_its_part_and_what_it_writes_later_changes_nothing_and_leaves_no_file(
    services, planned, row, content, whole, writers, written, files, monkeypatch
):
    monkeypatch.setattr(part_writer, "HEARTBEAT_SECONDS", 60)  # nobody gives signs of life
    writers.hold("slow")
    with Aside() as aside:
        slow = aside.start(services.runner.help, planned, "slow")
        writers.until_taken("slow")
        store.release(planned, "token")
        attempt = aside.start(services.runner.run, planned, "holder")
        wait_until(lambda: len(set(written)) == 10, SECONDS)
        assert not attempt.done(), "it waits for the part that is missing"
        silence(planned, writers.taken["slow"])
        attempt.result()
        complete = row(planned)
        writers.let_go()
        slow.result()
    assert sorted(written) == sorted([*range(10), writers.taken["slow"]])
    assert row(planned).__data__ == complete.__data__
    assert (complete.status, complete.rows) == ("COMPLETE", ROWS)
    assert content(planned) == whole
    assert files() == [complete.file]


def test_a_helper_that_finds_its_part_taken_stops(services, planned, writers, written, monkeypatch):
    monkeypatch.setattr(part_writer, "HEARTBEAT_SECONDS", 0.02)
    writers.hold("slow")
    with Aside() as aside:
        slow = aside.start(services.runner.help, planned, "slow")
        writers.until_taken("slow")
        ReportPart.update(token="another").where(ReportPart.job == planned, ReportPart.number == 0).execute()
        time.sleep(0.5)  # some beats of its pulse
        writers.let_go()
        slow.result()
    assert token_of(planned, 0) == "another"
    assert written == [0]


def test_parts_that_helpers_write_count_as_getting_further(services, planned, row):
    Report.update(stalled_attempts=3).where(Report.job == planned).execute()
    services.runner.help(planned, "helper")
    store.release(planned, "token")
    assert row(planned).stalled_attempts == 0


def test_who_helps_a_report_that_has_ended_or_is_not_cut_yet_does_nothing(services, job, planned, begin, written):
    store.end(planned, "FAILED", "It was cancelled.", now())
    services.runner.help(planned, "helper")
    services.runner.help("00000000-0000-4000-8000-000000000000", "helper")
    uncut = begin()
    store.claim(uncut, "token", now(), "holder")
    services.runner.help(uncut, "helper")
    assert written == []


def test_cancelling_a_report_stops_its_helpers(services, planned, row, writers, written, files):
    names = ("one", "two")
    writers.hold(*names)
    with Aside() as aside:
        helpers = [aside.start(services.runner.help, planned, name) for name in names]
        writers.until_taken(*names)
        began = time.monotonic()
        assert services.reports.cancel(SYSTEM, row(planned))
        writers.let_go()
        for helper in helpers:
            helper.result()
        assert time.monotonic() - began < slack(2)
    assert len(written) == 2
    assert files() == []
    assert ReportPart.select().count() == 0
