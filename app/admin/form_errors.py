"""Errors of the services and schemas as errors of a form: at which field, in which words, with which status."""

from __future__ import annotations

import re
from collections.abc import Sequence

from wtforms import Form

from app.admin.datetime_field import DatetimeField, words_for_times
from app.exceptions import (
    MISSING,
    AccountInvalid,
    BodyMalformed,
    FieldError,
    Forbidden,
    InputInvalid,
    KeyReused,
    RateLimited,
    SearchIncomplete,
    TallyError,
)

# The errors for which a view shows its form again, with the status of each.
STATUSES: dict[type[TallyError], int] = {
    InputInvalid: 400,
    BodyMalformed: 400,
    AccountInvalid: 400,
    Forbidden: 403,
    KeyReused: 422,
    RateLimited: 429,
    SearchIncomplete: 503,
}
FORM_ERRORS = tuple(STATUSES)
# Where an error is: the field, the item of a list (a line of the form), and what is wrong. The catalog's document puts
# an entry before the field (`products[0].code`), a report its two parts (`filter.start`).
PLACE = re.compile(r"(?:\w+\[0\]\.|filter\.|output\.)?(\w+)(?:\[(\d+)\])?(.*)", re.DOTALL)


def status_of(error: TallyError) -> int:
    """Return the status with which the form is shown again."""
    return next(status for kind, status in STATUSES.items() if isinstance(error, kind))


def messages_of(error: TallyError, *, body: str = "The body") -> list[str]:
    """Return the sentences about what is wrong, with a name for what the API calls the body."""
    if isinstance(error, InputInvalid):
        return [one.message for one in error.field_errors]
    return [str(error).replace("The body", body, 1) if isinstance(error, BodyMalformed) else str(error)]


def attach_errors(form: Form, field_errors: Sequence[FieldError], *, blank_is_missing: bool = False) -> list[str]:
    """Attach each error to its field, and return the messages that belong to no field.

    Args:
        blank_is_missing: describe a blank field as missing, even if a blank value has other errors.
    """
    general = []
    for error in field_errors:
        place = PLACE.fullmatch(error.message)
        if place is None or place[1] not in form:
            general.append(error.message)
            continue
        field = form[place[1]]
        is_blank = blank_is_missing and not str(field.data or "").strip()
        words = " is missing." if error.code == MISSING or is_blank else place[3]
        words = words_for_times(words) if isinstance(field, DatetimeField) else words
        line = f", line {int(place[2]) + 1}," if place[2] else ""
        field.errors = [*field.errors, f"{field.label.text}{line}{words}"]
    return general
