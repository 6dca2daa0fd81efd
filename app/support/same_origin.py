"""Whether a page of another site made a browser send a request. Programs say nothing of the kind, and are believed.

Browsers tell by `Sec-Fetch-Site`, over TLS and on this machine; elsewhere by `Origin`, with everything but reading.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
# What a page may send to any site without asking first (the Fetch standard's safelisted requests): a form, in effect.
UNASKED_METHODS = frozenset({"POST"})
UNASKED_TYPES = frozenset({"", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"})


def is_cross_site(headers: Mapping[str, str], own: Collection[str]) -> bool:
    """Whether another site's page sent it.

    Args:
        own: the hosts under which this service is known, with their ports.
    """
    site = headers.get("Sec-Fetch-Site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = headers.get("Origin")
    return origin is not None and origin.partition("://")[2] not in own


def is_forged_call(
    method: str, media_type: str, headers: Mapping[str, str], own: Collection[str], allowed: Collection[str]
) -> bool:
    """Whether another site's page may have had a browser add the credentials that somebody once typed into it.

    A page of an allowed origin may do so. Where all origins are allowed, only what a browser asks about first is let
    pass: it asks without credentials and is never told that it may add them, so they were the page's own.

    Args:
        allowed: origins, or `*` for all.
    """
    if method in SAFE_METHODS or not is_cross_site(headers, own) or headers.get("Origin") in allowed:
        return False
    is_unasked = method in UNASKED_METHODS and media_type in UNASKED_TYPES
    return is_unasked or "*" not in allowed
