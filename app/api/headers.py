"""Request headers `Idempotency-Key` and `Prefer` (RFC 7240), and the response headers of a batch."""

from __future__ import annotations

import re
from collections.abc import Collection
from urllib.parse import quote

from flask import request

from app.exceptions import FieldError, InputInvalid
from app.services.events.ingest import Receipt

KEY = re.compile(r"[\x20-\x7e]{1,255}")
PREFERENCE = re.compile(r'(?:"(?:[^"\\]|\\.)*(?:"|$)|[^,"])+')
HANDLING = re.compile(r'\s*handling\s*=\s*"?(lenient|strict)"?\s*(?:;|$)', re.IGNORECASE)
NAMES = 20  # maximum number of ignored fields that a response names
NAME_CHARACTERS = 60
PLAIN = "!#$&'*+.^`|~[]()@:/?=<>{} "  # unescaped characters in a name, besides letters, digits, - and _


def idempotency_key() -> str | None:
    """Return the idempotency key of the request, or None if none was sent.

    Raises:
        InputInvalid: the key is invalid.
    """
    key = request.environ.get("HTTP_IDEMPOTENCY_KEY")
    if key is not None and not KEY.fullmatch(key):
        message = f"Idempotency-Key has {len(key)} characters; it must have 1 to 255 printable ones."
        raise InputInvalid("A header is wrong; nothing was stored.", [FieldError(message)])
    return key


def prefers_lenient() -> bool | None:
    """Return whether the client wants valid events stored despite invalid ones, or None if it does not specify."""
    for preference in PREFERENCE.findall(request.environ.get("HTTP_PREFER", "")):
        found = HANDLING.match(preference)
        if found:
            return found[1].lower() == "lenient"
    return None


def of_receipt(receipt: Receipt) -> list[tuple[str, str]]:
    """Return the headers that describe how a batch was handled."""
    headers = ignored_fields(receipt.ignored)
    if receipt.rejected is not None:
        headers += [("Preference-Applied", "handling=lenient"), ("X-Rejected-Events", str(receipt.rejected))]
    if receipt.replayed:
        headers.append(("Idempotency-Replayed", "true"))
    return headers


def ignored_fields(names: Collection[str]) -> list[tuple[str, str]]:
    """Return the header that names the unknown keys of the request's JSON, percent-encoded, if there are any."""
    if not names:
        return []
    shown = [quote(name[:NAME_CHARACTERS], safe=PLAIN, errors="replace") for name in sorted(names)[:NAMES]]
    rest = len(names) - len(shown)
    return [("X-Ignored-Fields", ", ".join([*shown, *([f"and {rest} more"] if rest else [])]))]
