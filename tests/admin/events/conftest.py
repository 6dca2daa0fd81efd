"""Fixtures of the pages of rejected events."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlencode

import pytest

from app.store.events import rejected
from app.store.models import AuditEntry
from tests.support.rows import newest_events

ADDRESS = {"REMOTE_ADDR": "203.0.113.77"}
GROUP = "/admin/rejected/group?field=timestamp&fault=wrong&product=PORTFOLIO&type=PORTFOLIO-APPLICATION-LOADED"


@pytest.fixture
def refuse(nobody, services) -> Callable[..., list[int]]:
    """Return a function that sends invalid events and returns their ids, oldest first."""

    def send(*invalid: object) -> list[int]:
        answer = nobody.post(
            "/events", list(invalid), headers={"Prefer": "handling=lenient"}, environ_overrides=ADDRESS
        )
        assert answer.headers["X-Rejected-Events"] == str(len(invalid))
        services.rejected.flush()
        return sorted(row.id for row in rejected.newest(len(invalid)))

    return send


def sending(group: str = GROUP, change: str = "", value: str = "") -> str:
    """Return the path of the page that asks before a group is sent, with a change."""
    query = urlencode({name: text for name, text in (("change", change), ("value", value)) if text})
    return group.replace("/group?", "/group/send?") + (f"&{query}" if query else "")


def stored() -> list[tuple]:
    return [(row.customer, row.type, row.timestamp, row.context) for row in newest_events(10)]


def audit_entries() -> list[tuple[str, str, dict]]:
    rows = AuditEntry.select().where(AuditEntry.action.startswith("rejected")).order_by(AuditEntry.id)
    return [(row.action, row.object, row.details) for row in rows]
