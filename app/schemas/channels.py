"""Schema of the request for an alert channel."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from marshmallow import Schema, ValidationError, validates_schema

from app.schemas.field_errors import load
from app.schemas.fields import Code, Described, Flag
from app.schemas.json import shown

MAX_ADDRESSES = 20
MAX_URL = 4_096
ADDRESS = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]{1,64}@[A-Za-z0-9.-]{1,255}", re.ASCII)  # Apprise sends to no other
VISIBLE = re.compile(r"[!-~]+")


class Addresses(Described):
    """Mail addresses."""

    allowed = f"an array of 1 to {MAX_ADDRESSES} mail addresses such as ops@example.com"

    def _deserialize(self, value: object, attr: str | None, data: object, **kwargs: object) -> list[str]:
        if not isinstance(value, list):
            raise self.refuse(value)
        if not 1 <= len(value) <= MAX_ADDRESSES:
            raise self.refuse(value, f"has {len(value)} addresses")
        errors = {
            index: [f"is {shown(one)}; it must be an address such as ops@example.com, in ASCII"]
            for index, one in enumerate(value)
            if not isinstance(one, str) or not ADDRESS.fullmatch(one)
        }
        if errors:
            raise ValidationError(errors)
        return list(dict.fromkeys(value))


class ChannelUrl(Described):
    """URL of a service, as Apprise defines it. No error repeats it, because it contains secrets."""

    allowed = f"a URL such as slack://… of at most {MAX_URL:,} characters, without spaces"

    def _deserialize(self, value: object, attr: str | None, data: object, **kwargs: object) -> str:
        if not isinstance(value, str) or len(value) > MAX_URL or not VISIBLE.fullmatch(value):
            raise self.refuse(None, "is wrong")
        return value


class ChannelSchema(Schema):
    """Alert channel: either mail addresses or a URL. A change without either keeps what there is."""

    name = Code(required=True)
    addresses = Addresses()
    url = ChannelUrl()
    active = Flag(load_default=True)

    def check(self, wanted: Mapping[str, object]) -> dict[str, Any]:
        """Return the validated request, or raise InputInvalid."""
        return load(self, wanted, "The channel", "nothing was saved")

    @validates_schema(skip_on_field_errors=False)
    def check_target(self, data: dict[str, Any], **kwargs: object) -> None:
        """Reject a request with both kinds of target."""
        if "addresses" in data and "url" in data:
            raise ValidationError({"url": ["is there beside addresses; a channel has one of them"]})
