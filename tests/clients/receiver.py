"""A service of events that a test scripts: it notes each request, and answers the next ones as the test says."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Request:
    key: str
    events: list[dict]
    headers: dict[str, str]
    body: bytes
    at: float

    @property
    def contexts(self) -> list:
        return [event["context"][0] for event in self.events]


@dataclass(frozen=True)
class Answer:
    """What is answered; None as the status closes the connection instead."""

    status: int | None
    body: bytes = b"[]"
    headers: dict[str, str] = field(default_factory=dict)


def error(status: int, code: str, **headers: str) -> Answer:
    """Return an error as the service has it."""
    tree = [{"value": {"code": code, "message": "Because."}, "children": []}]
    return Answer(status, json.dumps(tree).encode(), headers)


Script = Callable[[Request], Answer | None]


class Receiver:
    """The service.

    Attributes:
        requests: all requests in sequence.
        stored: the events of those that were answered 200, by key.
        script: returns the answer to a request, or None to store it.
        closes_silently: whether each connection ends after an answer that does not say so.
    """

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.requests: list[Request] = []
        self.stored: dict[str, list[dict]] = {}
        self.script: Script = lambda request: None
        self.closes_silently = False

    def contexts(self) -> list:
        """Return the first context item of each stored event."""
        return [event["context"][0] for events in self.stored.values() for event in events]

    def answers(self, *answers: Answer) -> None:
        """Answer the next requests with these; store what follows."""
        left = list(answers)
        self.script = lambda request: left.pop(0) if left else None

    def answer(self, request: Request) -> Answer:
        self.requests.append(request)
        answer = self.script(request)
        if answer is None:
            self.stored.setdefault(request.key, request.events)
            answer = Answer(200)
        return answer


@contextmanager
def receiving() -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = dict(self.headers.items())
            request = Request(headers["Idempotency-Key"], json.loads(body), headers, body, time.monotonic())
            answer = receiver.answer(request)
            if answer.status is None:
                self.close_connection = True
                return
            self.send_response(answer.status)
            for name, value in {**answer.headers, "Content-Length": str(len(answer.body))}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(answer.body)
            self.close_connection = receiver.closes_silently

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    receiver = Receiver(server.server_port)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
