"""Schema of the request for a webhook, and the event types that one may want."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import Schema, ValidationError

from app.schemas.field_errors import load
from app.schemas.fields import Code, Described
from app.schemas.json import kind
from app.support.url_origin import split

MAX_URL = 2_048
MAX_NAMES = 100
# Each type, with what it is about for people, and the permission that a user needs to get it.
EVENT_TYPES = {
    "report.completed": ("A report is complete", "reports"),
    "report.failed": ("A report has failed, timed out or was cancelled", "reports"),
    "alert.firing": ("An alert has begun to fire", "events"),
    "alert.resolved": ("An alert is resolved", "events"),
    "rejects.rising": ("More events are rejected than usual", "system"),
}
TEST = "webhook.test"  # the type of what the test button sends


class Url(Described):
    """URL of a webhook. Whether the operator allows it is checked elsewhere."""

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


class EventTypes(Described):
    """List of event types, which may be empty."""

    allowed = " or ".join(f'"{name}"' for name in EVENT_TYPES)

    def _deserialize(self, value: object, attr: str | None, data: object, **kwargs: object) -> list[str]:
        if not isinstance(value, list):
            raise self.refuse(value, f"is {kind(value)}")
        unknown = next((one for one in value if one not in EVENT_TYPES), None)
        if unknown is not None:
            raise self.refuse(unknown)
        return [name for name in EVENT_TYPES if name in value]


class Keys(Described):
    """List of ids of webhooks, which may be empty."""

    allowed = "an array of ids"

    def _deserialize(self, value: object, attr: str | None, data: object, **kwargs: object) -> list[int]:
        if not isinstance(value, list):
            raise self.refuse(value, f"is {kind(value)}")
        if not all(isinstance(one, int) and not isinstance(one, bool) and 0 < one <= 10**18 for one in value):
            raise ValidationError(f"has something that is no id; it must be {self.allowed}")
        return value


class Names(Described):
    """List of names of users, which may be empty."""

    allowed = f"an array of at most {MAX_NAMES} names of users"

    def _deserialize(self, value: object, attr: str | None, data: object, **kwargs: object) -> list[str]:
        if not isinstance(value, list) or not all(isinstance(one, str) and "\0" not in one for one in value):
            raise self.refuse(value)
        if len(value) > MAX_NAMES:
            raise self.refuse(value, f"has {len(value)} items")
        return value


class WebhookSchema(Schema):
    """Webhook."""

    name = Code(required=True)
    url = Url(required=True)
    types = EventTypes(load_default=list)

    def check(self, wanted: Mapping[str, object]) -> dict[str, Any]:
        """Return the validated request, with keys in the order above, or raise InputInvalid."""
        return load(self, wanted, "The webhook", "nothing was saved")
