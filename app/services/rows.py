"""Types of the store that services return or accept, under names that pages may import."""

from __future__ import annotations

from app.store.events.filters import EventFilter
from app.store.events.rejected_filter import ALL as ALL_REJECTED
from app.store.events.rejected_filter import SEARCHED as SEARCHED_REJECTED
from app.store.events.rejected_filter import RejectedFilter
from app.store.events.rejected_groups import Key as GroupKey
from app.store.models import (
    Alert,
    AlertRule,
    AlertSilence,
    Delivery,
    DeliveryTry,
    RejectedEvent,
    RejectedRequest,
    Report,
    Schedule,
    Session,
    Webhook,
)
from app.store.people.audit import AuditFilter
from app.store.reports.reports import ReportFilter

__all__ = [
    "ALL_REJECTED",
    "SEARCHED_REJECTED",
    "Alert",
    "AlertRule",
    "AlertSilence",
    "AuditFilter",
    "Delivery",
    "DeliveryTry",
    "EventFilter",
    "GroupKey",
    "RejectedEvent",
    "RejectedFilter",
    "RejectedRequest",
    "Report",
    "ReportFilter",
    "Schedule",
    "Session",
    "Webhook",
]
