"""Pages of events, rejected events and their volume. Each module adds its pages to the blueprint."""

from app.admin.events import (
    chart,
    download,
    events,
    explore,
    personal_data,
    rejected,
    rejected_event,
    rejected_group,
    rejected_request,
    volume,
)

__all__ = [
    "chart",
    "download",
    "events",
    "explore",
    "personal_data",
    "rejected",
    "rejected_event",
    "rejected_group",
    "rejected_request",
    "volume",
]
