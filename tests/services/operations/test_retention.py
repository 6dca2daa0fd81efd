"""Erasure while reports run and events arrive."""

from __future__ import annotations

import threading
import time

import pytest

from app.services.people.principal import SYSTEM
from app.store.events import select
from app.store.models import Report
from tests.support.client import event
from tests.support.pace import slack
from tests.support.rows import fill
from tests.support.running import wait_until
from tests.support.threads import BackgroundThreads

pytestmark = pytest.mark.both_databases


def test_events_can_be_erased_while_a_report_about_them_runs(admin, services, wrap_lines):
    """The file has the events that were not yet erased when they were read, and its counts match its content."""

    def erase() -> int:
        plan = services.retention.plan({"customer": "BARCHART"})
        return sum(services.retention.erase(SYSTEM, plan))

    admin.send(event())
    fill(5_000)
    job = admin.start_report()
    erased = []

    def erase_once(lines):
        for line in lines:
            if not erased:
                with BackgroundThreads() as background:
                    erased.append(background.start(erase).result())
            yield line

    wrap_lines(erase_once)
    services.runner.run(job["job"])
    assert erased == [5_001]
    row = Report.get(Report.job == job["job"])
    assert row.status == "COMPLETE"
    body = admin.download(job["source"])
    assert body.count(b"\n") == row.rows
    assert select.count() == 0


def test_requests_during_an_erasure_do_not_wait_long(services, nobody):
    """On SQLite, the erasure pauses between short steps. On PostgreSQL, nobody waits for its steps."""
    fill(30_000)
    plan = services.retention.plan({"customer": "BARCHART"})
    with BackgroundThreads() as background:
        erasing = background.start(lambda: sum(services.retention.erase(SYSTEM, plan)))
        slowest, sent = 0.0, 0
        while not erasing.done():
            began = time.monotonic()
            nobody.send(event(customer="OTHER"))
            slowest, sent = max(slowest, time.monotonic() - began), sent + 1
        assert erasing.result() == 30_000
    assert select.count() == sent > 5
    assert slowest < 2


@pytest.mark.settings(event_keep_days=30)
def test_other_periodic_tasks_do_not_wait_for_an_erasure_by_age(services, monkeypatch):
    proceed = threading.Event()
    expired = threading.Event()

    def expire(days: int) -> None:
        assert proceed.wait(slack(30))
        expired.set()
        raise SystemExit  # ends the thread

    tasks = services.scheduler
    monkeypatch.setattr(services.retention, "expire", expire)
    tasks.run_beside("retention")
    tasks.run_all()
    assert not expired.is_set()
    proceed.set()
    assert expired.wait(slack(30))
    wait_until(lambda: all(thread.name != "retention" for thread in threading.enumerate()), slack(10))
