"""Cancelling a report stops its work within two seconds, at whatever it is, and leaves nothing behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from app.services.people.principal import SYSTEM
from app.services.reports import attempt, part_writer, planning
from app.store.database import database
from app.store.models import Report, ReportPart
from app.store.reports import parts
from app.store.reports import reports as store
from tests.services.conftest import LONG_ROWS as ROWS
from tests.support.client import FIRST, event
from tests.support.pace import slack
from tests.support.threads import Aside

pytestmark = pytest.mark.both_databases

SECONDS = 60  # for something to be reached
STOPS_WITHIN = 2
COUNT = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 1000000000) SELECT max(x) FROM n"


@pytest.fixture
def job(long_job) -> str:
    return long_job


class Moment:
    """A place in the code at which a report is held until the test goes on."""

    def __init__(self) -> None:
        self._reached, self._go = threading.Event(), threading.Event()

    def hold(self) -> None:
        if not self._reached.is_set():
            self._reached.set()
            assert self._go.wait(SECONDS)

    def until_reached(self) -> None:
        assert self._reached.wait(SECONDS)

    def go_on(self) -> None:
        self._go.set()


@pytest.fixture
def in_a_statement(monkeypatch) -> Callable[[], None]:
    """Let a report be planned by a statement that takes half a minute; returns when it is at it."""
    begun = threading.Event()

    def sleep(*args: object, **more: object) -> None:
        begun.set()
        database.execute_sql(COUNT if database.param == "?" else "SELECT pg_sleep(30)")

    monkeypatch.setattr(planning, "plan", sleep)
    return lambda: begun.wait(SECONDS) and time.sleep(0.2)


@pytest.fixture
def cancels(admin, app, services, row) -> Callable[[str, str], None]:
    """Cancel a report as programs do, as on the terminal, or as a page does."""

    def cancel(way: str, job: str) -> None:
        if way == "api":
            assert admin.request("DELETE", f"/reports/JOB-{job}").status_code == 204
        elif way == "cli":
            assert app.test_cli_runner().invoke(args=["reports", "cancel", f"JOB-{job}"]).exit_code == 0
        else:
            assert services.reports.cancel(SYSTEM, row(job))

    return cancel


def check_cancelled(admin, job: str, report: Report, files: list[str]) -> None:
    assert (report.status, report.cancelled, report.token, report.worker) == ("FAILED", True, None, None)
    assert report.reason.startswith("Cancelled by ")
    assert admin.availability(f"JOB-{job}")["status"] == "FAILED"
    assert "cancelled" not in admin.availability(f"JOB-{job}")
    assert files == []
    assert ReportPart.select().count() == 0


@pytest.mark.parametrize("way", ["api", "cli", "service"])
def test_a_report_stops_in_the_middle_of_a_long_statement(
    admin, services, job, row, files, in_a_statement, cancels, way
):
    with Aside() as aside:
        running = aside.start(services.runner.run, job)
        in_a_statement()
        began = time.monotonic()
        cancels(way, job)
        assert running.result()
        assert time.monotonic() - began < slack(STOPS_WITHIN)
    check_cancelled(admin, job, row(job), files())
    assert [one.outcome for one in services.reports.attempts(row(job))] == ["cancelled"]
    assert not services.runner.run(job)


def test_a_report_stops_in_the_middle_of_its_rows(admin, services, job, row, files, along, cancels):
    moment = Moment()

    def held(lines):
        for number, line in enumerate(lines):
            if number == 50:
                moment.hold()
            time.sleep(0.001)
            yield line

    along(held)
    with Aside() as aside:
        running = aside.start(services.runner.run, job)
        moment.until_reached()
        assert any(name.endswith(".partial") for name in files())
        began = time.monotonic()
        cancels("api", job)
        moment.go_on()
        assert running.result()
        assert time.monotonic() - began < slack(STOPS_WITHIN)
    check_cancelled(admin, job, row(job), files())


@pytest.mark.parametrize("output", [None, {"format": "parquet"}], ids=["csv", "parquet"])
def test_a_report_stops_while_its_parts_are_joined(
    admin, services, job, begin, row, files, cancels, monkeypatch, output
):
    job = begin(output)
    moment, add = Moment(), attempt.Attempt._add

    def held(self: attempt.Attempt, *args: object) -> None:
        moment.hold()
        time.sleep(0.7)  # a beat of the pulse
        add(self, *args)

    monkeypatch.setattr(attempt.Attempt, "_add", held)
    with Aside() as aside:
        running = aside.start(services.runner.run, job)
        moment.until_reached()
        assert sum(name.endswith(".part") for name in files()) == len(parts.of(job)) >= 10
        began = time.monotonic()
        cancels("service", job)
        moment.go_on()
        assert running.result()
        assert time.monotonic() - began < slack(STOPS_WITHIN)
    check_cancelled(admin, job, row(job), files())


def test_a_report_that_is_cancelled_as_it_completes_is_one_of_the_two(admin, services, job, row, files, monkeypatch):
    complete = attempt.Attempt._complete

    def late(self: attempt.Attempt, *args: object) -> None:
        assert services.reports.cancel(SYSTEM, row(job))
        complete(self, *args)

    monkeypatch.setattr(attempt.Attempt, "_complete", late)
    services.runner.run(job)
    check_cancelled(admin, job, row(job), files())
    assert [one.outcome for one in services.reports.attempts(row(job))] == ["cancelled"]


@pytest.mark.parametrize("way", ["api", "cli", "service"])
def test_a_report_that_waits_is_never_begun(admin, services, job, row, files, cancels, way):
    cancels(way, job)
    check_cancelled(admin, job, row(job), files())
    services.runner.work("worker")
    assert row(job).attempt == 0
    assert "queue_position" not in admin.get(f"/reports/JOB-{job}/progress").get_json()
    assert not services.reports.cancel(SYSTEM, row(job)), "once is enough"


def test_a_cancelled_report_runs_again_with_the_snapshot_that_it_had(
    admin, services, job, begin, row, content, files, written, monkeypatch, cancels
):
    undisturbed = begin()
    services.runner.run(undisturbed)
    written.clear()
    write = part_writer.PartWriter.write_part

    def cancel_in_part(writer: part_writer.PartWriter, part: ReportPart, *args: object) -> None:
        if part.number == 4 and not row(job).cancelled and row(job).attempt == 1:
            cancels("service", job)
        write(writer, part, *args)

    monkeypatch.setattr(part_writer.PartWriter, "write_part", cancel_in_part)
    services.runner.run(job)
    check_cancelled(admin, job, row(job), [name for name in files() if name != row(undisturbed).file])
    admin.send(event(timestamp=FIRST + 3, context=["late"]))
    answer = admin.post(f"/reports/JOB-{job}/retry", b"")
    assert (answer.status_code, answer.get_json()["status"]) == (200, "RUNNING")
    assert (row(job).reason, row(job).ended, row(job).cancelled) == (None, None, False)
    services.runner.work("worker")
    assert (row(job).status, row(job).rows) == ("COMPLETE", ROWS)
    assert content(job) == content(undisturbed)
    assert row(job).sha256 == row(undisturbed).sha256
    assert [one.outcome for one in services.reports.attempts(row(job))] == ["cancelled", "complete"]


def test_a_retry_right_after_the_cancelling_loses_nothing_to_the_attempt_that_still_stops(
    admin, services, job, row, content, files, monkeypatch
):
    """The first attempt finds out only when the second one is at its parts."""
    write, done = part_writer.PartWriter.write_part, []

    def overtaken(writer: part_writer.PartWriter, part: ReportPart, *args: object) -> None:
        if not done:
            done.append(part)
            services.reports.cancel(SYSTEM, row(job))
            services.reports.retry(SYSTEM, row(job))
            services.runner.run(job, "second")
        write(writer, part, *args)

    monkeypatch.setattr(part_writer.PartWriter, "write_part", overtaken)
    services.runner.run(job, "first")
    assert (row(job).status, row(job).rows, len(content(job).splitlines())) == ("COMPLETE", ROWS, ROWS)
    assert files() == [row(job).file]


def test_tidying_up_leaves_alone_what_a_retry_has_written_meanwhile(services, job, row, files, monkeypatch):
    """An attempt that was cancelled tidies up as late as may be: its report runs again, and has parts."""
    store.end(job, "FAILED", "It was cancelled.", 1, cancelled=True)
    store.run_again(job)
    seen = []
    write_parts = attempt.Attempt._write_parts

    def tidied(self: attempt.Attempt) -> None:
        write_parts(self)
        services.reports.destinations.discard_leftovers(job)
        seen.extend(part.done for part in parts.of(job))

    monkeypatch.setattr(attempt.Attempt, "_write_parts", tidied)
    services.runner.run(job)
    assert seen == [True] * 10
    assert row(job).status == "COMPLETE"


@pytest.mark.settings(report_timeout_seconds=1)
def test_a_report_times_out_in_the_middle_of_a_long_statement_too(admin, services, job, row, files, in_a_statement):
    began = time.monotonic()
    assert services.runner.run(job)
    assert 1 <= time.monotonic() - began < slack(1 + STOPS_WITHIN)
    assert (row(job).status, row(job).cancelled, files()) == ("TIMEOUT", False, [])
    assert admin.availability(f"JOB-{job}")["status"] == "TIMEOUT"
    assert [one.outcome for one in services.reports.attempts(row(job))] == ["timeout"]


@pytest.mark.settings(report_timeout_seconds=60)
def test_a_report_that_timed_out_runs_again(services, job, row, content):
    Report.update(began=1).where(Report.job == job).execute()
    services.runner.run(job)
    assert row(job).status == "TIMEOUT"
    services.reports.retry(SYSTEM, row(job))
    services.runner.run(job)
    assert (row(job).status, len(content(job).splitlines())) == ("COMPLETE", ROWS)


def test_the_connection_whose_statement_was_ended_is_not_used_again(services, job, in_a_statement, cancels):
    """The server may end a statement a moment late: by then it would be another one."""
    used = []
    with Aside() as aside:
        running = aside.start(lambda: (used.append(database.connection()), services.runner.run(job), is_new(used)))
        in_a_statement()
        cancels("service", job)
        assert running.result()[-1]


def is_new(used: list) -> bool:
    return database.connection() is not used[0]


def test_deleting_a_complete_report_removes_its_file_and_its_row_says_so(admin, services, job, row, files):
    services.runner.run(job)
    assert files() == [row(job).file]
    assert admin.request("DELETE", f"/reports/JOB-{job}").status_code == 204
    assert files() == []
    assert (row(job).status, row(job).removed, row(job).rows) == ("COMPLETE", True, ROWS)
    assert admin.get(f"/reports/JOB-{job}").status_code == 410
    assert admin.request("DELETE", f"/reports/JOB-{job}").status_code == 204, "twice does no harm"
