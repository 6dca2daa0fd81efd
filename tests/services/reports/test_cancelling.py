"""Cancelling: a report stops within two seconds at any stage, and leaves nothing behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from app.services.people.principal import SYSTEM
from app.services.reports import part_writer, runner
from app.store.database import database
from app.store.models import Report, ReportPart
from app.store.reports import reports as store
from tests.services.conftest import LONG_ROWS as ROWS
from tests.support.client import FIRST, event
from tests.support.pace import slack
from tests.support.threads import BackgroundThreads, HoldPoint

pytestmark = pytest.mark.both_databases

SECONDS = 60  # time limit for reaching a stage
STOPS_WITHIN = 2
COUNT = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 1000000000) SELECT max(x) FROM n"


@pytest.fixture
def job(long_job) -> str:
    return long_job


@pytest.fixture
def in_long_statement(monkeypatch) -> Callable[[], None]:
    """Make planning run a statement of half a minute. Return a function that waits until it is running."""
    started = threading.Event()

    def sleep(*args: object, **more: object) -> None:
        started.set()
        database.execute_sql(COUNT if database.param == "?" else "SELECT pg_sleep(30)")

    monkeypatch.setattr(runner, "make_plan", sleep)
    return lambda: started.wait(SECONDS) and time.sleep(0.2)


@pytest.fixture
def cancel_report(admin, app, services, row) -> Callable[[str, str], None]:
    """Return a function that cancel_report a report through the API, the command or the service."""

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
def test_a_report_stops_during_a_long_statement(
    admin, services, job, row, files, in_long_statement, cancel_report, way
):
    with BackgroundThreads() as background:
        running = background.start(services.runner.run, job)
        in_long_statement()
        began = time.monotonic()
        cancel_report(way, job)
        assert running.result()
        assert time.monotonic() - began < slack(STOPS_WITHIN)
    check_cancelled(admin, job, row(job), files())
    assert [attempt_row.outcome for attempt_row in services.reports.attempts(row(job))] == ["cancelled"]
    assert not services.runner.run(job)


def test_a_report_stops_while_its_rows_are_written(admin, services, job, row, files, wrap_lines, cancel_report):
    hold_point = HoldPoint()

    def hold_at_row_50(lines):
        for number, line in enumerate(lines):
            if number == 50:
                hold_point.hold()
            time.sleep(0.001)
            yield line

    wrap_lines(hold_at_row_50)
    with BackgroundThreads() as background:
        running = background.start(services.runner.run, job)
        hold_point.until_reached()
        assert any(name.endswith(".partial") for name in files())
        began = time.monotonic()
        cancel_report("api", job)
        hold_point.resume()
        assert running.result()
        assert time.monotonic() - began < slack(STOPS_WITHIN)
    check_cancelled(admin, job, row(job), files())


@pytest.mark.parametrize("output", [None, {"format": "parquet"}], ids=["csv", "parquet"])
def test_a_report_stops_while_its_parts_are_joined(
    admin, services, job, begin, row, files, cancel_report, monkeypatch, output
):
    job = begin(output)
    hold_point, write_file = HoldPoint(), runner.write_file

    def hold_then_join(*args: object) -> part_writer.Written:
        hold_point.hold()
        time.sleep(0.7)  # longer than the interval between heartbeats
        return write_file(*args)

    monkeypatch.setattr(runner, "write_file", hold_then_join)
    with BackgroundThreads() as background:
        running = background.start(services.runner.run, job)
        hold_point.until_reached()
        assert sum(name.endswith(".part") for name in files()) == len(store.parts(job)) >= 10
        began = time.monotonic()
        cancel_report("service", job)
        hold_point.resume()
        assert running.result()
        assert time.monotonic() - began < slack(STOPS_WITHIN)
    check_cancelled(admin, job, row(job), files())


def test_a_report_cancelled_during_its_completion_ends_cancelled(admin, services, job, row, files, monkeypatch):
    write_file = runner.write_file

    def join_then_cancel(*args: object) -> part_writer.Written:
        written = write_file(*args)
        assert services.reports.cancel(SYSTEM, row(job))
        return written

    monkeypatch.setattr(runner, "write_file", join_then_cancel)
    services.runner.run(job)
    check_cancelled(admin, job, row(job), files())
    assert [attempt_row.outcome for attempt_row in services.reports.attempts(row(job))] == ["cancelled"]


@pytest.mark.parametrize("way", ["api", "cli", "service"])
def test_a_waiting_report_that_is_cancelled_never_starts(admin, services, job, row, files, cancel_report, way):
    cancel_report(way, job)
    check_cancelled(admin, job, row(job), files())
    services.runner.work("worker")
    assert row(job).attempt == 0
    assert "queue_position" not in admin.get(f"/reports/JOB-{job}/progress").get_json()
    assert not services.reports.cancel(SYSTEM, row(job)), "once is enough"


def test_a_cancelled_report_can_be_retried_with_its_original_snapshot(
    admin, services, job, begin, row, content, files, written_parts, monkeypatch, cancel_report
):
    undisturbed = begin()
    services.runner.run(undisturbed)
    written_parts.clear()
    write = part_writer.PartWriter.write_part

    def cancel_in_part(writer: part_writer.PartWriter, part: ReportPart, *args: object) -> None:
        if part.number == 4 and not row(job).cancelled and row(job).attempt == 1:
            cancel_report("service", job)
        write(writer, part, *args)

    monkeypatch.setattr(part_writer.PartWriter, "write_part", cancel_in_part)
    services.runner.run(job)
    check_cancelled(admin, job, row(job), [name for name in files() if name != row(undisturbed).file])
    admin.send(event(timestamp=FIRST + 3, context=["late"]))
    answer = admin.post(f"/reports/JOB-{job}/retry", b"")
    assert (answer.status_code, answer.get_json()["status"]) == (200, "RUNNING")
    assert (row(job).reason, row(job).ended_at, row(job).cancelled) == (None, None, False)
    services.runner.work("worker")
    assert (row(job).status, row(job).rows) == ("COMPLETE", ROWS)
    assert content(job) == content(undisturbed)
    assert row(job).sha256 == row(undisturbed).sha256
    assert [attempt_row.outcome for attempt_row in services.reports.attempts(row(job))] == ["cancelled", "complete"]


def test_an_immediate_retry_is_not_affected_by_the_attempt_that_is_still_stopping(
    admin, services, job, row, content, files, monkeypatch
):
    """The first attempt detects the cancellation only after the second has written its parts."""
    write, cancelled_parts = part_writer.PartWriter.write_part, []

    def retry_first(writer: part_writer.PartWriter, part: ReportPart, *args: object) -> None:
        if not cancelled_parts:
            cancelled_parts.append(part)
            services.reports.cancel(SYSTEM, row(job))
            services.reports.retry(SYSTEM, row(job))
            services.runner.run(job, "second")
        write(writer, part, *args)

    monkeypatch.setattr(part_writer.PartWriter, "write_part", retry_first)
    services.runner.run(job, "first")
    assert (row(job).status, row(job).rows, len(content(job).splitlines())) == ("COMPLETE", ROWS, ROWS)
    assert files() == [row(job).file]


def test_removing_leftovers_keeps_the_parts_of_a_retry(services, job, row, files, monkeypatch):
    """A cancelled attempt removes its leftovers after the retry has written parts."""
    store.end(job, "FAILED", "It was cancelled.", 1, cancelled=True)
    store.run_again(job)
    done, write_file = [], runner.write_file

    def discard_then_join(*args: object) -> part_writer.Written:
        services.reports.destinations.discard_leftovers(job)
        done.extend(part.done for part in store.parts(job))
        return write_file(*args)

    monkeypatch.setattr(runner, "write_file", discard_then_join)
    services.runner.run(job)
    assert done == [True] * 10
    assert row(job).status == "COMPLETE"


@pytest.mark.settings(report_timeout_seconds=1)
def test_a_report_times_out_during_a_long_statement(admin, services, job, row, files, in_long_statement):
    began = time.monotonic()
    assert services.runner.run(job)
    assert 1 <= time.monotonic() - began < slack(1 + STOPS_WITHIN)
    assert (row(job).status, row(job).cancelled, files()) == ("TIMEOUT", False, [])
    assert admin.availability(f"JOB-{job}")["status"] == "TIMEOUT"
    assert [attempt_row.outcome for attempt_row in services.reports.attempts(row(job))] == ["timeout"]


@pytest.mark.settings(report_timeout_seconds=60)
def test_a_report_that_timed_out_can_be_retried(services, job, row, content):
    Report.update(began_at=1).where(Report.job == job).execute()
    services.runner.run(job)
    assert row(job).status == "TIMEOUT"
    services.reports.retry(SYSTEM, row(job))
    services.runner.run(job)
    assert (row(job).status, len(content(job).splitlines())) == ("COMPLETE", ROWS)


def test_a_connection_whose_statement_was_cancelled_is_not_reused(services, job, in_long_statement, cancel_report):
    """The server may cancel late, which would end the next statement on the connection."""
    used = []
    with BackgroundThreads() as background:
        running = background.start(lambda: (used.append(database.connection()), services.runner.run(job), is_new(used)))
        in_long_statement()
        cancel_report("service", job)
        assert running.result()[-1]


def is_new(used: list) -> bool:
    return database.connection() is not used[0]


def test_deleting_a_complete_report_removes_its_file_and_marks_its_row(admin, services, job, row, files):
    services.runner.run(job)
    assert files() == [row(job).file]
    assert admin.request("DELETE", f"/reports/JOB-{job}").status_code == 204
    assert files() == []
    assert (row(job).status, row(job).removed, row(job).rows) == ("COMPLETE", True, ROWS)
    assert admin.get(f"/reports/JOB-{job}").status_code == 410
    assert admin.request("DELETE", f"/reports/JOB-{job}").status_code == 204, "twice does no harm"
