"""While a report runs, its row says how far it is: at least once a second, and never more than there is."""

from __future__ import annotations

import threading
import time

import pytest

from app.schemas.progress import STEADY_MS
from app.services.reports import part_writer
from app.store.reports import reports as store
from app.support.clock import now
from tests.support.rows import fill
from tests.support.threads import Aside

ROWS = 60_000
SECONDS = 2.2


@pytest.fixture
def paced(along) -> None:
    """Reports take about SECONDS, however fast the database is."""

    def pace(lines):
        for number, line in enumerate(lines):
            if number % (ROWS // 100) == 0:
                time.sleep(SECONDS / 100)
            yield line

    along(pace)


@pytest.fixture
def notes(monkeypatch) -> list[tuple[float, dict]]:
    """When which values were noted on a report's row."""
    noted = []
    note = store.note

    def spy(job: str, token: str, **values: object) -> bool:
        done = note(job, token, **values)
        noted.append((time.monotonic(), values))
        return done

    monkeypatch.setattr(store, "note", spy)
    return noted


@pytest.mark.usefixtures("paced")
def test_a_long_report_notes_its_progress_each_second_and_never_beyond_the_total(admin, services, notes):
    admin.send({"customer": "BARCHART", "product": "PORTFOLIO", "type": "T", "timestamp": 0, "context": []})
    fill(ROWS)
    job = admin.start_report()
    began = time.monotonic()
    seen = []
    with Aside() as aside:
        running = aside.start(services.runner.run, job["job"])
        while not running.done():
            seen.append(admin.get(f"/reports/{job['source']}/progress").get_json())
            time.sleep(0.1)
        running.result()
    moments = [began, *[moment for moment, _ in notes]]
    assert (
        max(later - earlier for earlier, later in zip(moments, moments[1:], strict=False)) <= 2
    )  # each half second, on a machine that has time
    told = [(one["rows"], one["total"], one["percent"]) for one in seen if "total" in one and "file" not in one]
    assert len({rows for rows, _, _ in told}) >= 3
    assert sorted(told) == told
    assert all(rows <= total == ROWS + 1 and 0 <= percent < 100 for rows, total, percent in told)
    assert all(0 <= one["eta_ms"] < 10 * SECONDS * 1000 for one in seen if "eta_ms" in one)
    done = admin.get(f"/reports/{job['source']}/progress").get_json()
    assert (done["rows"], done["total"], done["percent"]) == (ROWS + 1, ROWS + 1, 100)


def test_progress_is_told_by_keys_only_once_they_are_known(admin, services, job, row, release):
    def known() -> dict:
        return admin.get(f"/reports/JOB-{job}/progress").get_json()

    assert known() == {"queue_position": 1}
    store.claim(job, "token", now())
    assert known() == {"rows": 0, "attempt": 1}
    store.note(job, "token", total=3, resumed_rows=0, writing=store.clock() - STEADY_MS)
    assert known() == {"rows": 0, "total": 3, "percent": 0, "attempt": 1}
    store.note(job, "token", rows=2)
    assert list(known()) == ["rows", "total", "percent", "eta_ms", "attempt"]
    assert known()["percent"] == 66
    release(job)
    services.runner.run(job)
    complete = known()
    assert list(complete) == ["rows", "total", "percent", "attempt", "file"]
    assert list(complete["file"]) == ["rows", "bytes", "sha256", "expires"]
    assert complete["file"]["sha256"] == row(job).sha256


def test_the_pulse_stops_with_the_report(services, job):
    services.runner.run(job)
    assert "heartbeat" not in [thread.name for thread in threading.enumerate()]
    assert part_writer.HEARTBEAT_SECONDS <= 0.5
