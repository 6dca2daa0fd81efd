"""A report that cannot be written ends FAILED or TIMEOUT, says why, and leaves no file."""

from __future__ import annotations

import errno
import itertools
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from app.exceptions import Forbidden, ReportFailed, StoreUnavailable
from app.services.people.principal import SYSTEM
from app.store.events import select
from app.store.reports import reports as store
from tests.support.client import event, root
from tests.support.pace import slack

pytestmark = pytest.mark.settings(report_attempts=1)
GIVEN_UP = "1 attempt got no further. The last one: "


def raising(*errors: Exception, after: int = 0) -> Callable[[Iterator[bytes]], Iterator[bytes]]:
    """Let each attempt raise one of the errors behind some lines, and the attempts after these write all."""
    left = iter(errors)

    def lines_until_the_error(lines: Iterator[bytes]) -> Iterator[bytes]:
        yield from itertools.islice(lines, after)
        for error in left:
            raise error
        yield from lines

    return lines_until_the_error


def test_an_attempt_that_raises_ends_the_report_failed_with_the_reason_on_its_row_and_in_the_log(
    services, job, row, files, along
):
    along(raising(ValueError("the second row is bad"), after=1))
    with capture_logs() as log:
        services.runner.run(job)
    report = row(job)
    assert (report.status, report.reason) == ("FAILED", GIVEN_UP + "ValueError: the second row is bad")
    assert report.ended >= report.started
    assert files() == []
    assert {"event": "report failed", "report": job, "reason": report.reason, "log_level": "error"} in log


@pytest.mark.settings(report_attempts=5)
@pytest.mark.parametrize("hours", [-2, 2], ids=["behind", "ahead"])
def test_a_machine_with_a_wrong_clock_shortens_no_other_s_time_for_a_report(services, job, row, monkeypatch, hours):
    wrong = time.time_ns() + hours * 3_600_000_000_000
    with monkeypatch.context() as there:
        there.setattr(time, "time_ns", lambda: wrong)
        there.setattr(time, "time", lambda: wrong / 1e9)
        report = services.runner.claim(job, "the worker there")
        services.reports.cleanup.clean_up()
    store.give_back(job, report.token)
    services.reports.cleanup.clean_up()
    services.runner.run(job)
    report = row(job)
    assert report.status == "COMPLETE"
    assert report.started <= report.began <= report.claimed <= report.ended
    first, second = services.reports.attempts(report)
    assert report.started <= first.began <= second.began <= second.ended


def test_a_full_disk_is_such_a_failure(services, job, row, files, monkeypatch):
    def full(descriptor) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    services.runner.run(job)
    assert row(job).status == "FAILED"
    assert "The disk that report files are written to is full." in row(job).reason
    assert files() == []


def test_a_storage_that_cannot_be_written_is_one_too(services, job, row, settings):
    settings.data_dir.mkdir(exist_ok=True)
    (settings.data_dir / "reports").touch()
    services.runner.run(job)
    assert row(job).status == "FAILED"


def test_a_reason_is_cut_where_it_is_long(services, job, row, along):
    along(raising(ValueError("x" * 100_000)))
    services.runner.run(job)
    assert len(row(job).reason) == len(GIVEN_UP) + 1000


def test_a_failed_report_has_no_file_and_its_error_says_why(admin, services, job, row, along):
    along(raising(ValueError("the first row is bad")))
    services.runner.run(job)
    answer = admin.get(f"/reports/JOB-{job}")
    assert (answer.status_code, root(answer)) == (409, "EVENT_JOB_GET_FAILED")
    assert "the first row is bad" in answer.get_json()[0]["value"]["message"]
    assert admin.availability(f"JOB-{job}")["status"] == "FAILED"
    with pytest.raises(ReportFailed):
        services.reports.path(row(job))


@pytest.mark.settings(report_timeout_seconds=1, report_attempts=1)
def test_a_report_that_runs_longer_than_it_may_ends_in_timeout(admin, services, job, row, files, along, monkeypatch):
    def endless(lines):
        line = next(lines)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            time.sleep(0.02)
            yield line

    along(endless)
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
def test_a_report_whose_last_row_comes_too_late_has_timed_out_too(services, job, row, files, along):
    def late(lines):
        yield from lines
        time.sleep(1.2)

    along(late)
    services.runner.run(job)
    assert (row(job).status, files()) == ("TIMEOUT", [])


def test_a_database_that_goes_away_fails_nothing_as_it_comes_back(services, job, row, files, along):
    along(raising(StoreUnavailable("The database cannot be reached."), after=1))
    services.runner.run(job)
    assert (row(job).status, row(job).reason, files()) == ("RUNNING", None, [])


def test_an_error_of_the_database_s_own_ends_the_report_failed(services, job, row, files, monkeypatch):
    where = select.Selection.where

    def wrong(selection) -> tuple[str, list]:
        condition, values = where(selection)
        return f"{condition} AND nowhere = 1", values

    monkeypatch.setattr(select.Selection, "where", wrong)
    services.runner.run(job)
    assert (row(job).status, files()) == ("FAILED", [])
    assert "nowhere" in row(job).reason


@pytest.mark.settings(report_attempts=3)
def test_a_failed_attempt_is_tried_again_after_a_while_and_each_reason_is_on_record(services, job, row, along, files):
    along(raising(ValueError("first"), ValueError("second"), ValueError("third")))
    for tried in (1, 2):
        services.runner.run(job)
        report = row(job)
        assert (report.status, report.token, report.stalled_attempts) == ("RUNNING", None, tried)
        assert report.not_before > report.claimed
        assert services.runner.work("worker") is None and row(job).attempt == tried, "it was not yet time"
    services.runner.run(job)
    assert row(job).status == "FAILED"
    assert "3 attempts in a row got no further" in row(job).reason and "third" in row(job).reason
    told = [(one.number, one.outcome, one.reason) for one in services.reports.attempts(row(job))]
    assert told == [(n, "failed", f"ValueError: {r}") for n, r in ((1, "first"), (2, "second"), (3, "third"))]
    assert files() == []


def test_a_failed_report_runs_again_when_it_is_told_to_with_the_snapshot_that_it_had(admin, services, job, row, along):
    along(raising(ValueError("only once")))
    services.runner.run(job)
    assert row(job).status == "FAILED"
    admin.send({"customer": "BARCHART", "product": "PORTFOLIO", "type": "T", "timestamp": 0, "context": []})
    again = admin.post(f"/reports/JOB-{job}/retry", b"")
    assert (again.status_code, again.get_json()["status"]) == (200, "RUNNING")
    services.runner.run(job)
    assert (row(job).status, row(job).rows, row(job).attempt) == ("COMPLETE", 3, 2)
    refused = admin.post(f"/reports/JOB-{job}/retry", b"")
    assert (refused.status_code, root(refused)) == (409, "EVENT_JOB_GET_FAILED")


@pytest.mark.settings(report_buckets=("analysts",))
def test_a_bucket_that_is_not_allowed_any_more_gets_no_report_that_waits_or_is_tried_again(
    services, admin, begin, row, monkeypatch
):
    admin.send(event())
    output = {"bucketName": "analysts", "bucketKey": "report.csv"}
    waiting, cancelled = begin(output), begin(output)
    services.reports.cancel(SYSTEM, row(cancelled))
    filing = services.reports.destinations
    monkeypatch.setattr(filing, "_settings", replace(filing._settings, report_buckets=()))
    services.runner.run(waiting)
    (attempt,) = services.reports.attempts(row(waiting))
    assert "allows no buckets" in attempt.reason
    with pytest.raises(Forbidden, match="allows no buckets"):
        services.reports.retry(SYSTEM, row(cancelled))
    assert row(cancelled).status == "FAILED"
