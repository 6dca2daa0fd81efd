"""Erasure while reports run and events arrive."""

from __future__ import annotations

import time

import pytest

from app.services.people.principal import SYSTEM
from app.store.events import select
from app.store.models import Report
from tests.support.client import event
from tests.support.rows import fill
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
    """The erasure pauses between steps of a thousand events, which take hundredths of a second each."""
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
