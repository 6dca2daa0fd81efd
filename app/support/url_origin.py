"""The origin of a URL: scheme, host and port in a canonical form, so that two origins can be compared.

The parser is stricter than the standard on purpose. If two parsers read a URL differently, a request can reach a host
that nobody allowed. Ambiguous URLs are therefore rejected.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

PORTS = {"https": 443, "http": 80}
VISIBLE = re.compile(r"[!-\[\]-~]+")  # ASCII without spaces, control characters and the backslash
HOST = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*|[0-9a-f:.]*:[0-9a-f:.]*")  # a name or IPv4, or IPv6


@dataclass(frozen=True)
class Origin:
    """Scheme, host and port of a server."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" + ("" if self.port == PORTS[self.scheme] else f":{self.port}")


def split(url: str) -> tuple[Origin, str]:
    """Return the origin of an http or https URL, and its path with the query.

    Raises:
        ValueError: it is not such a URL; the message says why, as the end of a sentence.
    """
    if not VISIBLE.fullmatch(url):
        raise ValueError("has a character that no URL has")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:  # a port that is not a number, or an unbalanced bracket
        raise ValueError(f"is not a URL: {error}") from None
    if parts.scheme not in PORTS:
        raise ValueError("does not start with https:// or http://")
    if "@" in parts.netloc:
        raise ValueError("names a user or a password")
    host = parts.hostname or ""
    if not HOST.fullmatch(host) or port == 0:
        raise ValueError("names no host")
    if "#" in url:
        raise ValueError("has a #, and the text after it is never sent")
    asked = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Origin(parts.scheme, host, port or PORTS[parts.scheme]), asked


def named(text: str) -> Origin:
    """Return the origin that an operator names: a host (https at its default port), host:port, or either with a scheme.

    Raises:
        ValueError: the text is not an origin; see `split`.
    """
    server, asked = split(text if "://" in text else f"https://{text}")
    if asked != "/" or text.endswith("?"):
        raise ValueError("names a path, where only a host is meant")
    return server
