"""A field for a moment in UTC: people write a date and a time, the request has milliseconds."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from wtforms import Field
from wtforms.widgets import DateTimeLocalInput

from app.admin.words import iso, stamp
from app.schemas.fields import Time

# How exactly a browser tells a moment, and what of it is left open: the rest of that minute, second or millisecond.
FORMS = (("%Y-%m-%dT%H:%M", 59_999), ("%Y-%m-%dT%H:%M:%S", 999), ("%Y-%m-%dT%H:%M:%S.%f", 0))
MILLISECONDS = re.compile(r"-?\b\d{6,15}\b")
EXAMPLE = "a date and time in UTC, such as 2026-11-23T10:57"


class MomentField(Field):
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
        """Take what a browser sent, or milliseconds from an address."""
        self.text = values[0] if values else ""
        self.data = self.text or None
        for form, rest in FORMS:
            try:
                moment = datetime.strptime(self.text, form).replace(tzinfo=UTC)
            except ValueError:
                continue
            self.data = round(moment.timestamp() * 1000) + (rest if self.whole else 0)


def written(milliseconds: int) -> str:
    """A moment as a browser's field takes it."""
    return iso(milliseconds).rstrip("Z").removesuffix(".000").removesuffix(":00")


def words_for_times(message: str) -> str:
    """A schema's message about milliseconds, as whoever filled in a date understands it."""
    message = message.replace(Time(digits=True).allowed, EXAMPLE)
    return MILLISECONDS.sub(lambda found: f"{stamp(int(found[0]))} UTC", message)
