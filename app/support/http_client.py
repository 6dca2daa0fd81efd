"""Bounded HTTP exchanges with servers of others: a total time limit, a size limit, TLS verified, no redirect, no proxy.

Neither a server that hangs nor one that sends without end holds the calling thread for long.
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

from app.support.url_origin import PORTS, Origin


class ExchangeFailed(Exception):
    """There is no response within the limits; `str()` is a sentence for people."""


@dataclass(frozen=True)
class Limits:
    """Limits of an exchange.

    Attributes:
        seconds: to connect to each address of the host, and then for the rest of the exchange.
        bytes: of the response's body.
    """

    seconds: float
    bytes: int


@dataclass(frozen=True)
class Response:
    """Response of a server."""

    status: int
    body: bytes


def exchange(
    method: str, server: Origin, path: str, limits: Limits, body: bytes | None = None, headers: Mapping[str, str] = {}
) -> Response:
    """Send a request for a path and query, and return the response.

    Raises:
        ExchangeFailed: there is none within the limits.
    """
    try:
        with connect(server, limits.seconds) as connection:
            connection.request(method, path, body, dict(headers))
            response = connection.getresponse()
            content = response.read(limits.bytes + 1)
    except TimeoutError:
        raise ExchangeFailed(f"{server} did not answer within {limits.seconds:g} seconds.") from None
    except (OSError, http.client.HTTPException) as error:
        raise ExchangeFailed(explain(server, error)) from error
    if len(content) > limits.bytes:
        raise ExchangeFailed(f"{server} answered with more than {limits.bytes:,} bytes.")
    return Response(response.status, content)


@contextmanager
def connect(server: Origin, seconds: float) -> Iterator[http.client.HTTPConnection]:
    """Yield a connection that is closed after a total time limit.

    A socket timeout is not enough, because it restarts with each received byte.
    """
    connection = http.client.HTTPConnection(server.host, server.port)
    connection.default_port = PORTS[server.scheme]  # the default port, which the Host header omits
    connection.response_class = _FinalResponse
    line = socket.create_connection((server.host, server.port), seconds)
    if server.scheme != "http":
        line = trust().wrap_socket(line, server_hostname=server.host, do_handshake_on_connect=False)
    connection.sock = line
    late = threading.Event()

    def cut() -> None:
        late.set()
        with suppress(OSError):  # the socket may be closed already
            socket.socket.shutdown(line, socket.SHUT_RDWR)  # not SSLSocket's, which drops TLS state in use by a reader

    timer = threading.Timer(seconds, cut)
    timer.start()
    try:
        if isinstance(line, ssl.SSLSocket):
            line.do_handshake()
        yield connection
        if late.is_set():  # a body whose end is the end of the connection seems complete
            raise TimeoutError
    except (OSError, http.client.HTTPException):
        if late.is_set():
            raise TimeoutError from None
        raise
    finally:
        timer.cancel()
        line.close()


def explain(server: Origin, error: Exception) -> str:
    """Return a sentence about why there is no response."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"The certificate of {server} is not to be trusted: {error.verify_message}."
    if isinstance(error, socket.gaierror):
        return f"The host {server.host} cannot be found."
    if isinstance(error, http.client.HTTPException):
        return f"{server} did not answer in HTTP: {type(error).__name__}."
    return f"{server} cannot be reached: {getattr(error, 'strerror', None) or type(error).__name__}."


class _FinalResponse(http.client.HTTPResponse):
    """Response class that skips interim responses (1xx, such as 103 Early Hints)."""

    def _read_status(self) -> tuple[str, int, str]:
        while True:
            version, status, reason = super()._read_status()  # type: ignore[misc]  # typeshed omits it
            if status == http.HTTPStatus.SWITCHING_PROTOCOLS or not 100 <= status < 200:
                return version, status, reason
            http.client.parse_headers(self.fp)


@cache
def trust() -> ssl.SSLContext:
    """Return the TLS context with the system's trusted certificates. SSL_CERT_FILE and SSL_CERT_DIR override them."""
    return ssl.create_default_context()
