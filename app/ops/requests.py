"""Every request has an id, in its answer and in every log line about it: the client's, if it sent a sane one."""

from __future__ import annotations

import re
from random import getrandbits

from flask import Flask, Request, Response, has_request_context, request

HEADER = "X-Request-ID"
SANE = re.compile(r"[A-Za-z0-9._:-]{1,128}")


def register(app: Flask) -> None:
    """Tell each request's id in its answer."""
    app.marks.append(marks)
    app.after_request(_end)


def request_id(given: str | None) -> str:
    """The id of a request that came with one, or with none.

    Not from the system's random numbers: it is no secret, and asking for those lets go of the interpreter, for which
    sixty-three others wait.
    """
    return given if given and SANE.fullmatch(given) else f"{getrandbits(128):032x}"


def current_id() -> str | None:
    """The id of the request that this thread is at, if it is at one."""
    return request.id if has_request_context() else None


def marks(request: Request) -> list[tuple[str, str]]:
    """What an answer to a program carries."""
    return [(HEADER, request.id)]


def _end(response: Response) -> Response:
    response.headers[HEADER] = request.id
    return response
