"""Speaks to servers of others: one signed POST, one answer. Nothing else in the house opens a connection outwards.

No redirect is followed and no proxy of the environment is asked: what is sent goes to the server that was named, or
nowhere. A server may take so long and answer so much; then its connection is cut.
"""

from __future__ import annotations

import hashlib
import hmac
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

SECONDS = 5.0  # to connect to each address of a host, and then for everything else together
ANSWER_BYTES = 4096  # of an answer's body; the rest is not read


@dataclass(frozen=True)
class Answer:
    """What the server said.

    Attributes:
        text: the beginning of the body, for people.
    """

    status: int
    text: str


def signature(secret: str, seconds: int, body: bytes) -> str:
    """The value of the header by which a receiver knows who sent a body, and when.

    Args:
        seconds: since 1970; it is signed as well, so that a receiver can refuse what is old.
    """
    signed = hmac.digest(secret.encode(), f"{seconds}.".encode() + body, hashlib.sha256)
    return f"t={seconds},v1={signed.hex()}"


def post(server: Origin, asked: str, body: bytes, headers: Mapping[str, str]) -> Answer:
    """Send a body.

    Args:
        asked: path and query.

    Raises:
        WebhookFailed: there was no answer; the message says why.
    """
    try:
        with _connected(server) as connection:
            connection.request("POST", asked, body, dict(headers))
            answer = connection.getresponse()
            return Answer(answer.status, _beginning(answer))
    except TimeoutError:
        raise WebhookFailed(f"{server} did not answer within {SECONDS:g} seconds.") from None
    except (OSError, http.client.HTTPException) as error:
        raise WebhookFailed(_words(server, error)) from error


class _Final(http.client.HTTPResponse):
    """Return the final response, and skip interim ones (1xx, such as 103 Early Hints)."""

    def _read_status(self) -> tuple[str, int, str]:
        while True:
            version, status, reason = super()._read_status()
            if status == http.HTTPStatus.SWITCHING_PROTOCOLS or not 100 <= status < 200:
                return version, status, reason
            http.client.parse_headers(self.fp)


@contextmanager
def _connected(server: Origin) -> Iterator[http.client.HTTPConnection]:
    """A connection that is cut after a while, whatever the server does: a time-out of the socket would start anew with
    each byte that trickles in.
    """
    connection = http.client.HTTPConnection(server.host, server.port)
    connection.default_port = PORTS[server.scheme]  # which a Host header leaves out
    connection.response_class = _Final
    connection.sock = line = _line(server)
    late = threading.Event()
    timer = threading.Timer(SECONDS, _cut, (line, late))
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


def _line(server: Origin) -> socket.socket:
    line = socket.create_connection((server.host, server.port), SECONDS)
    if server.scheme == "http":
        return line
    return _trust().wrap_socket(line, server_hostname=server.host, do_handshake_on_connect=False)


@cache
def _trust() -> ssl.SSLContext:
    """The certificates that the system trusts; SSL_CERT_FILE and SSL_CERT_DIR name others."""
    return ssl.create_default_context()


def _cut(line: socket.socket, late: threading.Event) -> None:
    late.set()
    with suppress(OSError):  # it is closed already
        socket.socket.shutdown(line, socket.SHUT_RDWR)  # not TLS's own, which takes its state from under a reader


def _beginning(answer: http.client.HTTPResponse) -> str:
    """Of the body, as far as it comes: the status has said already what counts."""
    try:
        return answer.read(ANSWER_BYTES).decode(errors="replace")
    except (OSError, http.client.HTTPException):
        return ""


def _words(server: Origin, error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"The certificate of {server} is not to be trusted: {error.verify_message}."
    if isinstance(error, socket.gaierror):
        return f"The host {server.host} cannot be found."
    if isinstance(error, http.client.HTTPException):
        return f"{server} did not answer in HTTP: {type(error).__name__}."
    return f"{server} cannot be reached: {getattr(error, 'strerror', None) or type(error).__name__}."
