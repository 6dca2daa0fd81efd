"""Access log: a line for each request if ACCESS_LOG is on. Otherwise no request passes through this module.

It omits the values of query parameters, because they may be personal data or signatures, and tokens in paths.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from time import perf_counter
from typing import TYPE_CHECKING
from urllib.parse import unquote_plus
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import structlog
from flask import Flask, Response, request

from app.ops.requests import ARRIVED, VARIABLE

if TYPE_CHECKING:
    from _typeshed import OptExcInfo

CALLER = "tally.caller"  # environ key with the name of the sender, if it is known; also set in `api.events`
TOKEN = re.compile(r"(?<=/unsubscribe/).+", re.DOTALL)  # in paths, also in those that no route serves
MAX_CHARACTERS = 300  # of each value from the client

log = structlog.get_logger(__name__)


def wrap(app: WSGIApplication) -> WSGIApplication:
    """Log each request once its response has been sent. By then, the environ must have the client's address."""

    def serve(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        status = "500"

        def start(
            line: str, headers: list[tuple[str, str]], exc_info: OptExcInfo | None = None, /
        ) -> Callable[[bytes], object]:
            nonlocal status
            status = line
            return start_response(line, headers, exc_info) if exc_info else start_response(line, headers)

        body = app(environ, start)
        if isinstance(body, list):  # of the hot path
            _log(environ, status, sum(map(len, body)))
            return body
        return _Counted(body, lambda sent: _log(environ, status, sent))

    return serve


def register(app: Flask, describe_caller: Callable[[], str | None]) -> None:
    """Note who sent a request that Flask serves."""

    @app.after_request
    def note(response: Response) -> Response:
        if name := describe_caller():
            request.environ[CALLER] = name
        return response


class _Counted:
    """Body of a response that counts its bytes, and calls `done` with the number when it is closed."""

    def __init__(self, body: Iterable[bytes], done: Callable[[int], None]) -> None:
        self._body, self._done, self._sent = body, done, 0

    def __iter__(self) -> Iterator[bytes]:
        for block in self._body:
            self._sent += len(block)
            yield block

    def close(self) -> None:
        try:
            if close := getattr(self._body, "close", None):
                close()
        finally:
            self._done(self._sent)


def _log(environ: WSGIEnvironment, status: str, sent: int) -> None:
    path = TOKEN.sub("…", _text(environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")))
    parameters = [unquote_plus(one.partition("=")[0]) for one in environ.get("QUERY_STRING", "").split("&") if one]
    log.info(
        "request served",
        method=environ["REQUEST_METHOD"][:MAX_CHARACTERS],
        path=path[:MAX_CHARACTERS],
        parameters=",".join(dict.fromkeys(parameters))[:MAX_CHARACTERS],
        status=int(status[:3]),
        milliseconds=round((perf_counter() - environ[ARRIVED]) * 1000, 1),
        bytes=sent,
        address=environ.get("REMOTE_ADDR", ""),
        caller=environ.get(CALLER, ""),
        agent=_text(environ.get("HTTP_USER_AGENT", ""))[:MAX_CHARACTERS],
        request=environ[VARIABLE],
    )


def _text(value: str) -> str:
    """Decode a WSGI string, which contains bytes as Latin-1 characters."""
    return value.encode("latin-1", "replace").decode(errors="replace")
