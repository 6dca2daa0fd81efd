"""JSON answers with the header that SDKs insist on: `application/json` to the letter, no charset."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import orjson
from flask import Response
from werkzeug.datastructures import Headers

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

JSON = "application/json"
NOSNIFF = ("X-Content-Type-Options", "nosniff")  # an error quotes what was sent: no browser may take it for a page


class Answer(Response):
    """A JSON answer that is whole when it is made: Werkzeug need neither look for its length nor mend its headers.

    Args:
        body: JSON.
        status: any at which an answer has a body.
    """

    def __init__(self, body: bytes, status: int = 200) -> None:
        headers = [("Content-Type", JSON), ("Content-Length", str(len(body))), NOSNIFF]
        super().__init__(None, status, Headers(headers))
        self.response = [body]

    def get_wsgi_headers(self, environ: WSGIEnvironment) -> Headers:
        """They stand already."""
        return self.headers

    def get_app_iter(self, environ: WSGIEnvironment) -> Iterable[bytes]:
        """The body, unless only the head was asked for."""
        return () if environ["REQUEST_METHOD"] == "HEAD" else self.response


def answer(value: object, status: int = 200) -> Answer:
    """An answer whose keys stand in the order of `value`."""
    return Answer(orjson.dumps(value), status)
