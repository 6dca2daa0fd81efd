"""Webhook client: sends a signed POST and reads the response. No other module connects to third-party servers.

The client follows no redirects and uses no proxy from the environment, so data reaches only the named server. The
connection is closed after a time limit, and the response is read up to a size limit.
"""

from __future__ import annotations

import http
import http.client
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache

from app.exceptions import WebhookFailed
from app.support.url_origin import PORTS, Origin

TIMEOUT_SECONDS = 15.0  # to connect to each address of a host, and then for the rest of the exchange
MAX_DIGITS = 9  # of Retry-After
MAX_RESPONSE_BYTES = 4096  # of a response's body; the rest is not read


@dataclass(frozen=True)
class Response:
    """Response of a server: its status, and the beginning of its body for people."""

    status: int
    text: str
    retry_after: int = 0  # seconds, of the header Retry-After


def post(server: Origin, path: str, body: bytes, headers: Mapping[str, str]) -> Response:
    """Send a body to a path and query, and return the response. Raise WebhookFailed if there is none."""
    try:
        with _connect(server) as connection:
            connection.request("POST", path, body, dict(headers))
            response = connection.getresponse()
            return Response(response.status, _read_beginning(response), _retry_after(response))
    except TimeoutError:
        raise WebhookFailed(f"{server} did not answer within {TIMEOUT_SECONDS:g} seconds.") from None
    except (OSError, http.client.HTTPException) as error:
        raise WebhookFailed(_explain(server, error)) from error


class _FinalResponse(http.client.HTTPResponse):
    """Response class that skips interim responses (1xx, such as 103 Early Hints)."""

    def _read_status(self) -> tuple[str, int, str]:
        while True:
            version, status, reason = super()._read_status()  # type: ignore[misc]  # typeshed omits it
            if status == http.HTTPStatus.SWITCHING_PROTOCOLS or not 100 <= status < 200:
                return version, status, reason
            http.client.parse_headers(self.fp)


@contextmanager
def _connect(server: Origin) -> Iterator[http.client.HTTPConnection]:
    """Yield a connection that is closed after a total time limit.

    A socket timeout is not enough, because it restarts with each received byte.
    """
    connection = http.client.HTTPConnection(server.host, server.port)
    connection.default_port = PORTS[server.scheme]  # the default port, which the Host header omits
    connection.response_class = _FinalResponse
    line = socket.create_connection((server.host, server.port), TIMEOUT_SECONDS)
    if server.scheme != "http":
        line = _trust().wrap_socket(line, server_hostname=server.host, do_handshake_on_connect=False)
    connection.sock = line
    late = threading.Event()

    def cut() -> None:
        late.set()
        with suppress(OSError):  # the socket may be closed already
            socket.socket.shutdown(line, socket.SHUT_RDWR)  # not SSLSocket's, which drops TLS state in use by a reader

    timer = threading.Timer(TIMEOUT_SECONDS, cut)
    timer.start()
    try:
        if isinstance(line, ssl.SSLSocket):
            line.do_handshake()
        yield connection
    except (OSError, http.client.HTTPException):
        if late.is_set():
            raise TimeoutError from None
        raise
    finally:
        timer.cancel()
        line.close()


@cache
def _trust() -> ssl.SSLContext:
    """Return the TLS context with the system's trusted certificates. SSL_CERT_FILE and SSL_CERT_DIR override them."""
    return ssl.create_default_context()


def _read_beginning(response: http.client.HTTPResponse) -> str:
    """Return the beginning of the body, or an empty text if reading fails, because the status decides the result."""
    try:
        return response.read(MAX_RESPONSE_BYTES).decode(errors="replace")
    except (OSError, http.client.HTTPException):
        return ""


def _retry_after(response: http.client.HTTPResponse) -> int:
    """Return the seconds in the header Retry-After, or 0 without one, or if it has a date."""
    text = response.getheader("Retry-After", "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS else 0


def _explain(server: Origin, error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"The certificate of {server} is not to be trusted: {error.verify_message}."
    if isinstance(error, socket.gaierror):
        return f"The host {server.host} cannot be found."
    if isinstance(error, http.client.HTTPException):
        return f"{server} did not answer in HTTP: {type(error).__name__}."
    return f"{server} cannot be reached: {getattr(error, 'strerror', None) or type(error).__name__}."
