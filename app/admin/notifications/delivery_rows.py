"""Display values of deliveries: what was announced, how far it is, and each try."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.admin.blueprint import services
from app.admin.states import DELIVERY, REPORT, State
from app.schemas.webhooks import TEST
from app.services.rows import Delivery, DeliveryTry

WORDS = {
    "report.completed": "Report complete",
    "report.failed": "Report failed",
    "alert.firing": "Alert firing",
    "alert.resolved": "Alert resolved",
    "rejects.rising": "Rejects rising",
    TEST: "Test",
}


@dataclass(frozen=True)
class DeliveryRow:
    """Delivery, ready to be shown.

    Attributes:
        delivery: the database row.
        event: the event in words.
        how: "Webhook" or "Mail".
        source: of its report, or None if it is about none.
        was: how the report ended, or None.
        tries: all recorded attempts, oldest first.
    """

    delivery: Delivery
    event: str
    how: str
    source: str | None
    was: State | None
    state: State
    tries: Sequence[DeliveryTry]

    @property
    def happened_at(self) -> int:
        """Return the time of the event."""
        return self.delivery.created_at if self.delivery.ended_at is None else self.delivery.ended_at

    @property
    def said(self) -> str:
        """Return the answer to the last try."""
        return self.tries[-1].said if self.tries else ""


def delivery_rows(deliveries: Sequence[Delivery]) -> list[DeliveryRow]:
    tries = services().deliveries.tries(deliveries)
    return [_delivery_row(one, tries[one.id]) for one in deliveries]


def _delivery_row(one: Delivery, tries: Sequence[DeliveryTry]) -> DeliveryRow:
    source = f"JOB-{one.report}" if one.report else None
    was = REPORT[one.status] if one.status else None
    event, how = WORDS.get(one.type or "", one.type or ""), "Webhook" if one.recipient is None else "Mail"
    return DeliveryRow(one, event, how, source, was, DELIVERY[one.state], tries)
