"""JSON responses with exactly the content type that SDKs require: `application/json` without a charset."""

from __future__ import annotations

import orjson
from flask import Response

JSON = "application/json"


def answer(value: object, status: int = 200) -> Response:
    """Return a JSON response with keys in the order of `value`. Flask's own response would end in a line feed."""
    return encoded(orjson.dumps(value), status)


def encoded(body: bytes, status: int = 200) -> Response:
    """Return a response whose JSON is already encoded."""
    return Response(body, status, content_type=JSON)
