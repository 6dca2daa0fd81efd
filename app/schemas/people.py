"""Schemas of the requests for an API token and a saved view."""

from __future__ import annotations

from marshmallow import Schema

from app.schemas.fields import DIGITS, Code, Codes, Described

MAX_DAYS = 3_650


class Days(Described):
    """Number of days until a token expires, also as digits."""

    allowed = f"a whole number of days from 1 to {MAX_DAYS:,}"

    def _deserialize(self, value: object, attr: str | None, data: object, **kwargs: object) -> int:
        days = int(value) if isinstance(value, str) and DIGITS.fullmatch(value) else value
        if not isinstance(days, int) or not 1 <= days <= MAX_DAYS:
            raise self.refuse(value)
        return days


class TokenSchema(Schema):
    """Name of a token, the customers that it is limited to (empty: those of its user), and its expiry."""

    name = Code(required=True)
    customers = Codes(required=True)
    days = Days(required=True)


class SavedViewSchema(Schema):
    """Name of a saved view."""

    name = Code(required=True)
