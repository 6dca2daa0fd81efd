"""Pages of events, rejected events and their volume. Each module adds its pages to the blueprint."""

from app.admin.events import chart, events, explore, rejected, rejected_event, rejected_group, rejected_request, volume

__all__ = ["chart", "events", "explore", "rejected", "rejected_event", "rejected_group", "rejected_request", "volume"]
