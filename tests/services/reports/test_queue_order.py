"""The queue order: a huge report yields to small ones without losing its progress, and every report runs."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from app.redis import queue as queue_room
from app.services.people.principal import SYSTEM
from app.services.reports import fair_queue, part_writer, runner
from app.store.models import Report
from app.store.reports import reports as store
from app.support.clock import now
from tests.support.client import FIRST, event

ROWS = 600


@pytest.fixture
def huge(admin, begin, small_parts, monkeypatch) -> str:
    """A report of six parts that may yield immediately."""
    admin.send(*[event(timestamp=FIRST + number, context=[str(number)]) for number in range(ROWS)])
    monkeypatch.setattr(fair_queue, "SMALL_ROWS", ROWS // 2)
    monkeypatch.setattr(runner, "STEADY_SECONDS", 0)
    return begin()


@pytest.fixture
def after_part(monkeypatch) -> Callable[[int, Callable], None]:
    """Return a function that calls an action after a part is written: `after_part(2, action)`."""

    def plan(number: int, action: Callable[[], object]) -> None:
        write = part_writer.PartWriter.write_part

        def write_then_act(writer: part_writer.PartWriter, part, *args: object) -> None:
            write(writer, part, *args)
            if part.number == number:
                action()

        monkeypatch.setattr(part_writer.PartWriter, "write_part", write_then_act)

    return plan


def place(admin, job: str) -> int | None:
    return admin.get(f"/reports/JOB-{job}/progress").get_json().get("queue_position")


def test_a_huge_report_yields_to_a_small_one_and_continues_the_same_attempt(
    admin, services, huge, begin, after_part, row, written_parts, content
):
    small = []
    after_part(2, lambda: small.append(begin(end=FIRST + 9)))
    services.runner.work("one")
    report = row(huge)
    assert (report.status, report.token, report.paused, report.attempt) == ("RUNNING", None, True, 1)
    assert written_parts == [0, 1, 2]
    assert (place(admin, small[0]), place(admin, huge)) == (1, 2)
    assert [attempt_row.ended_at for attempt_row in services.reports.attempts(report)] == [None]
    rows_before = report.rows

    services.runner.work("one")
    assert (row(small[0]).status, row(huge).token) == ("COMPLETE", None)
    store.claim(huge, "token", now())
    assert row(huge).rows >= rows_before
    store.give_back(huge, "token", paused=True)
    services.runner.work("two")
    report = row(huge)
    assert (report.status, report.attempt, report.rows) == ("COMPLETE", 1, ROWS)
    assert written_parts == [0, 1, 2, 3, 4, 5]
    assert [
        (attempt_row.number, attempt_row.outcome, attempt_row.rows) for attempt_row in services.reports.attempts(report)
    ] == [(1, "complete", ROWS)]
    assert content(huge) == b"".join(b"%d|PORTFOLIO-APPLICATION-LOADED|%d\n" % (FIRST + n, n) for n in range(ROWS))


def test_a_huge_report_does_not_yield_to_another_huge_one(services, huge, begin, after_part, row):
    def another() -> None:
        Report.update(estimated_rows=ROWS).where(Report.job == begin()).execute()

    after_part(2, another)
    services.runner.work("one")
    assert row(huge).status == "COMPLETE"


def test_a_small_report_of_many_parts_does_not_yield(services, huge, begin, after_part, row, monkeypatch):
    monkeypatch.setattr(fair_queue, "SMALL_ROWS", ROWS)
    after_part(2, lambda: begin(end=FIRST + 9))
    services.runner.work("one")
    assert row(huge).status == "COMPLETE"


def test_the_estimated_size_of_a_report_is_corrected_when_its_rows_are_counted(services, huge, row, after_part):
    """The estimate at acceptance is from the hourly counts, which may be seconds old."""
    estimates = []
    after_part(0, lambda: estimates.append(row(huge).estimated_rows))
    assert row(huge).estimated_rows == 0
    services.runner.work("one")
    assert estimates == [ROWS]


def test_the_estimate_of_a_report_of_newer_events_counts_only_these(admin, services, begin, row):
    admin.send(*[event(timestamp=FIRST) for _ in range(90)])
    services.scheduler.run_all()
    first = row(begin())
    assert first.estimated_rows == 90
    admin.send(event(), event())
    services.scheduler.run_all()
    newer = services.reports.start(
        SYSTEM, {"customer": "BARCHART", "product": "PORTFOLIO"}, None, after=first.snapshot_max_id
    )
    assert newer.estimated_rows == 2


def test_a_helper_runs_a_waiting_report_before_it_helps(services, huge, begin, row, queued, register_workers):
    register_workers(3)
    plan_without_writing(services, huge)
    waiting = begin(end=FIRST + 9)
    queued.clear()
    services.runner.help(huge, "helper")
    assert row(waiting).status == "COMPLETE"
    assert queued() == [(queue_room.HELP, huge)], "and asks for help again, as it did not help"


def test_a_helper_stops_helping_when_a_report_waits(
    services, huge, begin, row, queued, register_workers, after_part, written_parts
):
    register_workers(2)
    plan_without_writing(services, huge)
    after_part(1, lambda: begin(end=FIRST + 9))
    queued.clear()
    services.runner.help(huge, "helper")
    assert written_parts == [0, 1]
    assert [target for target, _ in queued()] == [queue_room.WORK, queue_room.HELP]


def plan_without_writing(services, job: str) -> None:
    """Start an attempt that claims and splits a report, but writes nothing."""
    report = store.claim(job, "token", now(), "holder")
    held_attempt = runner.Attempt(report, "holder", services.runner.context)
    held_attempt.plan()


def test_every_waiting_report_runs_even_if_the_job_in_redis_named_another(admin, services, begin, row, queued):
    admin.send(event())
    jobs = [begin() for _ in range(4)]
    assert len(queued()) == 4
    order = []
    for _ in queued():
        services.runner.work("worker")
        order += [job for job in jobs if row(job).status == "COMPLETE" and job not in order]
    assert order == jobs


def test_a_user_with_many_reports_does_not_block_another_user(admin, operator, services, begin, row):
    admin.send(event())
    many = [begin() for _ in range(5)]
    first = operator.start_report()["job"]
    for _ in range(2):
        services.runner.work("worker")
    assert [row(job).status for job in [*many, first]] == ["COMPLETE", *["RUNNING"] * 4, "COMPLETE"]
    second = operator.start_report()["job"]
    assert place(admin, second) == 2, "one of those that wait since before goes first"


def test_the_queue_position_is_the_order_in_which_workers_claim_reports(
    admin, operator, services, begin, row, monkeypatch
):
    admin.send(event())
    own = [begin() for _ in range(3)]
    others = [operator.start_report()["job"] for _ in range(2)]
    Report.update(estimated_rows=fair_queue.SMALL_ROWS + 1).where(Report.job == own[0]).execute()
    Report.update(next_attempt_at=store.clock() + 60_000).where(Report.job == own[1]).execute()
    job_at = {place(admin, job): job for job in [*own, *others]}
    assert sorted(job_at) == [1, 2, 3, 4, 5]
    assert job_at[5] == own[1], "it is to be tried later than all others"
    order = []
    for _ in range(4):
        services.runner.work("worker")
        order += [job for job in [*own, *others] if row(job).status == "COMPLETE" and job not in order]
    assert order == [job_at[place] for place in (1, 2, 3, 4)]
