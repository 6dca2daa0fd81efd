"""The bounded HTTP client, against servers that hang, drip or send without end."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator

import pytest
import trustme

from app.support.http_client import ExchangeFailed, Limits, exchange
from app.support.url_origin import Origin

LIMITS = Limits(0.3, 1000)
HEAD = b"HTTP/1.1 200 OK\r\n"


class Server:
    """Server that answers each request with parts, and waits between them."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.pause = 0.0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def stop(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                line, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(line,), daemon=True).start()

    def _answer(self, line: socket.socket) -> None:
        with line:
            line.recv(65_536)
            try:
                for part in self.parts:
                    line.sendall(part)
                    time.sleep(self.pause)
            except OSError:
                return


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.stop()


def ask(server: Server):
    return exchange("GET", Origin("http", "127.0.0.1", server.port), "/", LIMITS)


def test_a_response_is_returned_whole(server):
    server.parts = [HEAD + b"Content-Length: 4\r\n\r\n", b"body"]
    assert (ask(server).status, ask(server).body) == (200, b"body")


def test_a_redirect_is_not_followed(server):
    server.parts = [b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"]
    assert ask(server).status == 302


@pytest.mark.parametrize(
    "parts",
    [
        [HEAD + b"Content-Length: 1001\r\n\r\n" + b"a" * 1001],
        [HEAD + b"\r\n", *[b"a" * 500] * 3],
        [HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *[b"1f4\r\n" + b"a" * 500 + b"\r\n"] * 3, b"0\r\n\r\n"],
    ],
)
def test_a_body_beyond_the_limit_is_an_error(server, parts):
    server.parts = parts
    with pytest.raises(ExchangeFailed, match="more than 1,000 bytes"):
        ask(server)


@pytest.mark.parametrize(
    "parts",
    [
        [b"", b""],  # nothing at all
        [HEAD, *[b"X: a\r\n"] * 20],  # headers without end
        [HEAD + b"Content-Length: 100\r\n\r\n", *[b"a"] * 100],
        [HEAD + b"\r\n", *[b"a"] * 100],  # a body that ends with the connection
    ],
)
def test_a_server_that_drips_is_cut_off_in_time(server, parts):
    server.parts, server.pause = parts, 0.2
    began = time.monotonic()
    with pytest.raises(ExchangeFailed, match=r"did not answer within 0\.3 seconds"):
        ask(server)
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("parts", [[b"SSH-2.0\r\n"], [b""]])
def test_another_protocol_is_an_error(server, parts):
    server.parts = parts
    with pytest.raises(ExchangeFailed, match="did not answer in HTTP|cannot be reached"):
        ask(server)


def test_nothing_that_listens_is_an_error():
    with pytest.raises(ExchangeFailed, match="cannot be reached"):
        exchange("GET", Origin("http", "127.0.0.1", 1), "/", LIMITS)


def test_a_certificate_of_an_unknown_authority_is_an_error():
    listener = socket.create_server(("127.0.0.1", 0))
    certificate = trustme.CA().issue_cert("127.0.0.1")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(tls)

    def serve() -> None:
        line, _ = listener.accept()
        try:
            tls.wrap_socket(line, server_side=True).close()
        except OSError:
            line.close()

    threading.Thread(target=serve, daemon=True).start()
    with listener, pytest.raises(ExchangeFailed, match="is not to be trusted"):
        exchange("GET", Origin("https", "127.0.0.1", listener.getsockname()[1]), "/", Limits(10, 1000))
