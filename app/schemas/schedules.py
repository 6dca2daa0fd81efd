"""What a recurring report is asked for with."""

from __future__ import annotations

from collections.abc import Mapping

from marshmallow import Schema, ValidationError

from app.schemas.field_errors import validation_error
from app.schemas.fields import Choice, Code, Described
from app.schemas.reports import FilterSchema, Lenient, OutputSchema, Part
from app.support.url_origin import split

RECURRENCES = ("daily", "weekly", "monthly")
MODES = ("period", "since_last")
MAX_URL = 2_048
HOURS = 24


class Hour(Described):
    """An hour of the day."""

    allowed = f"a whole number from 0 to {HOURS - 1}"

    def _deserialize(self, value: object, attr: str | None, data: object, **kwargs: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < HOURS:
            raise self.refuse(value)
        return value


class Url(Described):
    """Where a webhook goes. Whether the operator allows it is not decided here."""

    allowed = f"a URL such as https://hooks.example.com/reports, of at most {MAX_URL:,} characters"

    def _deserialize(self, value: object, attr: str | None, data: object, **kwargs: object) -> str:
        if not isinstance(value, str):
            raise self.refuse(value)
        if len(value) > MAX_URL:
            raise self.refuse(value, f"has {len(value):,} characters")
        try:
            split(value)
        except ValueError as error:
            raise self.refuse(value, str(error)) from None
        return value


class RecurringFilterSchema(FilterSchema):
    """Which events: the time is the recurrence's to say."""

    class Meta(Lenient.Meta):
        """See `Lenient`."""

        exclude = ("start", "end")


class RecurringOutputSchema(OutputSchema):
    """What each file looks like. They stay here: in a bucket each would take the place of the one before."""

    class Meta(Lenient.Meta):
        """See `Lenient`."""

        exclude = ("bucketName", "bucketKey")


class ScheduleSchema(Schema):
    """A recurring report."""

    name = Code(required=True)
    filter = Part(RecurringFilterSchema, required=True)
    output = Part(RecurringOutputSchema)
    recurrence = Choice(RECURRENCES, required=True)
    hour = Hour(required=True)
    mode = Choice(MODES, required=True)
    webhook = Url()

    def check(self, wanted: Mapping[str, object]) -> dict[str, object]:
        """What was asked for, keys in the order above.

        Raises:
            InputInvalid: a fault for each wrong field.
        """
        try:
            return self.load(wanted)
        except ValidationError as error:
            raise validation_error(error, "The recurring report") from None


def when(schedule: object) -> str:
    """When a recurring report runs, in words: every Monday at 06:00 UTC.

    Args:
        schedule: a row of the table of schedules.
    """
    days = {"daily": "every day", "weekly": "every Monday", "monthly": "every 1st of the month"}
    return f"{days[schedule.recurrence]} at {schedule.hour:02}:00 UTC"


def covers(schedule: object) -> str:
    """What each of its reports has, in words: the week before."""
    if schedule.mode == "since_last":
        return "everything since the last one"
    periods = {"daily": "the day before", "weekly": "the week before", "monthly": "the month before"}
    return periods[schedule.recurrence]
