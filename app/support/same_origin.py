"""Detection of requests that a page of another site made a browser send. Other programs send no such headers.

Browsers send `Sec-Fetch-Site` over TLS and on localhost; otherwise `Origin`, except for reads.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
# What a page may send to any site without a preflight (the Fetch standard's safelisted requests): in effect, a form.
UNASKED_METHODS = frozenset({"POST"})
UNASKED_TYPES = frozenset({"", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"})


class Headers(Protocol):
    """Headers of a request, by name."""

    def get(self, key: str, /) -> str | None:
        """Return the value of a header, or None if the request does not have it."""


def is_cross_site(headers: Headers, own: Collection[str]) -> bool:
    """Return whether a page of another site sent the request.

    Args:
        own: the hosts of this service, with their ports.
    """
    site = headers.get("Sec-Fetch-Site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = headers.get("Origin")
    return origin is not None and origin.partition("://")[2] not in own


def is_forged_call(
    method: str, media_type: str, headers: Headers, own: Collection[str], allowed: Collection[str]
) -> bool:
    """Return whether a page of another site may have used credentials that the user once entered into the browser.

    A page of an allowed origin may do so. If all origins are allowed, only requests with a preflight are accepted. The
    browser sends the preflight without credentials and never gets permission to add them, so they are the page's own.

    Args:
        allowed: origins, or `*` for all.
    """
    if method in SAFE_METHODS or not is_cross_site(headers, own) or headers.get("Origin") in allowed:
        return False
    is_unasked = method in UNASKED_METHODS and media_type in UNASKED_TYPES
    return is_unasked or "*" not in allowed
