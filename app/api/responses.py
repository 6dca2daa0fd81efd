"""JSON responses with exactly the content type that SDKs require: `application/json` without a charset."""

from __future__ import annotations

import orjson
from flask import Response

JSON = "application/json"


class JsonResponse(Response):
    """Response with a value as JSON, its keys in their order, or with JSON that is already encoded.

    Flask's own response would end in a line feed.
    """

    def __init__(self, value: object, status: int = 200) -> None:
        super().__init__(value if isinstance(value, bytes) else orjson.dumps(value), status, content_type=JSON)
