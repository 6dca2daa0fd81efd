"""The host names of the service (TRUSTED_HOSTS), and redirects that stay on the host that the client used.

Flask's own TRUSTED_HOSTS does not fit: it is case-sensitive, accepts neither IPv6 addresses nor underscores, cannot
exempt probes, and a refused request then has no URL adapter, without which no error page can be rendered.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from urllib.parse import urlsplit

from flask import Flask, request
from werkzeug.exceptions import BadRequest
from werkzeug.routing import RequestRedirect

PROBES = ("/health/", "/metrics")
PORT = re.compile(r":\d{0,5}$")


def register(app: Flask, names: Collection[str]) -> None:
    """Reject requests to other hosts than those named, if any is named. Probes may use an address."""

    @app.before_request
    def check() -> None:
        host = request.environ.get("HTTP_HOST", "")
        if names and not request.path.startswith(PROBES) and not is_one_of(host, names):
            raise BadRequest(f'The Host "{host[:60]}" is not one of this service.')
        redirect = request.routing_exception
        if isinstance(redirect, RequestRedirect):  # to the path with its slash; absolute, it would repeat any Host
            parts = urlsplit(redirect.new_url)
            redirect.new_url = f"/{parts.path.lstrip('/')}" + (f"?{parts.query}" if parts.query else "")


def is_one_of(host: str, names: Collection[str]) -> bool:
    """Return whether a Host is among the names. A name that begins with a dot includes all names below it."""
    host = PORT.sub("", host).lower()
    return any(host == name.removeprefix(".") or (name[0] == "." and host.endswith(name)) for name in names)
