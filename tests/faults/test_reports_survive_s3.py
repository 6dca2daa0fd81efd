"""A report whose file is in an S3 store is complete and right although the store fails, and leaves nothing behind."""

from __future__ import annotations

import random
import time

import pytest
import requests

from tests.faults.conftest import Service, kill
from tests.faults.reporting import ADMIN, Analyst, fill, slow_worker
from tests.support.pace import SOAK, times
from tests.support.running import wait_until
from tests.support.s3 import PART_MIN_BYTES, S3, STORAGE
from tests.support.wire import Wire

pytestmark = pytest.mark.processes

ROWS = times(50_000, 500_000)
WORKER = slow_worker(f"from app.storage.s3 import upload\nupload.PART_BYTES = {PART_MIN_BYTES}")
BYTES = ROWS * 42  # the approximate size of its file
AGAIN_SECONDS = 60  # until reports continue after the store is back


@pytest.fixture(scope="module")
def way(s3_server):
    """The proxy to the store, which is empty at first."""
    s3_server.reset()
    wire = Wire(s3_server.endpoint)
    yield wire
    wire.close()


@pytest.fixture
def wire(way):
    """The same proxy, working before and after each test."""
    yield way
    way.restore()


@pytest.fixture(scope="module")
def service(start_shared, s3_server, way) -> Service:
    """A service whose report files are in the store."""
    means = s3_server.environment | {"S3_ENDPOINT_URL": way.url, "S3_PUBLIC_URL": s3_server.endpoint}
    settings = {"ADMIN_PASSWORD": ADMIN[1], "REPORT_ATTEMPTS": str(times(4, 5))} | means
    service = start_shared("sqlite", worker="" if SOAK else WORKER, **settings)
    fill(service, ROWS)
    return service


@pytest.fixture(scope="module")
def analyst(service, s3_server) -> Analyst:
    """The analyst of all tests that leave nothing in the store but the promised files."""
    return Analyst(service, lambda number: is_clean(s3_server, number), lambda job: content(s3_server, job))


def names(s3: S3) -> list[str]:
    """Return the names of the report files in the store."""
    pages = s3.client.get_paginator("list_objects_v2").paginate(Bucket=STORAGE)
    return [one["Key"] for page in pages for one in page.get("Contents", ())]


def is_clean(s3: S3, number: int) -> bool:
    return len(names(s3)) == number and not s3.unfinished()


def content(s3: S3, job: dict) -> bytes:
    """Return the only object of a report."""
    (name,) = [name for name in names(s3) if job["job"] in name]
    return s3.client.get_object(Bucket=STORAGE, Key=name)["Body"].read()


def refuse(wire: Wire) -> None:
    wire.refuse()


def hang(wire: Wire) -> None:
    wire.hang()


def cut_off(wire: Wire) -> None:
    wire.cut_after(random.randrange(BYTES // 10))


def lose_answers(wire: Wire) -> None:
    wire.lose_answers()


@pytest.mark.parametrize(
    "fail", [*[pytest.param(one, marks=pytest.mark.soak) for one in (refuse, hang, cut_off)], lose_answers]
)
def test_a_store_that_fails_for_a_while_is_retried(analyst, wire, fail):
    """`make test` has the kind that leaves most behind; tests/storage/test_s3_files.py has each for one file."""
    for _ in range(times(1, 5)):
        before = wire.passed
        job = analyst.start(ROWS)
        wait_until(lambda before=before: wire.passed - before > random.randrange(BYTES * 3 // 4), AGAIN_SECONDS)
        fail(wire)
        time.sleep(random.uniform(0, times(2, 30)))
        wire.restore()
        restored = time.monotonic()
        wait_until(lambda job=job: analyst.status(job) != "RUNNING", AGAIN_SECONDS)
        print(
            f"Complete {time.monotonic() - restored:.1f} s after the store was back, {analyst.attempt(job)} attempts."
        )
        analyst.check()


def test_broken_connections_do_not_cost_an_attempt(analyst, wire):
    wire.cut_after(random.randrange(BYTES), times=1)
    job = analyst.start(ROWS)
    analyst.check()
    assert analyst.attempt(job) == 1


def test_a_killed_child_leaves_no_parts_in_the_store(analyst, wire):
    for _ in range(times(1, 10)):
        before = wire.passed
        job = analyst.start(ROWS)
        wait_until(lambda before=before: wire.passed - before > random.randrange(BYTES // 2), AGAIN_SECONDS)
        kill(analyst.service.running.child("worker-1"))
        analyst.check()
        print(f"{analyst.attempt(job)} attempts.")


def test_a_store_that_stays_unavailable_fails_the_report_and_leaves_nothing(service, wire, s3_server):
    before = len(names(s3_server))
    analyst = Analyst(service)
    wire.cut_after(BYTES // 2)
    job = analyst.start(ROWS)
    wait_until(lambda: analyst.status(job) == "FAILED", 180)
    answer = requests.get(f"{service.running.url}/reports/{job['source']}", auth=ADMIN, timeout=30)
    assert answer.status_code == 409
    assert "The S3 store broke the connection off." in answer.text
    wire.restore()
    wait_until(lambda: is_clean(s3_server, before), 120)
    assert not service.running.ended()
