"""CORS (Fetch standard, section 3.2): which origins' scripts may send to the API and read its responses."""

from __future__ import annotations

from collections.abc import Sequence

from flask import Flask, Response, current_app, request

from app.auth import comes_from_elsewhere
from app.exceptions import Forbidden
from app.support.paths import is_api

HEADERS = "authorization, content-type, content-encoding, idempotency-key, prefer, x-request-id"
METHODS = "GET, POST, DELETE, OPTIONS"
EXPOSED = (
    "X-Request-ID, Retry-After, Content-Disposition, Content-Range, ETag, Preference-Applied, X-Rejected-Events, "
    "Idempotency-Replayed, X-Ignored-Fields, X-Report-Columns, Date"
)
MAX_AGE_SECONDS = "7200"  # how long a browser may cache a preflight response; browsers allow no more
ALL_ORIGINS = [("Access-Control-Allow-Origin", "*"), ("Access-Control-Expose-Headers", EXPOSED)]


def register(app: Flask) -> None:
    """Respond to preflights, and add the CORS headers to every API response."""

    @app.before_request
    def preflight() -> Response | None:
        """Respond to a preflight, which has no credentials, for any path and before any other check."""
        if request.method != "OPTIONS" or not is_api(request.path):
            return None
        response = Response(status=204)
        del response.headers["Content-Type"]
        response.headers["Access-Control-Allow-Methods"] = METHODS
        response.headers["Access-Control-Allow-Headers"] = HEADERS
        response.headers["Access-Control-Max-Age"] = MAX_AGE_SECONDS
        return response

    @app.after_request
    def mark(response: Response) -> Response:
        if is_api(request.path):
            response.headers.extend(marks(app.config["SETTINGS"].cors_origins, request.headers.get("Origin")))
        return response


def marks(allowed: Sequence[str], origin: str | None = None) -> list[tuple[str, str]]:
    """Return the CORS headers of a response to a request with this Origin, given the allowed origins (CORS_ORIGINS)."""
    if "*" in allowed:
        return ALL_ORIGINS
    return [
        ("Access-Control-Allow-Origin", origin if origin and origin in allowed else allowed[0]),
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
