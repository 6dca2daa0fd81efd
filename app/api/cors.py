"""CORS (the Fetch standard, section 3.2): which pages' scripts may send to the API and read its answers."""

from __future__ import annotations

from flask import Flask, Response, current_app, request

from app.paths import is_api

HEADERS = "authorization, content-type, content-encoding, idempotency-key, prefer, x-request-id"
METHODS = "GET, POST, DELETE, OPTIONS"
EXPOSED = "X-Request-ID, Retry-After, Content-Disposition, Preference-Applied, X-Rejected-Events, Idempotency-Replayed"
KEPT_SECONDS = "7200"  # how long a browser may go on with a preflight's answer; more they do not take


def register(app: Flask) -> None:
    """Answer preflights, and mark every answer of the API."""
    app.before_request(_preflight)
    app.after_request(_mark)


def _preflight() -> Response | None:
    """A preflight comes without credentials, for any path and before any other check."""
    if request.method != "OPTIONS" or not is_api(request.path):
        return None
    response = Response(status=204)
    del response.headers["Content-Type"]
    response.headers["Access-Control-Allow-Methods"] = METHODS
    response.headers["Access-Control-Allow-Headers"] = HEADERS
    response.headers["Access-Control-Max-Age"] = KEPT_SECONDS
    return response


def _mark(response: Response) -> Response:
    if not is_api(request.path):
        return response
    allowed = current_app.config["SETTINGS"].cors_origins
    origin = request.headers.get("Origin")
    if "*" in allowed:
        response.headers["Access-Control-Allow-Origin"] = "*"
    else:
        response.headers["Access-Control-Allow-Origin"] = origin if origin in allowed else allowed[0]
        response.vary.add("Origin")
    response.headers["Access-Control-Expose-Headers"] = EXPOSED
    return response
