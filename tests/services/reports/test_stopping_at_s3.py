"""A report stops even if its object store hangs, and its leftovers are removed after the store recovers."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from app.config import Settings
from app.services.reports import cleanup, part_writer, runner
from app.storage.s3 import upload
from tests.support.client import FIRST, event
from tests.support.pace import slack
from tests.support.running import wait_until
from tests.support.s3 import S3
from tests.support.threads import BackgroundThreads
from tests.support.wire import Wire

ROWS = 1_000
STOP_SECONDS = 4  # two seconds plus slack for a busy machine; without cancelling, requests wait more than sixty


@pytest.fixture
def database_url(postgres_url: str) -> str:
    """PostgreSQL only, because its connection is busy while rows are read."""
    return postgres_url


@pytest.fixture
def wire(s3: S3) -> Iterator[Wire]:
    """The connection to the store. At the end, wait for all abandoned requests."""
    wire = Wire(s3.endpoint)
    yield wire
    wire.close()
    for thread in threading.enumerate():
        if thread.name == "s3":
            thread.join(30)


@pytest.fixture
def settings(settings: Settings, wire: Wire) -> Settings:
    return replace(settings, s3_endpoint_url=wire.url)


@pytest.fixture
def hang_at(app, wire: Wire, monkeypatch, small_parts):
    """A function that makes the store hang at a step of a report. It works again before the end of the application,
    which waits for its threads.
    """

    def prepare(step: str) -> None:
        if step == "one request":
            monkeypatch.setattr(part_writer, "WHOLE_ROWS", ROWS)
            wire.hang()
        elif step == "the beginning":
            monkeypatch.setattr(upload, "PART_BYTES", 1_000)
            wire.hang()
        elif step == "parts on their way":
            monkeypatch.setattr(upload, "PART_BYTES", 1_000)
            hang_before(monkeypatch, wire, upload.S3Upload, "_send_part")
        elif step == "the end":
            monkeypatch.setattr(upload, "PART_BYTES", 10_000)
            hang_before(monkeypatch, wire, upload.S3Upload, "_join")
        else:
            hang_before(monkeypatch, wire, runner.Attempt, "_copy")

    yield prepare
    wire.restore()


def hang_before(monkeypatch, wire: Wire, owner: type, name: str) -> None:
    """Make the store hang when a method is called."""
    method = getattr(owner, name)

    def hang_then_call(*args: object) -> object:
        wire.hang()
        return method(*args)

    monkeypatch.setattr(owner, name, hang_then_call)


@pytest.fixture
def job(admin, begin, hang_at) -> str:
    admin.send(*[event(timestamp=FIRST + number, context=[str(number)]) for number in range(ROWS)])
    return begin()


def is_clean(services, s3: S3) -> bool:
    services.reports.cleanup.clean_up()
    return not s3.objects() and not s3.unfinished()


@pytest.mark.parametrize("step", ["one request", "the beginning", "parts on their way", "the end", "the joining"])
def test_a_cancelled_report_stops_and_leaves_nothing_in_the_store(
    admin, services, job, row, s3, wire, hang_at, step, monkeypatch
):
    hang_at(step)
    with BackgroundThreads() as background:
        running = background.start(services.runner.run, job)
        wait_until(lambda: wire.is_hanging_on_somebody, 20)
        began = time.monotonic()
        assert admin.request("DELETE", f"/reports/JOB-{job}").status_code == 204
        assert running.result(60)
        assert time.monotonic() - began < slack(STOP_SECONDS)
    assert (row(job).status, row(job).cancelled, row(job).worker) == ("FAILED", True, None)
    wire.restore()
    monkeypatch.setattr(cleanup, "YOUNG_MS", -60_000)
    wait_until(lambda: is_clean(services, s3), 60)


@pytest.mark.settings(report_timeout_seconds=1)
@pytest.mark.parametrize("step", ["one request", "parts on their way"])
def test_a_report_that_timed_out_releases_its_worker(services, job, row, hang_at, step):
    hang_at(step)
    began = time.monotonic()
    assert services.runner.run(job)
    assert time.monotonic() - began < slack(1 + STOP_SECONDS)
    assert (row(job).status, row(job).cancelled) == ("TIMEOUT", False)


def test_a_worker_that_shuts_down_releases_its_report(services, job, row, wire, hang_at):
    hang_at("parts on their way")
    began = time.monotonic()
    assert services.runner.run(job, "worker", lambda: wire.is_hanging_on_somebody)
    assert time.monotonic() - began < slack(2 * STOP_SECONDS)
    assert (row(job).status, row(job).token, row(job).paused) == ("RUNNING", None, True)
