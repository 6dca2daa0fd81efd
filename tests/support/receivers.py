"""Real servers on this machine that webhooks are sent to, with configurable behaviour."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import trustme

Answer = tuple[int, dict[str, str], bytes]
OK: Answer = (200, {}, b"thank you")


@dataclass
class Received:
    """A received request."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """A web server that records what it receives.

    Attributes:
        answers: its next responses, in order; then OK.
        broken: paths at which it always responds with an error.
        documents: its responses to GET requests, by path.
    """

    url: str = ""
    got: list[Received] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)
    documents: dict[str, bytes] = field(default_factory=dict)

    def answer(self, received: Received) -> Answer:
        self.got.append(received)
        if received.path in self.broken:
            return 500, {}, b"out of order, " * 30
        return self.answers.pop(0) if self.answers else OK


@contextmanager
def receiver(certificate: trustme.LeafCert | None = None) -> Iterator[Receiver]:
    """Run a web server, with TLS if a certificate is given."""
    recorder = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, headers, said = recorder.answer(Received(self.path, dict(self.headers), body))
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(said))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(said)

        def do_GET(self) -> None:
            document = recorder.documents.get(self.path)
            self.send_response(404 if document is None else 200)
            self.send_header("Content-Length", str(len(document or b"")))
            self.end_headers()
            self.wfile.write(document or b"")

        def log_message(self, *args: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    recorder.url = f"http://127.0.0.1:{server.server_port}"
    if certificate:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        certificate.configure_cert(context)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        recorder.url = recorder.url.replace("http", "https", 1)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield recorder
    server.shutdown()
    thread.join()
    server.server_close()


@contextmanager
def listener(behave: Callable[[socket.socket], None]) -> Iterator[str]:
    """Run a server that handles each connection with `behave`, and yield its URL."""
    server = socket.create_server(("127.0.0.1", 0))
    closing = threading.Event()

    def serve() -> None:
        while not closing.is_set():
            try:
                connection, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=_behave, args=(behave, connection), daemon=True).start()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.getsockname()[1]}"
    closing.set()
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join(5)


def hang(connection: socket.socket) -> None:
    """Read everything, and never respond."""
    while connection.recv(4096):
        pass


def trickle(connection: socket.socket) -> None:
    """Respond a byte at a time without end, each within any socket time-out."""
    connection.recv(4096)
    for byte in b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 10_000:
        connection.send(bytes([byte]))
        time.sleep(0.05)


def babble(connection: socket.socket) -> None:
    """Respond with something that is not HTTP."""
    connection.recv(4096)
    connection.sendall(b"220 mail.example ESMTP\r\n")


def flood(connection: socket.socket) -> None:
    """Respond 200 with an endless body."""
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        connection.sendall(b"x" * 65536)


def _behave(behave: Callable[[socket.socket], None], connection: socket.socket) -> None:
    with connection:
        try:
            behave(connection)
        except OSError:  # the client has disconnected
            return
