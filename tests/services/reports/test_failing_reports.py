"""A report that cannot be written ends as FAILED or TIMEOUT, with a reason and without a file."""

from __future__ import annotations

import errno
import itertools
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from app import create_app
from app.exceptions import Forbidden, ReportFailed, StoreUnavailable
from app.services.people.principal import SYSTEM
from app.store.events import select
from app.store.models import Report
from app.store.reports import reports as store
from tests.support.client import event, root
from tests.support.pace import slack

pytestmark = pytest.mark.settings(report_attempts=1)
GIVEN_UP = "1 attempt got no further. The last one: "


def raising(*errors: Exception, after: int = 0) -> Callable[[Iterator[bytes]], Iterator[bytes]]:
    """Return a line filter that raises each error once after some lines, and then passes all lines."""
    remaining = iter(errors)

    def lines_until_the_error(lines: Iterator[bytes]) -> Iterator[bytes]:
        yield from itertools.islice(lines, after)
        for error in remaining:
            raise error
        yield from lines

    return lines_until_the_error


def test_an_error_fails_the_report_with_the_reason_in_its_row_and_in_the_log(services, job, row, files, wrap_lines):
    wrap_lines(raising(ValueError("the second row is bad"), after=1))
    with capture_logs() as log:
        services.runner.run(job)
    report = row(job)
    assert (report.status, report.reason) == ("FAILED", GIVEN_UP + "ValueError: the second row is bad")
    assert report.ended_at >= report.started_at
    assert files() == []
    assert {"event": "report failed", "report": job, "reason": report.reason, "log_level": "error"} in log


@pytest.mark.settings(report_attempts=5)
@pytest.mark.parametrize("hours", [-2, 2], ids=["behind", "ahead"])
def test_a_machine_with_a_wrong_clock_does_not_shorten_the_time_of_other_attempts(
    services, job, row, monkeypatch, hours
):
    wrong = time.time_ns() + hours * 3_600_000_000_000
    with monkeypatch.context() as patch:
        patch.setattr(time, "time_ns", lambda: wrong)
        patch.setattr(time, "time", lambda: wrong / 1e9)
        report = services.runner.claim(job, "the worker there")
        services.reports.cleanup.clean_up()
    store.give_back(job, report.token)
    services.reports.cleanup.clean_up()
    services.runner.run(job)
    report = row(job)
    assert report.status == "COMPLETE"
    assert report.started_at <= report.began_at <= report.claimed_at <= report.ended_at
    first, second = services.reports.attempts(report)
    assert report.started_at <= first.began_at <= second.began_at <= second.ended_at


def test_a_full_disk_fails_the_report(services, job, row, files, monkeypatch):
    def full(descriptor) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    services.runner.run(job)
    assert row(job).status == "FAILED"
    assert "The disk that report files are written to is full." in row(job).reason
    assert files() == []


def test_an_unwritable_storage_fails_the_report(services, job, row, settings):
    settings.data_dir.mkdir(exist_ok=True)
    (settings.data_dir / "reports").touch()
    services.runner.run(job)
    assert row(job).status == "FAILED"


def test_a_long_reason_is_truncated(services, job, row, wrap_lines):
    wrap_lines(raising(ValueError("x" * 100_000)))
    services.runner.run(job)
    assert len(row(job).reason) == len(GIVEN_UP) + 1000


def test_a_request_for_a_failed_report_returns_the_reason(admin, services, job, row, wrap_lines):
    wrap_lines(raising(ValueError("the first row is bad")))
    services.runner.run(job)
    answer = admin.get(f"/reports/JOB-{job}")
    assert (answer.status_code, root(answer)) == (409, "EVENT_JOB_GET_FAILED")
    assert "the first row is bad" in answer.get_json()[0]["value"]["message"]
    assert admin.availability(f"JOB-{job}")["status"] == "FAILED"
    with pytest.raises(ReportFailed):
        services.reports.path(row(job))


@pytest.mark.settings(report_timeout_seconds=1, report_attempts=1)
def test_a_report_that_exceeds_the_time_limit_ends_as_timeout(
    admin, services, job, row, files, wrap_lines, monkeypatch
):
    def endless(lines):
        line = next(lines)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            time.sleep(0.02)
            yield line

    wrap_lines(endless)
    began = time.monotonic()
    with capture_logs() as log:
        services.runner.run(job)
    assert 1 <= time.monotonic() - began < slack(5)
    assert row(job).status == "TIMEOUT"
    assert "1 seconds" in row(job).reason and "REPORT_TIMEOUT_SECONDS" in row(job).reason
    assert files() == []
    assert "report timed out" in [line["event"] for line in log]
    assert admin.availability(f"JOB-{job}")["timing"].keys() == {"day", "start", "end"}


@pytest.mark.settings(report_timeout_seconds=1, report_attempts=1)
def test_a_report_whose_last_row_is_late_ends_as_timeout(services, job, row, files, wrap_lines):
    def late(lines):
        yield from lines
        time.sleep(1.2)

    wrap_lines(late)
    services.runner.run(job)
    assert (row(job).status, files()) == ("TIMEOUT", [])


def test_an_unavailable_database_does_not_fail_the_report(services, job, row, files, wrap_lines):
    wrap_lines(raising(StoreUnavailable("The database cannot be reached."), after=1))
    services.runner.run(job)
    assert (row(job).status, row(job).reason, files()) == ("RUNNING", None, [])


def test_a_database_error_fails_the_report(services, job, row, files, monkeypatch):
    where = select.Selection.where

    def wrong(selection) -> tuple[str, list]:
        condition, values = where(selection)
        return f"{condition} AND nowhere = 1", values

    monkeypatch.setattr(select.Selection, "where", wrong)
    services.runner.run(job)
    assert (row(job).status, files()) == ("FAILED", [])
    assert "nowhere" in row(job).reason


@pytest.mark.settings(report_attempts=100)
def test_the_pause_between_attempts_grows_to_a_minute(services, job, row, wrap_lines):
    Report.update(stalled_attempts=98).execute()
    wrap_lines(raising(ValueError("again")))
    services.runner.run(job)
    pause = row(job).next_attempt_at - row(job).heartbeat_at
    assert 59_000 < pause <= 60_000


@pytest.mark.settings(report_attempts=3)
def test_a_failed_attempt_is_retried_after_a_pause_and_each_reason_recorded(services, job, row, wrap_lines, files):
    wrap_lines(raising(ValueError("first"), ValueError("second"), ValueError("third")))
    for attempts in (1, 2):
        services.runner.run(job)
        report = row(job)
        assert (report.status, report.token, report.stalled_attempts) == ("RUNNING", None, attempts)
        assert report.next_attempt_at > report.claimed_at
        assert services.runner.work("worker") is None and row(job).attempt == attempts, "it was not yet time"
    services.runner.run(job)
    assert row(job).status == "FAILED"
    assert "3 attempts in a row got no further" in row(job).reason and "third" in row(job).reason
    recorded = [(attempt.number, attempt.outcome, attempt.reason) for attempt in services.reports.attempts(row(job))]
    assert recorded == [(n, "failed", f"ValueError: {r}") for n, r in ((1, "first"), (2, "second"), (3, "third"))]
    assert files() == []


def test_a_failed_report_can_be_retried_with_its_original_snapshot(admin, services, job, row, wrap_lines):
    wrap_lines(raising(ValueError("only once")))
    services.runner.run(job)
    assert row(job).status == "FAILED"
    admin.send({"customer": "BARCHART", "product": "PORTFOLIO", "type": "T", "timestamp": 0, "context": []})
    retried = admin.post(f"/reports/JOB-{job}/retry", b"")
    assert (retried.status_code, retried.get_json()["status"]) == (200, "RUNNING")
    services.runner.run(job)
    assert (row(job).status, row(job).rows, row(job).attempt) == ("COMPLETE", 3, 2)
    rejected = admin.post(f"/reports/JOB-{job}/retry", b"")
    assert (rejected.status_code, root(rejected)) == (409, "EVENT_JOB_GET_FAILED")


@pytest.mark.settings(report_buckets=("analysts",))
def test_no_attempt_or_retry_writes_to_a_bucket_that_is_no_longer_allowed(services, settings, admin, begin, row):
    admin.send(event())
    output = {"bucketName": "analysts", "bucketKey": "report.csv"}
    waiting, cancelled = begin(output), begin(output)
    services.reports.cancel(SYSTEM, row(cancelled))
    services = create_app(replace(settings, report_buckets=())).extensions["services"]
    services.runner.run(waiting)
    (attempt,) = services.reports.attempts(row(waiting))
    assert "allows no buckets" in attempt.reason
    with pytest.raises(Forbidden, match="allows no buckets"):
        services.reports.retry(SYSTEM, row(cancelled))
    assert row(cancelled).status == "FAILED"
