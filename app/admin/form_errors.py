"""Errors of the schemas, attached to the fields of a form."""

from __future__ import annotations

import re
from collections.abc import Sequence

from flask_wtf import FlaskForm

from app.admin.datetime_field import DatetimeField, words_for_times
from app.exceptions import MISSING, FieldError

# Where an error is: the field, the item of a list (a line of the form), and what is wrong. The catalog's document puts
# an entry before the field (`products[0].code`), a report its two parts (`filter.start`).
PLACE = re.compile(r"(?:\w+\[0\]\.|filter\.|output\.)?(\w+)(?:\[(\d+)\])?(.*)", re.DOTALL)


def attach_errors(form: FlaskForm, field_errors: Sequence[FieldError], *, blank_is_missing: bool = False) -> list[str]:
    """Attach each error to its field, and return the messages that belong to no field.

    Args:
        blank_is_missing: describe a blank field as missing, whatever else is wrong with a blank value.
    """
    general = []
    for error in field_errors:
        place = PLACE.fullmatch(error.message)
        if place is None or place[1] not in form:
            general.append(error.message)
        else:
            field = form[place[1]]
            is_blank = blank_is_missing and not (field.data or "").strip()
            words = " is missing." if error.code == MISSING or is_blank else place[3]
            words = words_for_times(words) if isinstance(field, DatetimeField) else words
            line = f", line {int(place[2]) + 1}," if place[2] else ""
            field.errors = [*field.errors, f"{field.label.text}{line}{words}"]
    return general
