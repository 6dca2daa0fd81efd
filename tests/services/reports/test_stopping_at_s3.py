"""A report that is to stop does so although its store hangs; what cannot be removed now is removed when it is back."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from app.config import Settings
from app.services.reports import attempt, cleanup, planning
from app.storage.s3 import upload
from tests.support.client import FIRST, event
from tests.support.pace import slack
from tests.support.running import wait_until
from tests.support.s3 import S3
from tests.support.threads import Aside
from tests.support.wire import Wire

ROWS = 1_000
SOON = 4  # two seconds, and what a busy machine adds; a store that hangs is waited for for more than sixty


@pytest.fixture
def database_url(postgres_url: str) -> str:
    """The one whose connection is busy while rows come."""
    return postgres_url


@pytest.fixture
def wire(s3: S3) -> Iterator[Wire]:
    """The way to the store. At its end all calls have ended that nobody waited for."""
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
def hangs(wire: Wire, monkeypatch, small_parts):
    """A function that lets the store hang at some step of a report; it returns what waits until it does."""

    def prepare(step: str) -> None:
        if step == "one request":
            monkeypatch.setattr(planning, "WHOLE_ROWS", ROWS)
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
            hang_before(monkeypatch, wire, attempt.Attempt, "_copy")

    return prepare


def hang_before(monkeypatch, wire: Wire, owner: type, name: str) -> None:
    """Let the store hang from the moment on at which a method is called."""
    method = getattr(owner, name)

    def hanging(*args: object) -> object:
        wire.hang()
        return method(*args)

    monkeypatch.setattr(owner, name, hanging)


@pytest.fixture
def job(admin, begin, hangs) -> str:
    admin.send(*[event(timestamp=FIRST + number, context=[str(number)]) for number in range(ROWS)])
    return begin()


def is_clean(services, s3: S3) -> bool:
    services.reports.cleanup.clean_up()
    return not s3.objects() and not s3.unfinished()


@pytest.mark.parametrize("step", ["one request", "the beginning", "parts on their way", "the end", "the joining"])
def test_a_cancelled_report_stops_and_nothing_stays_of_it(
    admin, services, job, row, s3, wire, hangs, step, monkeypatch
):
    hangs(step)
    with Aside() as aside:
        running = aside.start(services.runner.run, job)
        wait_until(lambda: wire.is_hanging_on_somebody, 20)
        began = time.monotonic()
        assert admin.request("DELETE", f"/reports/JOB-{job}").status_code == 204
        assert running.result(60)
        assert time.monotonic() - began < slack(SOON)
    assert (row(job).status, row(job).cancelled, row(job).worker) == ("FAILED", True, None)
    wire.mend()
    monkeypatch.setattr(cleanup, "YOUNG_MS", -60_000)
    wait_until(lambda: is_clean(services, s3), 60)


@pytest.mark.settings(report_timeout_seconds=1)
@pytest.mark.parametrize("step", ["one request", "parts on their way"])
def test_a_report_that_ran_too_long_lets_go_of_its_worker(services, job, row, hangs, step):
    hangs(step)
    began = time.monotonic()
    assert services.runner.run(job)
    assert time.monotonic() - began < slack(1 + SOON)
    assert (row(job).status, row(job).cancelled) == ("TIMEOUT", False)


def test_a_worker_that_is_to_end_hands_its_report_back(services, job, row, wire, hangs):
    hangs("parts on their way")
    began = time.monotonic()
    assert services.runner.run(job, "worker", lambda: wire.is_hanging_on_somebody)
    assert time.monotonic() - began < slack(2 * SOON)
    assert (row(job).status, row(job).token, row(job).paused) == ("RUNNING", None, True)
