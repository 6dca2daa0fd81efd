"""A field for a moment: people write a date and a time in the page's zone, the request has milliseconds."""

from __future__ import annotations

import re
from datetime import datetime

from wtforms import Field
from wtforms.widgets import DateTimeLocalInput

from app.admin.template_filters import moment, stamp
from app.admin.zones import zone, zone_name
from app.schemas.fields import MAX_TIME, Time

# How exactly a browser tells a moment, and what of it is left open: the rest of that minute, second or millisecond.
FORMS = (("%Y-%m-%dT%H:%M", 59_999), ("%Y-%m-%dT%H:%M:%S", 999), ("%Y-%m-%dT%H:%M:%S.%f", 0))
MILLISECONDS = re.compile(r"-?\b\d{6,15}\b")
DIGITS = re.compile(r"[0-9]{1,15}")


class DatetimeField(Field):
    """Its `data` is milliseconds; what is no moment stays text, for the schema to refuse.

    Args:
        whole: mean the end of the minute or second that was named, not its beginning.
    """

    widget = DateTimeLocalInput()

    def __init__(self, label: str, *, whole: bool = False, **kwargs: object) -> None:
        super().__init__(label, **kwargs)
        self.whole = whole
        self.text = ""

    def _value(self) -> str:
        return self.text

    def process_formdata(self, values: list[str]) -> None:
        """Take what a browser sent, or milliseconds from an address, which mean the same in every zone.

        What is no moment is not shown again: browsers' fields cannot.
        """
        given = values[0] if values else ""
        self.data, self.text = given or None, ""
        if DIGITS.fullmatch(given) and int(given) <= MAX_TIME:
            self.data, self.text = int(given), written(int(given))
            return
        for form, rest in FORMS:
            try:
                told = datetime.strptime(given, form).replace(tzinfo=zone())
            except ValueError:
                continue
            self.data, self.text = round(told.timestamp() * 1000) + (rest if self.whole else 0), given


def written(milliseconds: int) -> str:
    """A moment as a browser's field takes it."""
    return stamp(milliseconds).replace(" ", "T").removesuffix(".000").removesuffix(":00")


def words_for_times(message: str) -> str:
    """A schema's message about milliseconds, as whoever filled in a date understands it."""
    example = f"a date and time in {zone_name()}, such as 2026-11-23T10:57"
    message = message.replace(Time(digits=True).allowed, example)
    return MILLISECONDS.sub(lambda found: _told(found[0]), message)


def _told(milliseconds: str) -> str:
    """A moment, or the number as it stands where no calendar has it."""
    return moment(int(milliseconds)) if abs(int(milliseconds)) <= MAX_TIME else milliseconds
