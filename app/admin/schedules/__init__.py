"""Pages of recurring reports. Each module adds its pages to the blueprint."""

from app.admin.schedules import schedule_form, schedules

__all__ = ["schedule_form", "schedules"]
