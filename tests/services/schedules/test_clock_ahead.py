"""A scheduler whose clock is ahead removes nothing too early, because ages are computed with the database's clock."""

from __future__ import annotations

import time

import pytest

from app.store.models import AuditEntry, Event, IdempotencyKey, RejectedEvent, Session
from app.support.clock import now
from tests.conftest import PASSWORD
from tests.support.client import event

DAY_NS = 86_400 * 10**9


@pytest.mark.settings(event_keep_days=30, audit_keep_days=30, rejected_keep_days=10)
def test_a_scheduler_whose_clock_is_40_days_ahead_removes_nothing(nobody, admin, services, files, row, monkeypatch):
    nobody.post("/events", [event(timestamp=now())], headers={"Idempotency-Key": "key"})
    nobody.post("/events", [{}])
    services.rejected.flush()
    job = admin.start_report()["job"]
    services.runner.run(job)
    services.sessions.begin(services.accounts.verify("admin", PASSWORD), "Firefox")
    tables = (AuditEntry, Event, IdempotencyKey, RejectedEvent, Session)

    def count_rows() -> list[int]:
        return [table.select().count() for table in tables]

    before, real_time_ns = count_rows(), time.time_ns
    assert all(before) and files()
    monkeypatch.setattr(time, "time_ns", lambda: real_time_ns() + 40 * DAY_NS)
    services.scheduler.run_all()
    assert count_rows() == before
    assert files() and not row(job).removed
