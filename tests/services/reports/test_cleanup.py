"""The sweep sets right what nobody else will; Redis and workers may lose anything, a report's row is the truth."""

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
from app.services.reports import attempt as module
from app.storage.local import LocalStorage
from app.store.models import Report
from app.store.reports import reports as store
from app.support.clock import now
from tests.support.threads import at_once


@pytest.fixture
def queued(redis_url: str) -> Callable[[], list[str]]:
    """The reports that wait in Redis."""
    connection = redis_py.Redis.from_url(redis_url)
    waiting = Queue(queue_room.NAME, connection=connection, serializer=JSONSerializer)
    return lambda: [name.partition("_")[0] for name in waiting.get_job_ids()]


def change(job: str, **values: object) -> None:
    Report.update(values).where(Report.job == job).execute()


def claim_long_ago(job: str, milliseconds: int = module.SILENT_MS + 1_000, token: str = "token") -> Report:
    """Take a report for an attempt that has said nothing since."""
    taken = store.claim(job, token, now() - milliseconds)
    change(job, heartbeat_at=store.clock() - milliseconds)
    return taken


def forget_everything(redis_url: str) -> None:
    redis_py.Redis.from_url(redis_url).flushall()


@pytest.mark.parametrize("is_forgotten", [True, False])
def test_a_report_is_queued_again_if_redis_forgot_it_and_otherwise_left_alone(
    services, job, queued, redis_url, is_forgotten
):
    assert queued() == [job]
    if is_forgotten:
        forget_everything(redis_url)
    for _ in range(3):
        services.reports.cleanup.clean_up()
    assert queued() == [job]


def test_a_report_is_accepted_while_redis_is_away_and_queued_when_it_is_back(admin, services, job, queued, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(services.reports.queue, "_url", "unix:///nowhere.sock")
        patch.setattr(services.reports.queue, "_connection", None)
        with capture_logs() as log:
            second = admin.start_report()
        with pytest.raises(QueueUnavailable):
            services.reports.cleanup.clean_up()
    assert second["status"] == "RUNNING"
    assert "report not enqueued, the scheduler will" in [line["event"] for line in log]
    assert queued() == [job]
    services.reports.queue._connection = None
    services.reports.cleanup.clean_up()
    assert queued() == [job, second["job"]]


def test_a_report_that_a_worker_has_is_not_queued_again(services, job, queued, redis_url):
    store.claim(job, "token", now())
    forget_everything(redis_url)
    services.reports.cleanup.clean_up()
    assert queued() == []


def test_a_silent_attempt_is_given_up_and_its_report_queued_again(services, job, queued, row, redis_url):
    claim_long_ago(job)
    forget_everything(redis_url)
    services.reports.cleanup.clean_up()
    assert queued() == [job]
    assert (row(job).status, row(job).token, row(job).attempt) == ("RUNNING", None, 1)
    services.runner.run(job)
    assert (row(job).status, row(job).attempt) == ("COMPLETE", 2)


def test_an_attempt_that_gave_a_sign_of_life_goes_on(services, job, row):
    claim_long_ago(job)
    assert store.note(job, "token", rows=1)
    services.reports.cleanup.clean_up()
    assert row(job).token == "token"


def test_after_five_attempts_that_died_a_report_has_failed(services, settings, job, queued, row):
    for attempt in range(1, settings.report_attempts + 1):
        assert row(job).status == "RUNNING"
        assert claim_long_ago(job, token=f"token-{attempt}").attempt == attempt
        services.reports.cleanup.clean_up()
    report = row(job)
    assert settings.report_attempts == 5
    assert (report.status, report.token) == ("FAILED", None)
    assert report.reason.startswith("5 attempts in a row got no further. The last one: Its worker was not heard from")
    assert report.ended
    assert not services.runner.run(job)
    assert row(job).status == "FAILED"


def test_an_attempt_that_does_not_end_itself_is_timed_out(services, settings, job, row):
    long_ago = now() - settings.report_timeout_seconds * 1000 - module.SILENT_MS - 1
    store.claim(job, "token", long_ago)
    services.reports.cleanup.clean_up()
    assert (row(job).status, row(job).reason) == ("TIMEOUT", "It ran longer than 900 seconds.")
    assert not store.note(job, "token", rows=7)


@pytest.mark.parametrize("is_claimed", [True, False], ids=["an attempt within its time", "a report that waits long"])
def test_nothing_else_is_timed_out(services, settings, job, row, is_claimed):
    if is_claimed:
        store.claim(job, "token", now() - settings.report_timeout_seconds * 1000)
    else:
        change(job, started=1)
    services.reports.cleanup.clean_up()
    assert row(job).status == "RUNNING"


def test_a_file_past_its_time_is_removed_and_its_report_stays(admin, services, job, row, files):
    services.runner.run(job)
    link = admin.get(f"/reports/JOB-{job}", headers={"Accept": "application/json"}).get_json()["link"]
    services.reports.cleanup.clean_up()
    assert files() == [row(job).file]
    change(job, expires=now())
    services.reports.cleanup.clean_up()
    assert files() == []
    assert row(job).removed
    assert admin.availability(f"JOB-{job}")["status"] == "COMPLETE"
    assert admin.get(f"/reports/JOB-{job}").status_code == 410
    assert admin.get(link.removeprefix("https://tally.example")).status_code == 410


def test_a_file_that_is_gone_already_stops_no_sweep(services, job, row):
    services.runner.run(job)
    change(job, expires=now())
    services.reports.path(row(job)).unlink()
    services.reports.cleanup.clean_up()
    assert row(job).removed


def test_without_redis_files_past_their_time_are_removed_all_the_same(services, job, files, monkeypatch):
    def away(*args: object, **kwargs: object) -> None:
        raise redis_py.ConnectionError("Connection refused")

    monkeypatch.setattr(redis_py.Redis, "execute_command", away)
    monkeypatch.setattr(redis_py.client.Pipeline, "execute", away)
    services.runner.run(job)
    change(job, expires=now())
    services.reports.cleanup.clean_up()
    assert files() == []


def test_sweeps_at_once_do_what_one_does(admin, services, job, queued, row, files, redis_url):
    services.runner.run(job)
    change(job, expires=now())
    waiting, silent, hopeless, late = [admin.start_report()["job"] for _ in range(4)]
    for taken in (silent, hopeless, late):
        claim_long_ago(taken)
    change(hopeless, stalled_attempts=4)
    change(late, began=1)
    forget_everything(redis_url)
    at_once(4, lambda number: services.reports.cleanup.clean_up())
    assert files() == []
    assert set(queued()) == {waiting, silent}
    statuses = [row(name).status for name in (waiting, silent, hopeless, late)]
    assert statuses == ["RUNNING", "RUNNING", "FAILED", "TIMEOUT"]
    for _ in range(2):  # queued twice by two sweeps: the second run finds nothing to do
        for name in (waiting, silent):
            services.runner.run(name)
    assert [row(name).attempt for name in (waiting, silent)] == [1, 2]


def test_the_place_in_the_queue_is_told_while_a_report_waits(admin, services, job):
    second = admin.start_report()["source"]

    def place(source: str) -> int | None:
        return admin.get(f"/reports/{source}/progress").get_json().get("queue_position")

    assert (place(f"JOB-{job}"), place(second)) == (1, 2)
    services.runner.run(job)
    assert (place(f"JOB-{job}"), place(second)) == (None, 1)


@pytest.fixture
def leaves(settings) -> Callable[[str, float], list[str]]:
    """Leave a part, a whole file and an unfinished one of a report, written so many seconds ago; their names."""
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


def test_what_no_report_owns_goes_after_a_minute_and_not_before(services, job, files, leaves):
    change(job, status="FAILED")
    nobody_s = "00000000-0000-4000-8000-000000000000"
    young = leaves(job, 50) + leaves(nobody_s, 50)
    leaves(job, 61)
    leaves(nobody_s, 61)
    services.reports.cleanup.clean_up()
    assert files() == sorted(young)


def test_what_a_report_has_that_runs_or_is_complete_never_goes(admin, services, job, row, files, leaves):
    """Of one that runs, what is left over goes when it ends."""
    services.runner.run(job)
    os.utime(services.reports.path(row(job)), (1, 1))
    running = admin.start_report()["job"]
    left = leaves(running, 3600)
    services.reports.cleanup.clean_up()
    assert files() == sorted([row(job).file, *left])
    services.runner.run(running)
    assert files() == sorted([row(job).file, row(running).file])


def test_a_report_that_completes_in_the_middle_of_a_sweep_keeps_its_file(services, job, files, leaves, monkeypatch):
    """Between the sweep's two questions: which reports run, and which have a file."""
    store.claim(job, "token", now())
    (_, file, _) = leaves(job, 3600)
    asked = []

    def then_it_completes(question: Callable) -> Callable:
        def ask(jobs: list[str]) -> set[str]:
            answer = question(jobs)
            if not asked:
                change(job, status="COMPLETE", file=file, expires=now() + 1_000_000, token=None)
            asked.append(question.__name__)
            return answer

        return ask

    for name in ("running_among", "files_in_use"):
        monkeypatch.setattr(store, name, then_it_completes(getattr(store, name)))
    services.reports.cleanup.clean_up()
    assert sorted(asked) == ["files_in_use", "running_among"]
    assert file in files()


def test_sweeps_at_once_remove_what_no_report_owns(services, job, files, leaves):
    change(job, status="FAILED")
    for _ in range(5):
        leaves(job, 61)
    at_once(4, lambda number: services.reports.cleanup.clean_up())
    assert files() == []


def test_while_the_storage_is_away_silent_attempts_are_given_up_and_workers_woken(
    admin, services, job, row, queued, redis_url, monkeypatch
):
    def away(*args: object) -> None:
        raise StorageFailed("The store does not answer.")

    done, late, silent = job, admin.start_report()["job"], admin.start_report()["job"]
    services.runner.run(done)
    change(done, expires=now())
    claim_long_ago(late)
    change(late, began=1)
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


def test_a_report_is_woken_when_its_pause_is_over_and_not_before(services, job, row, queued, redis_url):
    change(job, not_before=store.clock() + 60_000)
    forget_everything(redis_url)
    services.reports.cleanup.wake()
    assert queued() == []
    services.runner.work("worker")
    assert row(job).attempt == 0
    change(job, not_before=store.clock())
    services.reports.cleanup.wake()
    assert queued() == [job]
    services.runner.work("worker")
    assert row(job).status == "COMPLETE"
