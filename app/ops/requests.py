"""Every request has an id, in its answer and in every log line about it: the client's, if it sent a sane one."""

from __future__ import annotations

import re
import uuid

from flask import Flask, Response, g, has_request_context, request

SANE = re.compile(r"[A-Za-z0-9._:-]{1,128}")


def register(app: Flask) -> None:
    """Give each request its id."""
    app.before_request(_begin)
    app.after_request(_end)


def current_id() -> str | None:
    """The id of the request that this thread is at, if it is at one."""
    return g.get("request_id") if has_request_context() else None


def _begin() -> None:
    given = request.environ.get("HTTP_X_REQUEST_ID", "")
    g.request_id = given if SANE.fullmatch(given) else uuid.uuid4().hex


def _end(response: Response) -> Response:
    response.headers["X-Request-ID"] = g.get("request_id") or uuid.uuid4().hex
    return response
