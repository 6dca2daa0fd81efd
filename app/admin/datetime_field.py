"""Form field for a time: people enter a date and a time in the page's zone, and the request has milliseconds."""

from __future__ import annotations

import re
from datetime import datetime

from wtforms import Field, Form
from wtforms.widgets import DateTimeLocalInput

from app.admin.template_filters import moment, stamp
from app.admin.zones import zone, zone_name
from app.schemas.fields import MAX_TIME, Time

# The formats in which a browser sends a time, and the milliseconds up to the end of that minute, second or millisecond.
FORMATS = (("%Y-%m-%dT%H:%M", 59_999), ("%Y-%m-%dT%H:%M:%S", 999), ("%Y-%m-%dT%H:%M:%S.%f", 0))
MILLISECONDS = re.compile(r"-?\b\d{6,15}\b")
DIGITS = re.compile(r"[0-9]{1,15}")


class DatetimeField(Field):
    """Date and time field whose `data` is in milliseconds. An invalid time stays text, so that the schema rejects it.

    Attributes:
        whole: use the end of the given minute or second instead of its beginning.
    """

    widget = DateTimeLocalInput()
    data: int | str | None
    whole = False
    text = ""

    def _value(self) -> str:
        return self.text

    def process_formdata(self, values: list[str]) -> None:
        """Read a browser's value, or milliseconds from a URL, which mean the same in every zone.

        An invalid time is not shown again, because browsers' fields cannot display it.
        """
        given = values[0] if values else ""
        self.data, self.text = given or None, ""
        if DIGITS.fullmatch(given) and int(given) <= MAX_TIME:
            self.data, self.text = int(given), to_browser_format(int(given))
            return
        for format, rest_ms in FORMATS:
            try:
                time = datetime.strptime(given, format).replace(tzinfo=zone())
            except ValueError:
                continue
            self.data, self.text = round(time.timestamp() * 1000) + (rest_ms if self.whole else 0), given


class EndField(DatetimeField):
    """Date and time field for an end: the minute or second that the user enters is included."""

    whole = True


def given_times(form: Form) -> dict[str, str]:
    """Return the fields `start` and `end` of a form as URL arguments, as far as they are set."""
    return {name: str(form[name].data) for name in ("start", "end") if form[name].data is not None}


def to_browser_format(milliseconds: int) -> str:
    """Return a time in the format of a browser's field."""
    return stamp(milliseconds).replace(" ", "T").removesuffix(".000").removesuffix(":00")


def words_for_times(message: str) -> str:
    """Return a schema's message with its milliseconds replaced by dates, which is what the user entered.

    A number outside the calendar stays.
    """
    example = f"a date and time in {zone_name()}, such as 2026-11-23T10:57"
    message = message.replace(Time(digits=True).allowed, example)
    return MILLISECONDS.sub(
        lambda found: moment(int(found[0])) if abs(int(found[0])) <= MAX_TIME else found[0], message
    )
