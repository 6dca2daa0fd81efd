"""The id and the arrival time of each request, regardless of which part of the application serves it.

The id is in the response and in every log line about the request. It is the client's id if that is well-formed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from random import getrandbits
from time import perf_counter
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from flask import Flask, Response, request

from app.ops import body_watch
from app.ops.logs import request_id

HEADER, VARIABLE = "X-Request-ID", "HTTP_X_REQUEST_ID"
ARRIVED = "tally.arrived"  # when the request arrived, by time.perf_counter()
SANE = re.compile(r"[A-Za-z0-9._:-]{1,128}")
NO_ROUTE = ("other", "none")  # clients may invent any number of other methods and paths

Note = Callable[[str, str, int, float], None]


def receive(app: WSGIApplication, body_seconds: float) -> WSGIApplication:
    """Add an arrival time, an id that replaces an invalid id of the client, and a watched body to each request.

    The id is not a secret. `getrandbits` is used because the system's random numbers would release the interpreter, for
    which 63 other threads wait.
    """

    def serve(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ[ARRIVED] = perf_counter()
        given = environ.get(VARIABLE, "")
        environ[VARIABLE] = id = given if SANE.fullmatch(given) else f"{getrandbits(128):032x}"
        body_watch.watch(environ, body_seconds)
        token = request_id.set(id)
        try:
            return app(environ, start_response)
        finally:
            request_id.reset(token)

    return serve


def register(app: Flask, note: Note) -> None:
    """Add the id to each response, and call `note` with its method, route, status and the seconds until it began.

    Flask calls the last registered function first, so register this one last.
    """

    @app.after_request
    def finish(response: Response) -> Response:
        rule = request.url_rule
        method, route = (request.method, rule.rule) if rule else NO_ROUTE
        note(method, route, response.status_code, perf_counter() - request.environ[ARRIVED])
        response.headers[HEADER] = request.headers[HEADER]
        return response
