"""Cleanup: the rows of reports are authoritative, so it repairs what Redis and workers lost."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis as redis_py
from rq import Queue
from rq.serializers import JSONSerializer
from structlog.testing import capture_logs

from app.exceptions import QueueUnavailable, StorageFailed
from app.redis import queue as queue_room
from app.services.reports import part_writer as module
from app.storage.local import LocalStorage
from app.store.database import database
from app.store.models import Report, ReportPart
from app.store.reports import reports as store
from app.support.clock import HOUR_MS, now
from tests.support.threads import at_once


@pytest.fixture
def queued(redis_url: str) -> Callable[[], list[str]]:
    """Return a function that lists the reports waiting in Redis."""
    connection = redis_py.Redis.from_url(redis_url)
    waiting = Queue(queue_room.NAME, connection=connection, serializer=JSONSerializer)
    return lambda: [name.partition("_")[0] for name in waiting.get_job_ids()]


def change(job: str, **values: object) -> None:
    Report.update(values).where(Report.job == job).execute()


def claim_long_ago(job: str, milliseconds: int = module.SILENT_MS + 1_000, token: str = "token") -> Report:
    """Claim a report for an attempt that has been silent since."""
    report = store.claim(job, token, now() - milliseconds)
    change(job, heartbeat_at=store.clock() - milliseconds)
    return report


def forget_everything(redis_url: str) -> None:
    redis_py.Redis.from_url(redis_url).flushall()


@pytest.mark.parametrize("is_forgotten", [True, False])
def test_a_report_missing_in_redis_is_queued_again_once(services, job, queued, redis_url, is_forgotten):
    assert queued() == [job]
    if is_forgotten:
        forget_everything(redis_url)
    for _ in range(3):
        services.reports.cleanup.clean_up()
    assert queued() == [job]


def test_a_report_is_accepted_without_redis_and_queued_later(admin, services, job, queued, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(services.reports.queue, "connection", lambda: queue_room.connect("unix:///nowhere.sock"))
        with capture_logs() as log:
            second = admin.start_report()
        with pytest.raises(QueueUnavailable):
            services.reports.cleanup.clean_up()
    assert second["status"] == "RUNNING"
    assert "report not enqueued, the scheduler will" in [line["event"] for line in log]
    assert queued() == [job]
    services.reports.cleanup.clean_up()
    assert queued() == [job, second["job"]]


def test_a_claimed_report_is_not_queued_again(services, job, queued, redis_url):
    store.claim(job, "token", now())
    forget_everything(redis_url)
    services.reports.cleanup.clean_up()
    assert queued() == []


def test_a_silent_attempt_is_released_and_its_report_queued_again(services, job, queued, row, redis_url):
    claim_long_ago(job)
    forget_everything(redis_url)
    services.reports.cleanup.clean_up()
    assert queued() == [job]
    assert (row(job).status, row(job).token, row(job).attempt) == ("RUNNING", None, 1)
    services.runner.run(job)
    assert (row(job).status, row(job).attempt) == ("COMPLETE", 2)


def test_an_attempt_with_a_recent_heartbeat_continues(services, job, row):
    claim_long_ago(job)
    assert store.note(job, "token", rows=1)
    services.reports.cleanup.clean_up()
    assert row(job).token == "token"


def test_a_report_fails_after_five_silent_attempts(services, settings, job, queued, row):
    for attempt in range(1, settings.report_attempts + 1):
        assert row(job).status == "RUNNING"
        assert claim_long_ago(job, token=f"token-{attempt}").attempt == attempt
        services.reports.cleanup.clean_up()
    report = row(job)
    assert settings.report_attempts == 5
    assert (report.status, report.token) == ("FAILED", None)
    assert report.reason.startswith("5 attempts in a row got no further. The last one: Its worker was not heard from")
    assert report.ended_at
    assert not services.runner.run(job)
    assert row(job).status == "FAILED"


def test_an_attempt_beyond_the_time_limit_is_ended_as_timeout(services, settings, job, row):
    long_ago = now() - settings.report_timeout_seconds * 1000 - module.SILENT_MS - 1
    store.claim(job, "token", long_ago)
    services.reports.cleanup.clean_up()
    assert (row(job).status, row(job).reason) == ("TIMEOUT", "It ran longer than 900 seconds.")
    assert not store.note(job, "token", rows=7)


@pytest.mark.parametrize("is_claimed", [True, False], ids=["an attempt within its time", "a report that waits long"])
def test_reports_within_the_time_limit_and_waiting_reports_do_not_time_out(services, settings, job, row, is_claimed):
    if is_claimed:
        store.claim(job, "token", now() - settings.report_timeout_seconds * 1000)
    else:
        change(job, started_at=1)
    services.reports.cleanup.clean_up()
    assert row(job).status == "RUNNING"


def test_an_expired_file_is_removed_and_its_report_kept(admin, services, job, row, files):
    services.runner.run(job)
    link = admin.get(f"/reports/JOB-{job}", headers={"Accept": "application/json"}).get_json()["link"]
    services.reports.cleanup.clean_up()
    assert files() == [row(job).file]
    change(job, expires_at=now())
    services.reports.cleanup.clean_up()
    assert files() == []
    assert row(job).removed
    assert admin.availability(f"JOB-{job}")["status"] == "COMPLETE"
    assert admin.get(f"/reports/JOB-{job}").status_code == 410
    assert admin.get(link.removeprefix("https://tally.example")).status_code == 410


def test_a_missing_file_does_not_stop_the_cleanup(services, job, row):
    services.runner.run(job)
    change(job, expires_at=now())
    services.reports.path(row(job)).unlink()
    services.reports.cleanup.clean_up()
    assert row(job).removed


def test_expired_files_are_removed_without_redis(services, job, files, monkeypatch):
    def away(*args: object, **kwargs: object) -> None:
        raise redis_py.ConnectionError("Connection refused")

    monkeypatch.setattr(redis_py.Redis, "execute_command", away)
    monkeypatch.setattr(redis_py.client.Pipeline, "execute", away)
    services.runner.run(job)
    change(job, expires_at=now())
    services.reports.cleanup.clean_up()
    assert files() == []


def test_concurrent_cleanups_have_the_effect_of_one(admin, services, job, queued, row, files, redis_url):
    services.runner.run(job)
    change(job, expires_at=now())
    waiting, silent, hopeless, late = [admin.start_report()["job"] for _ in range(4)]
    for silent_job in (silent, hopeless, late):
        claim_long_ago(silent_job)
    change(hopeless, stalled_attempts=4)
    change(late, began_at=1)
    forget_everything(redis_url)
    at_once(4, lambda number: services.reports.cleanup.clean_up())
    assert files() == []
    assert set(queued()) == {waiting, silent}
    statuses = [row(name).status for name in (waiting, silent, hopeless, late)]
    assert statuses == ["RUNNING", "RUNNING", "FAILED", "TIMEOUT"]
    for _ in range(2):  # two cleanups may have queued it twice; the second run finds nothing to do
        for name in (waiting, silent):
            services.runner.run(name)
    assert [row(name).attempt for name in (waiting, silent)] == [1, 2]


def test_the_queue_position_is_shown_while_a_report_waits(admin, services, job):
    second = admin.start_report()["source"]

    def place(source: str) -> int | None:
        return admin.get(f"/reports/{source}/progress").get_json().get("queue_position")

    assert (place(f"JOB-{job}"), place(second)) == (1, 2)
    services.runner.run(job)
    assert (place(f"JOB-{job}"), place(second)) == (None, 1)


@pytest.fixture
def leave_files(settings) -> Callable[[str, float], list[str]]:
    """Return a function that creates a part, a file and a partial file of a report with an age in seconds."""
    folder = Path(settings.storage.removeprefix("file://"))
    folder.mkdir(parents=True, exist_ok=True)

    def leave(job: str, seconds: float) -> list[str]:
        token = secrets.token_hex(8)
        names = [f"{job}.{token}.part", f"{job}.{token}.csv", f".{job}.{token}0.part.partial"]
        for name in names:
            (folder / name).write_bytes(b"rows")
            os.utime(folder / name, (time.time() - seconds, time.time() - seconds))
        return names

    return leave


def test_files_without_a_report_are_removed_after_a_minute(services, job, files, leave_files):
    change(job, status="FAILED")
    unknown = "00000000-0000-4000-8000-000000000000"
    young = leave_files(job, 50) + leave_files(unknown, 50)
    leave_files(job, 61)
    leave_files(unknown, 61)
    services.reports.cleanup.clean_up()
    assert files() == sorted(young)


def test_files_of_running_and_complete_reports_are_kept(admin, services, job, row, files, leave_files):
    """Leftovers of a running report are removed when it ends."""
    services.runner.run(job)
    os.utime(services.reports.path(row(job)), (1, 1))
    running = admin.start_report()["job"]
    leftovers = leave_files(running, 3600)
    services.reports.cleanup.clean_up()
    assert files() == sorted([row(job).file, *leftovers])
    services.runner.run(running)
    assert files() == sorted([row(job).file, row(running).file])


def test_a_report_that_completes_during_a_cleanup_keeps_its_file(services, job, files, leave_files, monkeypatch):
    """It completes between the query for running reports and the query for files in use."""
    store.claim(job, "token", now())
    (_, file, _) = leave_files(job, 3600)
    calls = []

    def complete_before(query: Callable) -> Callable:
        def call_query(jobs: list[str]) -> set[str]:
            answer = query(jobs)
            if not calls:
                change(job, status="COMPLETE", file=file, expires_at=now() + 1_000_000, token=None)
            calls.append(query.__name__)
            return answer

        return call_query

    for name in ("running_among", "files_in_use"):
        monkeypatch.setattr(store, name, complete_before(getattr(store, name)))
    services.reports.cleanup.clean_up()
    assert sorted(calls) == ["files_in_use", "running_among"]
    assert file in files()


def test_concurrent_cleanups_remove_files_without_a_report(services, job, files, leave_files):
    change(job, status="FAILED")
    for _ in range(5):
        leave_files(job, 61)
    at_once(4, lambda number: services.reports.cleanup.clean_up())
    assert files() == []


def test_silent_attempts_are_released_and_workers_woken_while_the_storage_is_unavailable(
    admin, services, job, row, queued, redis_url, monkeypatch
):
    def away(*args: object) -> None:
        raise StorageFailed("The store does not answer.")

    done, late, silent = job, admin.start_report()["job"], admin.start_report()["job"]
    services.runner.run(done)
    change(done, expires_at=now())
    claim_long_ago(late)
    change(late, began_at=1)
    claim_long_ago(silent)
    forget_everything(redis_url)
    with monkeypatch.context() as patch:
        for name in ("contents", "discard"):
            patch.setattr(LocalStorage, name, away)
        with capture_logs() as log:
            services.reports.cleanup.clean_up()
    assert (row(late).status, row(silent).token, row(done).removed) == ("TIMEOUT", None, False)
    assert queued() == [silent]
    assert "files not removed, the next sweep will" in [line["event"] for line in log]
    services.reports.cleanup.clean_up()
    assert row(done).removed


def test_a_report_is_queued_again_after_its_retry_pause(services, job, row, queued, redis_url):
    change(job, next_attempt_at=store.clock() + 60_000)
    forget_everything(redis_url)
    services.reports.cleanup.wake()
    assert queued() == []
    services.runner.work("worker")
    assert row(job).attempt == 0
    change(job, next_attempt_at=store.clock())
    services.reports.cleanup.wake()
    assert queued() == [job]
    services.runner.work("worker")
    assert row(job).status == "COMPLETE"


def test_a_clock_that_is_set_back_stalls_neither_a_waiting_report_nor_one_whose_worker_died(services, job, row):
    change(job, next_attempt_at=store.clock() + HOUR_MS)
    assert [report.job for report in store.due()] == [job]
    claim_long_ago(job, milliseconds=-HOUR_MS)
    services.reports.cleanup.clean_up()
    assert (row(job).token, row(job).stalled_attempts) == (None, 1)


def test_a_part_whose_writer_died_before_the_clock_was_set_back_is_released(job):
    with database.atomic():
        store.plan_parts(job, [(None, None)])
    part = store.claim_part(job, "token", "worker")
    store.release_silent_parts(job, module.SILENT_MS)
    assert store.note_part(part, "token")
    ReportPart.update(heartbeat_at=store.clock() + HOUR_MS).execute()
    store.release_silent_parts(job, module.SILENT_MS)
    assert not store.note_part(part, "token")
