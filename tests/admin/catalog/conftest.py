"""Fixtures of the catalog's pages."""

from __future__ import annotations

import pytest

from app.store.events import hourly_counts
from app.store.models import AuditEntry
from app.support.clock import now
from tests.support.client import event

TYPE = "PORTFOLIO-APPLICATION-LOADED"
PRODUCT = "/admin/catalog/product?code=PORTFOLIO"


@pytest.fixture
def filled(sample_catalog, admin) -> None:
    """Store the sample catalog and recent events, with known codes for BARCHART and unknown codes for OTHER."""
    moment = now()
    admin.send(*[event(timestamp=moment) for _ in range(3)], event(timestamp=moment - 3 * 86_400_000))
    admin.send(event(customer="OTHER", product="NEWS", type="READ", timestamp=moment))
    hourly_counts.advance()


def entries(services, kind: str) -> dict[str, dict]:
    return {row["code"]: row for row in services.catalog.export()[kind]}


def audit_entries() -> list[tuple[str, str]]:
    rows = AuditEntry.select().where(AuditEntry.action.startswith("catalog")).order_by(AuditEntry.id)
    return [(row.action, row.object) for row in rows]
