"""CORS (the Fetch standard, section 3.2): which pages' scripts may send to the API and read its answers."""

from __future__ import annotations

from flask import Flask, Request, Response, current_app, request

from app.auth import comes_from_elsewhere
from app.exceptions import Forbidden

HEADERS = "authorization, content-type, content-encoding, idempotency-key, prefer, x-request-id"
METHODS = "GET, POST, DELETE, OPTIONS"
EXPOSED = (
    "X-Request-ID, Retry-After, Content-Disposition, Content-Range, ETag, Preference-Applied, X-Rejected-Events, "
    "Idempotency-Replayed, X-Ignored-Fields, X-Report-Columns"
)
KEPT_SECONDS = "7200"  # how long a browser may go on with a preflight's answer; more they do not take
EVERYONE = [("Access-Control-Allow-Origin", "*"), ("Access-Control-Expose-Headers", EXPOSED)]


def register(app: Flask) -> None:
    """Answer preflights, and mark every answer of the API."""
    app.before_request(_preflight)
    app.after_request(_mark)
    app.marks.append(marks)


def marks(request: Request) -> list[tuple[str, str]]:
    """What an answer to a program carries."""
    allowed = current_app.config["SETTINGS"].cors_origins
    if "*" in allowed:
        return EVERYONE
    origin = request.headers.get("Origin")
    return [
        ("Access-Control-Allow-Origin", origin if origin in allowed else allowed[0]),
        ("Access-Control-Expose-Headers", EXPOSED),
        ("Vary", "Origin"),
    ]


def check_origin() -> None:
    """Reject a request from a page of a disallowed origin, because browsers send forms and beacons without preflight.

    Raises:
        Forbidden: a page of another origin sent the request.
    """
    allowed = current_app.config["SETTINGS"].cors_origins
    if "*" in allowed:
        return
    origin = request.headers.get("Origin")
    if origin is not None and origin not in allowed and comes_from_elsewhere():
        raise Forbidden(f"Pages of {origin[:100]} may not send events here: CORS_ORIGINS does not name it.")


def _preflight() -> Response | None:
    """A preflight comes without credentials, for any path and before any other check."""
    if request.method != "OPTIONS" or not request.is_api:
        return None
    response = Response(status=204)
    del response.headers["Content-Type"]
    response.headers["Access-Control-Allow-Methods"] = METHODS
    response.headers["Access-Control-Allow-Headers"] = HEADERS
    response.headers["Access-Control-Max-Age"] = KEPT_SECONDS
    return response


def _mark(response: Response) -> Response:
    if request.is_api:
        response.headers.extend(marks(request))
    return response
