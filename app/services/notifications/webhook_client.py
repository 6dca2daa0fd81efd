"""Webhook client: sends a signed POST and reads the beginning of the response.

The connection is that of `app.support.http_client`: it follows no redirect, uses no proxy, and has a total time limit.
"""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from dataclasses import dataclass

from app.exceptions import WebhookFailed
from app.support.http_client import connect, explain
from app.support.url_origin import Origin

TIMEOUT_SECONDS = 15.0  # to connect to each address of a host, and then for the rest of the exchange
MAX_DIGITS = 9  # of Retry-After
MAX_RESPONSE_BYTES = 4096  # of a response's body; the rest is not read


@dataclass(frozen=True)
class Response:
    """Response of a server: its status, and the beginning of its body for people."""

    status: int
    text: str
    retry_after: int = 0  # seconds, of the header Retry-After


def post(server: Origin, path: str, body: bytes, headers: Mapping[str, str]) -> Response:
    """Send a body to a path and query, and return the response. Raise WebhookFailed if there is none."""
    found: Response | None = None
    try:
        with connect(server, TIMEOUT_SECONDS) as connection:
            connection.request("POST", path, body, dict(headers))
            response = connection.getresponse()
            found = Response(response.status, _read_beginning(response), _retry_after(response))
            return found  # noqa: RET504 - also returned below
    except TimeoutError:
        if found is not None:  # only the body took too long
            return found
        raise WebhookFailed(f"{server} did not answer within {TIMEOUT_SECONDS:g} seconds.") from None
    except (OSError, http.client.HTTPException) as error:
        raise WebhookFailed(explain(server, error)) from error


def _read_beginning(response: http.client.HTTPResponse) -> str:
    """Return the beginning of the body, or an empty text if reading fails, because the status decides the result."""
    try:
        return response.read(MAX_RESPONSE_BYTES).decode(errors="replace")
    except (OSError, http.client.HTTPException):
        return ""


def _retry_after(response: http.client.HTTPResponse) -> int:
    """Return the seconds in the header Retry-After, or 0 without one, or if it has a date."""
    text = response.getheader("Retry-After", "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS else 0
