"""Request headers with a meaning of their own: `Idempotency-Key`, and `Prefer` (RFC 7240)."""

from __future__ import annotations

import re

from flask import request

from app.exceptions import Fault, InputInvalid

KEY = re.compile(r"[\x20-\x7e]{1,255}")
HANDLING = re.compile(r'(?:^|[,;])\s*handling\s*=\s*"?(lenient|strict)"?\s*(?:[,;]|$)', re.IGNORECASE)


def idempotency_key() -> str | None:
    """The key under which a repeat of this request is answered the same; None where none was sent.

    Raises:
        InputInvalid: it is not one.
    """
    key = request.environ.get("HTTP_IDEMPOTENCY_KEY")
    if key is not None and not KEY.fullmatch(key):
        message = f"Idempotency-Key has {len(key)} characters; it must have 1 to 255 printable ones."
        raise InputInvalid("A header is wrong; nothing was stored.", [Fault(message)])
    return key


def prefers_lenient() -> bool | None:
    """Whether the client wants its valid events stored although others are invalid; None where it does not say."""
    given = request.environ.get("HTTP_PREFER")
    found = HANDLING.search(given) if given is not None else None
    return found and found[1].lower() == "lenient"
