"""The runner: one worker claims and runs a report, and the files of other attempts are removed."""

from __future__ import annotations

import hashlib
import threading

import pytest

from app.services.reports import part_writer
from app.storage.local import LocalStorage
from app.store.models import Report
from app.store.reports import reports as store
from tests.support.client import event
from tests.support.threads import BackgroundThreads, at_once


def test_a_report_is_run_by_one_of_several_racing_workers(services, job, row, files):
    at_once(8, lambda number: services.runner.run(job))
    report = row(job)
    assert (report.status, report.attempt, report.rows) == ("COMPLETE", 1, 3)
    assert files() == [report.file]


def test_one_of_several_concurrent_claims_succeeds(app, job):
    claims = [claim for claim in at_once(8, lambda number: store.claim(job, f"token-{number}", 1)) if claim]
    assert len(claims) == 1
    assert claims[0].token == Report.get().token


def test_an_unknown_report_is_not_run(services, files):
    services.runner.run("00000000-0000-4000-8000-000000000000")
    assert files() == []


@pytest.mark.parametrize("status", ["COMPLETE", "FAILED", "TIMEOUT"])
def test_a_report_that_has_ended_is_not_run_again(services, job, row, files, status):
    Report.update(status=status).where(Report.job == job).execute()
    services.runner.run(job)
    assert (row(job).status, row(job).attempt, files()) == (status, 0, [])


def test_rows_bytes_and_hash_of_a_complete_report_match_its_file(admin, services, job, row, settings):
    services.runner.run(job)
    report = row(job)
    path = services.reports.path(report)
    data = path.read_bytes()
    assert (report.rows, report.total, report.bytes) == (3, 3, len(data))
    assert report.sha256 == hashlib.sha256(data).hexdigest()
    assert report.started_at <= report.ended_at
    assert report.expires_at == report.ended_at + 7 * 86_400_000


def test_a_report_without_events_is_an_empty_file(admin, services, row):
    admin.send(event())
    job, file = admin.run_report(start=0, end=1)
    assert (job["status"], file, row(job["job"]).rows) == ("COMPLETE", b"", 0)


def test_rows_are_sorted_by_time_and_then_by_acceptance(admin):
    times = [5, 3, 5, 1, 3]
    for place, time in enumerate(times):
        admin.send(event(timestamp=time, context=[str(place)]))
    _, file = admin.run_report()
    assert [line.split(b"|")[2] for line in file.splitlines()] == [b"3", b"1", b"4", b"0", b"2"]


def test_a_report_has_the_events_accepted_before_it_even_if_it_runs_later(admin, services, job, row):
    admin.send(event(context=["late"]))
    services.runner.run(job)
    assert row(job).rows == 3
    later_job = admin.start_report()["job"]
    services.runner.run(later_job)
    assert row(later_job).rows == 4


def test_a_released_attempt_leaves_no_file_and_changes_nothing(services, job, row, files, wrap_lines, release):
    reached, resume = threading.Event(), threading.Event()

    def slow_at_first(lines):
        for line in lines:
            if not reached.is_set():
                reached.set()
                resume.wait(10)
            yield line

    wrap_lines(slow_at_first)
    with BackgroundThreads() as background:
        first = background.start(services.runner.run, job)
        assert reached.wait(10)
        release(job)
        services.runner.run(job)
        completed = row(job)
        resume.set()
        first.result()
    assert (completed.status, completed.attempt, completed.rows) == ("COMPLETE", 2, 3)
    assert row(job).__data__ == completed.__data__
    assert files() == [completed.file]


def test_an_attempt_that_loses_its_report_after_the_last_row_removes_its_file(
    services, job, row, files, monkeypatch, release
):
    commit = LocalStorage.create

    def lose_after_commit(*args):
        upload = commit(*args)
        commit_upload = upload.commit

        def commit_then_lose() -> None:
            commit_upload()
            monkeypatch.undo()
            release(job)
            services.runner.run(job)

        upload.commit = commit_then_lose
        return upload

    monkeypatch.setattr(LocalStorage, "create", lose_after_commit)
    services.runner.run(job)
    assert (row(job).status, row(job).attempt) == ("COMPLETE", 2)
    assert files() == [row(job).file]


def test_an_attempt_soon_detects_that_it_lost_its_report(services, job, row, wrap_lines, monkeypatch):
    monkeypatch.setattr(part_writer, "HEARTBEAT_SECONDS", 0.02)
    written = []

    def endless(lines):
        line = next(lines)
        while len(written) < 1000:
            written.append(line)
            if len(written) == 5:
                at_once(1, lambda number: Report.update(token="another").execute())
            threading.Event().wait(0.01)
            yield line

    wrap_lines(endless)
    services.runner.run(job)
    assert len(written) < 500
    assert (row(job).status, row(job).token) == ("RUNNING", "another")
