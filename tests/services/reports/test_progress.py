"""Progress: a running report updates its row at least once a second, never beyond the total."""

from __future__ import annotations

import threading
import time

import pytest

from app.schemas.progress import STEADY_MS
from app.services.reports import part_writer
from app.store.reports import reports as store
from app.support.clock import now
from tests.support.pace import slack
from tests.support.rows import fill
from tests.support.threads import BackgroundThreads

ROWS = 60_000
SECONDS = 2.2


@pytest.fixture
def paced(wrap_lines) -> None:
    """Make reports take about SECONDS on any database."""

    def pace(lines):
        for number, line in enumerate(lines):
            if number % (ROWS // 100) == 0:
                time.sleep(SECONDS / 100)
            yield line

    wrap_lines(pace)


@pytest.fixture
def notes(monkeypatch) -> list[tuple[float, dict]]:
    """Record the time and the values of each update of a report's row."""
    updates = []
    note = store.note

    def spy(job: str, token: str, **values: object) -> bool:
        done = note(job, token, **values)
        updates.append((time.monotonic(), values))
        return done

    monkeypatch.setattr(store, "note", spy)
    return updates


@pytest.mark.usefixtures("paced")
def test_a_long_report_updates_its_progress_every_second_and_never_exceeds_the_total(admin, services, notes):
    admin.send({"customer": "BARCHART", "product": "PORTFOLIO", "type": "T", "timestamp": 0, "context": []})
    fill(ROWS)
    job = admin.start_report()
    began = time.monotonic()
    responses = []
    with BackgroundThreads() as background:
        running = background.start(services.runner.run, job["job"])
        while not running.done():
            responses.append(admin.get(f"/reports/{job['source']}/progress").get_json())
            time.sleep(0.1)
        running.result()
    moments = [began, *[moment for moment, _ in notes]]
    # every half second if the machine is not busy
    assert max(later - earlier for earlier, later in zip(moments, moments[1:], strict=False)) <= slack(2)
    progress = [
        (response["rows"], response["total"], response["percent"])
        for response in responses
        if "total" in response and "file" not in response
    ]
    assert len({rows for rows, _, _ in progress}) >= 3
    assert sorted(progress) == progress
    assert all(rows <= total == ROWS + 1 and 0 <= percent < 100 for rows, total, percent in progress)
    longest = slack(10 * SECONDS) * 1000
    assert all(0 <= response["eta_ms"] < longest for response in responses if "eta_ms" in response)
    final = admin.get(f"/reports/{job['source']}/progress").get_json()
    assert (final["rows"], final["total"], final["percent"]) == (ROWS + 1, ROWS + 1, 100)


def test_a_key_of_progress_is_returned_only_after_its_value_is_known(admin, services, job, row, release):
    def progress() -> dict:
        return admin.get(f"/reports/JOB-{job}/progress").get_json()

    assert progress() == {"queue_position": 1}
    store.claim(job, "token", now())
    assert progress() == {"rows": 0, "attempt": 1}
    store.note(job, "token", total=3, resumed_rows=0, writing_began_at=store.clock() - STEADY_MS)
    assert progress() == {"rows": 0, "total": 3, "percent": 0, "attempt": 1}
    store.note(job, "token", rows=2)
    assert list(progress()) == ["rows", "total", "percent", "eta_ms", "attempt"]
    assert progress()["percent"] == 66
    release(job)
    services.runner.run(job)
    complete = progress()
    assert list(complete) == ["rows", "total", "percent", "attempt", "file"]
    assert list(complete["file"]) == ["rows", "bytes", "sha256", "expires"]
    assert complete["file"]["sha256"] == row(job).sha256


def test_the_heartbeat_stops_with_the_report(services, job):
    services.runner.run(job)
    assert "heartbeat" not in [thread.name for thread in threading.enumerate()]
    assert part_writer.HEARTBEAT_SECONDS <= 0.5
