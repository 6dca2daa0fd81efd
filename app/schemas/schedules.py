"""Schema of the request for a recurring report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from marshmallow import Schema

from app.schemas.field_errors import load
from app.schemas.fields import Choice, Code, Lenient, Whole
from app.schemas.reports import FilterSchema, OutputSchema, Part
from app.schemas.webhooks import Keys, Names, Url

RECURRENCES = ("daily", "weekly", "monthly")
MODES = ("period", "since_last")
HOURS = 24


class RecurringFilterSchema(FilterSchema):
    """Filter for events without a time range, which the recurrence determines."""

    class Meta(Lenient.Meta):
        exclude = ("start", "end")


class RecurringOutputSchema(OutputSchema):
    """Format of each file. Files are not delivered to a bucket, because each would overwrite the previous one."""

    class Meta(Lenient.Meta):
        exclude = ("bucketName", "bucketKey")


class ScheduleSchema(Schema):
    """Recurring report."""

    name = Code(required=True)
    filter = Part(RecurringFilterSchema, required=True)
    output = Part(RecurringOutputSchema)
    recurrence = Choice(RECURRENCES, required=True)
    hour = Whole(0, HOURS - 1, required=True)
    mode = Choice(MODES, required=True)
    webhooks = Keys()
    recipients = Names()  # users who get mail
    webhook = Url()  # the URL of a new one, added to those above

    def check(self, wanted: Mapping[str, object]) -> dict[str, Any]:
        """Return the validated request, with keys in the order above, or raise InputInvalid."""
        return load(self, wanted, "The recurring report")


class ScheduleRow(Protocol):
    """Row of the table of schedules, as far as it is put into words."""

    recurrence: str
    hour: int
    mode: str


def when(schedule: ScheduleRow) -> str:
    """Return the schedule in words, such as "every Monday at 06:00 UTC"."""
    days = {"daily": "every day", "weekly": "every Monday", "monthly": "every 1st of the month"}
    return f"{days[schedule.recurrence]} at {schedule.hour:02}:00 UTC"


def covers(schedule: ScheduleRow) -> str:
    """Return the period of each report in words, such as "the week before"."""
    if schedule.mode == "since_last":
        return "everything since the last one"
    periods = {"daily": "the day before", "weekly": "the week before", "monthly": "the month before"}
    return periods[schedule.recurrence]
