"""A short path for the plainest `POST /events`, in front of Flask, which takes six times as long for the same work.

It handles what almost every SDK sends: small, uncompressed JSON with a length. Flask handles everything else, including
every error, because the view raises exceptions of this path again. The view alone is complete (HOT_PATH=off), and
`tests/api/events/test_hot_path.py` proves that both respond alike.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from io import BytesIO
from time import perf_counter
from wsgiref.types import StartResponse, WSGIEnvironment

from flask import Flask

from app.api.body import cut_short
from app.api.cors import marks
from app.api.events import CALLER, FAILURE
from app.api.headers import of_receipt
from app.api.responses import JSON
from app.auth import key_in
from app.ops.hosts import is_one_of
from app.ops.requests import ARRIVED, HEADER, VARIABLE
from app.services.events.ingest import Receipt
from app.services.events.rejected import Origin

PATH = "/events"
HOST = re.compile(r"[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*(:\d{1,5})?")  # Werkzeug rejects some others
SHORT = re.compile(r"[0-9]{1,5}")  # a length below SMALL_BYTES, so that the body needs no share of the budget
NOT_PLAIN = {"HTTP_EXPECT", "HTTP_TRANSFER_ENCODING", "HTTP_CONTENT_ENCODING", "HTTP_PREFER", "HTTP_IDEMPOTENCY_KEY"}


class HotPath:
    """WSGI middleware around the Flask application."""

    def __init__(self, app: Flask) -> None:
        self._flask, self._services, settings = app.wsgi_app, app.extensions["services"], app.config["SETTINGS"]
        self._not_plain = NOT_PLAIN if "*" in settings.cors_origins else {*NOT_PLAIN, "HTTP_ORIGIN"}
        admission = self._services.admission
        self._is_guarded = admission.needs_key or admission.is_limited
        self._hosts, self._max_bytes = settings.trusted_hosts, settings.max_body_bytes
        self._headers = [("Content-Type", JSON), ("X-Content-Type-Options", "nosniff"), *marks(settings.cors_origins)]

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Respond to the request, or pass it to Flask with its body intact."""
        if not self._is_plain(environ):
            return self._flask(environ, start_response)
        try:
            receipt = self._record(environ)
        except Exception as error:  # noqa: BLE001 - the view raises it again
            environ[FAILURE] = error
            return self._flask(environ, start_response)
        self._services.request_metrics.note("POST", PATH, 200, perf_counter() - environ[ARRIVED])
        headers = [*self._headers, ("Content-Length", str(len(receipt.answer))), (HEADER, environ[VARIABLE])]
        if receipt.ignored or receipt.rejected is not None:
            headers += of_receipt(receipt)
        start_response("200 OK", headers)
        return [receipt.answer]

    def _is_plain(self, environ: WSGIEnvironment) -> bool:
        length, host = environ.get("CONTENT_LENGTH", ""), environ.get("HTTP_HOST", "")
        return (
            environ["PATH_INFO"] == PATH
            and environ["REQUEST_METHOD"] == "POST"
            and environ.get("CONTENT_TYPE") == JSON
            and not environ.get("QUERY_STRING")
            and SHORT.fullmatch(length) is not None
            and int(length) <= self._max_bytes
            and self._not_plain.isdisjoint(environ)
            and HOST.fullmatch(host) is not None
            and (not self._hosts or is_one_of(host, self._hosts))
        )

    def _record(self, environ: WSGIEnvironment) -> Receipt:
        address, header = environ.get("REMOTE_ADDR", ""), environ.get("HTTP_AUTHORIZATION")
        sender = None
        if header or self._is_guarded:
            sender = self._services.admission.authorize(address, key_in(header))
            if sender is not None:
                environ[CALLER] = f"key {sender.name}"
        body = environ["wsgi.input"].read(length := int(environ["CONTENT_LENGTH"]))
        environ["wsgi.input"] = BytesIO(body)
        if len(body) < length:
            raise cut_short(len(body), length)
        receipt: Receipt = self._services.ingest.accept(body, Origin(address, environ[VARIABLE]), sender=sender)
        return receipt
