"""Erasing beside everything else that goes on."""

from __future__ import annotations

import time

import pytest

from app.services.people.principal import SYSTEM
from app.store.events import select
from app.store.models import Report
from tests.support.client import event
from tests.support.rows import fill
from tests.support.threads import Aside

pytestmark = pytest.mark.both_databases


def test_a_report_may_run_while_its_events_are_erased(admin, services, along):
    """Its file holds what was still there when it came by; its numbers are those of its file."""

    def erase() -> int:
        plan = services.retention.plan({"customer": "BARCHART"})
        return sum(services.retention.erase(SYSTEM, plan))

    admin.send(event())
    fill(5_000)
    job = admin.start_report()
    erased = []

    def through(lines):
        for line in lines:
            if not erased:
                with Aside() as aside:
                    erased.append(aside.start(erase).result())
            yield line

    along(through)
    services.runner.run(job["job"])
    assert erased == [5_001]
    row = Report.get(Report.job == job["job"])
    assert row.status == "COMPLETE"
    body = admin.download(job["source"])
    assert body.count(b"\n") == row.rows
    assert select.count() == 0


def test_who_sends_meanwhile_does_not_wait_long(services, nobody):
    """Erasing leaves as much time as it takes; a thousand events go in hundredths of a second."""
    fill(30_000)
    plan = services.retention.plan({"customer": "BARCHART"})
    with Aside() as aside:
        erasing = aside.start(lambda: sum(services.retention.erase(SYSTEM, plan)))
        slowest, sent = 0.0, 0
        while not erasing.done():
            began = time.monotonic()
            nobody.send(event(customer="OTHER"))
            slowest, sent = max(slowest, time.monotonic() - began), sent + 1
        assert erasing.result() == 30_000
    assert select.count() == sent > 5
    assert slowest < 2
