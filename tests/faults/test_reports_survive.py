"""An accepted report finishes exactly right, whatever is killed, and leaves nothing else behind."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
import requests

from tests.faults.conftest import Service, kill, leave, mounts, resize
from tests.faults.reporting import ADMIN, OURS, OUTPUT, Analyst, files, fill, slow_worker
from tests.support.client import FIRST
from tests.support.pace import SOAK, slack, times
from tests.support.running import wait_until

pytestmark = pytest.mark.processes

PART = times(100_000, 1_000_000)  # which a killed child had written, and are not written again
MANY = PART * 3 // 2  # are written in parts
STRUCK = PART  # one part, whose second half is long enough to be interrupted
ROWS = PART // 2
LARGE = times(50_000, 500_000)  # too large a file for a small disk
FEW = 20_000
# The short form has SQLite in test_reports_survive_s3.
KINDS = ["sqlite", "postgresql"] if SOAK else ["postgresql"]
TRIES = 5
CHILD_SECONDS, OTHER_SECONDS = 5, 60  # until the report of a killed child continues; and after any other fault


@pytest.fixture(scope="module", params=KINDS)
def analyst(request, start_shared, disk):
    """An analyst of a service with many events, whose report files are on the disk, for all faults in sequence."""
    settings = {"ADMIN_PASSWORD": ADMIN[1], "STORAGE_URL": f"file://{disk}/{request.param}", "REPORT_ATTEMPTS": "4"}
    settings |= {} if SOAK else {"WEB_PROCESSES": "1"}
    service = start_shared(request.param, worker="" if SOAK else slow_worker(), **settings)
    fill(service, MANY)
    return Analyst(service, lambda number: len(files(disk / request.param)) == number)


def strike(analyst: Analyst, fault: Callable[[], None], seconds: float) -> None:
    """Cause a fault at a random moment of a running report, which must continue within `seconds`."""
    for _ in range(TRIES):
        job = analyst.start(STRUCK)
        attempt = analyst.until_at_work(job)
        fault()
        spent = analyst.until_begun_again(job, attempt, seconds)
        analyst.check()
        if analyst.attempt(job) > attempt:
            print(f"At work again after {spent:.1f} s.")
            return
    pytest.fail(f"{TRIES} times the report was complete before the fault")


def test_another_child_continues_after_a_killed_one_at_once(analyst):
    running = analyst.service.running
    for _ in range(times(1, 20)):
        strike(analyst, lambda: kill(running.child("worker-1")), CHILD_SECONDS)


def test_a_long_report_continues_after_the_parts_of_a_killed_child(analyst):
    running = analyst.service.running
    for _ in range(times(1, 5)):
        job = analyst.start(MANY)
        wait_until(lambda job=job: (analyst.progress(job).get("rows") or 0) > PART, OTHER_SECONDS)
        attempt = analyst.attempt(job)
        kill(running.child("worker-1"))
        analyst.until_begun_again(job, attempt, CHILD_SECONDS)
        assert analyst.progress(job)["rows"] >= PART * 9 // 10  # a part ends with an hour
        analyst.check()
        assert analyst.attempt(job) == attempt + 1


@pytest.mark.soak
def test_others_continue_after_a_killed_child_and_parent(analyst):
    """In `make test` the child is killed alone, above, and the parent alone, below."""
    running = analyst.service.running
    for _ in range(times(1, 5)):
        strike(analyst, lambda: kill(running.child("worker-1"), running.pid("worker-1")), OTHER_SECONDS)


def test_a_killed_parent_ends_its_child_and_one_file_results(analyst):
    running = analyst.service.running

    def fault() -> None:
        child = running.child("worker-1")
        kill(running.pid("worker-1"))
        wait_until(lambda: not Path(f"/proc/{child}").exists(), 5)

    for _ in range(times(1, 5)):
        strike(analyst, fault, OTHER_SECONDS)


@pytest.mark.parametrize(
    "with_its_data",
    [pytest.param(True, marks=pytest.mark.soak, id="with its data"), pytest.param(False, id="without its data")],
)
def test_a_killed_valkey_loses_no_report(analyst, with_its_data):
    running = analyst.service.running
    for _ in range(times(1, 5)):
        jobs = [analyst.start(count) for count in (ROWS, FEW, FEW + 1)]
        analyst.until_at_work(jobs[0])
        if not with_its_data:  # it continues writing to deleted files, and starts again without data
            shutil.rmtree(running.data / "valkey" / "appendonlydir")
        killed = time.monotonic()
        kill(running.pid("valkey"))
        analyst.check()
        print(f"All complete after {time.monotonic() - killed:.1f} s.")
        assert time.monotonic() - killed < slack(OTHER_SECONDS + 30)  # the reports themselves take some time


def test_a_killed_postgresql_is_waited_for(analyst):
    postgres = analyst.service.postgres
    if postgres is None:
        pytest.skip("SQLite has no server")

    def fault() -> None:
        postgres.kill()
        time.sleep(random.uniform(0, times(3, 40)))
        postgres.start()

    for _ in range(times(1, 5)):
        strike(analyst, fault, OTHER_SECONDS)


def test_a_report_whose_web_process_died_before_it_woke_a_worker_is_found(analyst):
    """Valkey is suspended, so the web process is killed between the commit of the row and the queue."""
    running = analyst.service.running
    for _ in range(times(1, 5)):
        accepted = _report_jobs(analyst.service)
        answers: list[requests.Response] = []
        asking = threading.Thread(target=_ask, args=(running.url, answers))
        os.kill(running.pid("valkey"), signal.SIGSTOP)
        try:
            asking.start()
            wait_until(lambda known=accepted: len(_report_jobs(analyst.service)) > len(known), 10)
            while (web := running.child("web")) and asking.is_alive():
                kill(web)
        finally:
            os.kill(running.pid("valkey"), signal.SIGCONT)
        asking.join()
        killed = time.monotonic()
        assert not answers, "it was answered before it could be killed"
        (job,) = _report_jobs(analyst.service) - accepted
        analyst.promised({"source": f"JOB-{job}"}, FEW)
        analyst.check()
        print(f"Complete after {time.monotonic() - killed:.1f} s.")
        assert time.monotonic() - killed < slack(OTHER_SECONDS + 10)


def _ask(url: str, answers: list[requests.Response]) -> None:
    wanted = {"filter": OURS | {"end": FIRST + FEW}, "output": OUTPUT}
    with contextlib.suppress(requests.RequestException):
        answers.append(requests.post(f"{url}/reports", json=wanted, auth=ADMIN, timeout=30))


def _report_jobs(service: Service) -> set[str]:
    """Return the committed reports in the database."""
    if service.postgres:
        with psycopg.connect(service.postgres.url) as connection:
            return {job for (job,) in connection.execute("SELECT job FROM report")}
    with contextlib.closing(sqlite3.connect(service.database)) as connection:
        return {job for (job,) in connection.execute("SELECT job FROM report")}


def leave_little(disk: Path) -> None:
    """Leave space for half of a large report."""
    leave(disk, LARGE * 20)  # a row has 42 bytes


@pytest.mark.soak
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_each_of_many_reports_is_written_once_although_workers_race_for_them(start_service, kind):
    """In `make test`, tests/services/reports/test_runner.py and test_sharding.py have races of workers."""
    service = start_service(kind, ADMIN_PASSWORD=ADMIN[1], WORKERS="20")
    fill(service, FEW)
    analyst = Analyst(service)
    jobs = [analyst.start(random.randrange(1, FEW)) for _ in range(100)]
    analyst.check()
    assert {analyst.attempt(job) for job in jobs} == {1}


@mounts
def test_a_report_waits_for_space_on_a_full_disk(analyst, disk):
    leave_little(disk)
    job = analyst.start(LARGE)
    wait_until(lambda: analyst.attempt(job) > 1, OTHER_SECONDS)
    assert analyst.status(job) == "RUNNING"
    resize(disk)
    analyst.check()


@mounts
def test_a_report_that_never_gets_space_fails_with_the_reason_and_leaves_nothing(analyst, disk):
    before = files(disk)
    leave_little(disk)
    service = analyst.service
    analyst = Analyst(service)  # another, because the file of this report is not promised
    job = analyst.start(LARGE)
    wait_until(lambda: analyst.status(job) != "RUNNING", 120)
    assert analyst.status(job) == "FAILED"
    answer = requests.get(f"{service.running.url}/reports/{job['source']}", auth=ADMIN, timeout=30)
    assert answer.status_code == 409
    assert "The disk that report files are written to is full." in answer.text
    wait_until(lambda: files(disk) == before, 30)
    resize(disk)


@pytest.mark.soak
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_worker_that_was_suspended_damages_nothing_when_it_resumes(start_service, kind):
    """In `make test`, tests/services/reports/test_resuming.py has a silent worker, and one that wakes up too late."""
    service = start_service(kind, ADMIN_PASSWORD=ADMIN[1], WORKERS="2")
    fill(service, MANY)
    analyst = Analyst(service)
    for _ in range(3):
        job = analyst.start(MANY)
        attempt = analyst.until_at_work(job)
        (child,) = filter(None, (service.running.child(name) for name in ("worker-1", "worker-2")))
        os.kill(child, signal.SIGSTOP)
        analyst.until_begun_again(job, attempt, OTHER_SECONDS)
        time.sleep(random.uniform(0, 2))
        os.kill(child, signal.SIGCONT)
        analyst.check()
